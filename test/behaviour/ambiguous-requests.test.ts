/** Bytes that two servers could read in two ways end their connection, and nothing behind them is processed. */

import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { AMBIGUOUS, HIDDEN, INCOMPLETE, post } from "../support/ambiguous-messages.ts";
import { startTestGateway, TEST_YAML, type TestGateway } from "../support/gateway.ts";

let emulator: Emulator;
let api: Server;
let gateway: TestGateway;
let token: string;
/** Requests whose body came to its end at the API. */
let completed: string[] = [];
let begun: string[] = [];
let bodies: string[] = [];
/** Callers of this test: one that waits for a close which does not come would hold up the gateway's end. */
let callers: Socket[] = [];

beforeAll(async () => {
  emulator = await startEmulator();
  api = createServer((request, response) => {
    begun.push(`${request.method} ${request.url}`);
    let body = "";
    request.setEncoding("latin1").on("data", (chunk: string) => {
      body += chunk;
    });
    request.on("end", () => {
      completed.push(`${request.method} ${request.url}`);
      bodies.push(body);
      setTimeout(() => response.end(`[${request.url}]`), request.url?.endsWith("/slow") ? 300 : 0);
    });
  }).listen(0, "127.0.0.1");
  await once(api, "listening");
  const { port } = api.address() as AddressInfo;
  gateway = await startTestGateway({
    emulator,
    yaml: TEST_YAML.replace('"/users/*"', '"/users/*", "/hidden"'),
    env: { GRAPH_URL: `http://127.0.0.1:${port}/v1.0` },
  });
  token = emulator.mintUserToken({ user: "ada" });
  // Keys and the delegated token are there from now on, so that no answer is late for the want of them.
  await gateway.get("/graph/me", token).expect(200);
});
afterAll(async () => {
  await gateway.stop();
  api.closeAllConnections();
  api.close();
  await emulator.close();
});
beforeEach(() => {
  completed = [];
  begun = [];
  bodies = [];
});

afterEach(() => {
  for (const caller of callers) caller.destroy();
  callers = [];
});

const withToken = (line: string) => `${line}authorization: Bearer ${token}\r\n`;
/** Adds the token behind each request line, where a caller would write it. */
const signedIn = (bytes: string) => bytes.replace(/ HTTP\/1\.[01]\r\n/g, withToken);
/** The same behind the first alone: lines further on are those of a body. */
const signedOnce = (bytes: string) => bytes.replace(/ HTTP\/1\.[01]\r\n/, withToken);

/** All that comes back until the gateway closes, or, where it waits for more, until the caller does. */
async function exchange(bytes: string, end = false): Promise<string> {
  const socket = connect(Number(new URL(gateway.url).port), "127.0.0.1");
  callers.push(socket);
  let received = "";
  socket.on("data", (chunk) => {
    received += chunk;
  });
  socket.on("error", () => {});
  const closed = once(socket, "close");
  if (end) socket.end(bytes, "latin1");
  else socket.write(bytes, "latin1");
  await closed;
  return received;
}

const answers = (text: string) => text.match(/HTTP\/1\.1 (?!100)\d{3}/g) ?? [];

describe("through the whole gateway", () => {
  test("ambiguous messages are tried in more than forty forms", () => {
    expect(AMBIGUOUS.length).toBeGreaterThanOrEqual(40);
  });

  test.each(AMBIGUOUS)("an ambiguous message never reaches the API whole: %s", async (_, bytes) => {
    const received = await exchange(signedIn(bytes));
    expect(completed).toEqual([]);
    expect(begun.join()).not.toContain("hidden");
    expect(received).not.toMatch(/^HTTP\/1\.1 2/);
    expect(answers(received)).toHaveLength(received === "" ? 0 : 1);
  });

  test.each(INCOMPLETE)("an incomplete message never reaches the API whole: %s", async (_, bytes) => {
    await exchange(signedIn(bytes), true);
    expect(completed).toEqual([]);
  });

  test.each<[what: string, bytes: string, completed: string[]]>([
    [
      "a body that looks like a request",
      post(`content-length: ${HIDDEN.length}\r\nconnection: close`, HIDDEN),
      ["POST /v1.0/me"],
    ],
    [
      "a chunk that looks like a request",
      post(
        "transfer-encoding: chunked\r\nconnection: close",
        `${HIDDEN.length.toString(16)};ext=1\r\n${HIDDEN}\r\n0\r\nx-trailer: 1\r\n\r\n`,
      ),
      ["POST /v1.0/me"],
    ],
    [
      "a body of a GET",
      `GET /graph/me HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`,
      ["GET /v1.0/me"],
    ],
  ])("a sound message reaches the API as what it is: %s", async (_, bytes, expected) => {
    expect(answers(await exchange(signedOnce(bytes)))).toEqual(["HTTP/1.1 200"]);
    expect(completed).toEqual(expected);
    expect(bodies).toEqual([HIDDEN]);
  });

  test("sound messages in one packet both reach the API", async () => {
    const last = HIDDEN.replace("host: a", "host: a\r\nconnection: close");
    const received = await exchange(signedIn(post("content-length: 5", "hello") + last));
    expect(answers(received)).toEqual(["HTTP/1.1 200", "HTTP/1.1 200"]);
    expect(completed).toEqual(["POST /v1.0/me", "GET /v1.0/hidden"]);
    expect(bodies).toEqual(["hello", ""]);
  });
});

const SECOND = "POST /graph/me/second HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}";
const first = (lines: string, body = "0\r\n\r\n") => `POST /graph/me HTTP/1.1\r\n${lines}\r\n\r\n${body}`;

describe("a request that is refused as ambiguous is the last of its connection", () => {
  test.each([
    ["identity before chunked", first("host: a\r\ntransfer-encoding: identity, chunked")],
    ["gzip before chunked", first("host: a\r\ntransfer-encoding: gzip, chunked")],
    ["the coding in two lines", first("host: a\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked")],
    [
      "a coding in HTTP/1.0",
      "POST /graph/me HTTP/1.0\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ["two Hosts", first("host: a\r\nhost: b\r\ncontent-length: 0", "")],
    ["two Hosts that are equal", first("host: a\r\nHost: a\r\ncontent-length: 0", "")],
    ["no Host", first("content-length: 0", "")],
    ["a length of 16 digits", first("host: a\r\ncontent-length: 0000000000000002", "{}")],
    ["a websocket", first("host: a\r\nupgrade: websocket\r\nconnection: upgrade\r\ncontent-length: 0", "")],
    ["201 fields", first(`host: a\r\n${"a:\r\n".repeat(198)}content-length: 2`, "{}")],
    ["8000 fields", first(`host: a\r\ncontent-length: 2\r\n${"a:\r\n".repeat(7_500)}`, "{}")],
  ])("in one packet with another: %s", async (_, bytes) => {
    const received = await exchange(signedIn(bytes + SECOND));
    expect(answers(received)).toHaveLength(1);
    expect(received).toMatch(/^HTTP\/1\.1 4(?:00|31) .*^connection: close/ims);
    expect(begun).toEqual([]);
  });

  test("behind requests that still wait for their answers, which are given", async () => {
    const before = "GET /graph/me/slow HTTP/1.1\r\nhost: a\r\n\r\n";
    const received = await exchange(signedIn(before + first("content-length: 0", "") + SECOND));
    expect(answers(received)).toEqual(["HTTP/1.1 200", "HTTP/1.1 400"]);
    expect(received).toContain("[/v1.0/me/slow]");
    expect(begun).toEqual(["GET /v1.0/me/slow"]);
  });
});

describe("garbage", () => {
  test.each([
    ["no HTTP", "HELLO\r\n\r\n"],
    ["a header line without a name", "GET / HTTP/1.1\r\n: x\r\n\r\n"],
    ["headers past 32 KiB", `GET / HTTP/1.1\r\nhost: a\r\nx: ${"a".repeat(33 * 1024)}\r\n\r\n`],
    ["two lengths", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"],
  ])("behind a request does not take its answer away: %s", async (_, garbage) => {
    const received = await exchange(
      signedIn("GET /graph/me/slow HTTP/1.1\r\nhost: a\r\n\r\n") + garbage + signedIn(SECOND),
    );
    expect(answers(received)).toEqual(["HTTP/1.1 200"]);
    expect(received).toMatch(/^connection: close/im);
    expect(received).toContain("[/v1.0/me/slow]");
    expect(begun).toEqual(["GET /v1.0/me/slow"]);
  });

  test("behind a pipeline takes none of its answers away", async () => {
    const pipeline = ["/graph/me/slow", "/graph/me/1", "/graph/me/slow", "/graph/me/2"];
    const received = await exchange(
      `${signedIn(pipeline.map((path) => `GET ${path} HTTP/1.1\r\nhost: a\r\n\r\n`).join(""))}HELLO\r\n\r\n`,
    );
    expect(received.match(/\[[^\]]*\]/g)).toEqual(
      pipeline.map((path) => `[${path.replace("/graph", "/v1.0")}]`),
    );
  });
});

describe("header fields", () => {
  const many = "a:\r\n".repeat(200);

  test("past 200 are refused with 431, since Node would drop them, a length among them", async () => {
    const received = await exchange(signedIn(first(`host: a\r\n${many}content-length: 2`, "{}")));
    expect(received).toMatch(/^HTTP\/1\.1 431 /);
    expect(received).toMatch(/^connection: close/im);
    expect(received).toMatch(/^x-correlation-id: /im);
    expect(JSON.parse(received.split("\r\n\r\n")[1] ?? "")).toMatchObject({
      status: 431,
      code: "request_malformed",
      // Later releases of Node refuse them before they become a request.
      ...(received.includes('Request Header Fields Too Large"') ? {} : { reason: "header_fields" }),
    });
    expect(begun).toEqual([]);
  });

  test.each([
    ["a length", `content-length: ${HIDDEN.length}`, HIDDEN],
    ["a coding", "transfer-encoding: chunked", `${HIDDEN.length.toString(16)}\r\n${HIDDEN}\r\n0\r\n\r\n`],
    ["a coding and a length", "transfer-encoding: chunked\r\ncontent-length: 5", `0\r\n\r\n${HIDDEN}`],
    ["two lengths", "content-length: 5\r\ncontent-length: 6", HIDDEN],
    ["a coding that is none", "transfer-encoding: identity", HIDDEN],
    ["another Host", "host: b", HIDDEN],
    ["another token", "authorization: Bearer x", HIDDEN],
    ["another protocol", "connection: upgrade\r\nupgrade: websocket", HIDDEN],
    ["another method", "x-http-method-override: DELETE", HIDDEN],
    ["an expectation", "expect: 100-continue\r\ncontent-length: 2", `{}${HIDDEN}`],
  ])("nothing runs behind a request with %s past those that count", async (_, dropped, behind) => {
    const fields = `host: a\r\n${many}${dropped}`;
    for (const head of [first(fields, ""), `GET /graph/me HTTP/1.1\r\n${fields}\r\n\r\n`]) {
      const received = await exchange(signedIn(head) + signedIn(behind + HIDDEN));
      expect(answers(received)).toHaveLength(1);
      expect(received).toMatch(/^HTTP\/1\.1 4(?:00|31) .*^connection: close/ims);
    }
    expect(begun).toEqual([]);
  });

  test("of a request that waits behind others are refused in its turn, and nothing runs behind it", async () => {
    const before = "GET /graph/me/slow HTTP/1.1\r\nhost: a\r\n\r\n";
    const received = await exchange(signedIn(before + first(`host: a\r\n${many}`, "") + HIDDEN));
    // Where Node refuses by itself, the answer that is due is the last.
    expect([["HTTP/1.1 200"], ["HTTP/1.1 200", "HTTP/1.1 431"]]).toContainEqual([...answers(received)]);
    expect(received).toContain("[/v1.0/me/slow]");
    expect(begun).toEqual(["GET /v1.0/me/slow"]);
  });

  test("up to 200 all count", async () => {
    const fields = `host: a\r\n${"a:\r\n".repeat(196)}connection: close\r\ncontent-length: 2`;
    const received = await exchange(signedIn(first(fields, "{}")));
    expect(received).toMatch(/^HTTP\/1\.1 200 /);
    expect(completed).toEqual(["POST /v1.0/me"]);
  });

  test("behind a body are dropped however many they are, or end the connection where Node counts them", async () => {
    const body = `2\r\n{}\r\n0\r\n${"a:\r\n".repeat(7_000)}\r\n`;
    const next = "GET /graph/me/next HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    const received = await exchange(signedIn(first("host: a\r\ntransfer-encoding: chunked", body) + next));
    if (received.startsWith("HTTP/1.1 431 ")) {
      expect(answers(received)).toHaveLength(1);
      expect(completed).toEqual([]);
      return;
    }
    expect(answers(received)).toEqual(["HTTP/1.1 200", "HTTP/1.1 200"]);
    expect(completed).toEqual(["POST /v1.0/me", "GET /v1.0/me/next"]);
  });
});
