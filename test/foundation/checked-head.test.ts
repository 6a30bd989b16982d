/** The head of an answer: what a client reads of it, whichever way Node puts it together. */

import { once } from "node:events";
import * as http from "node:http";
import { type AddressInfo, connect } from "node:net";
import { afterAll, beforeAll, expect, jest, test } from "@jest/globals";
import { fixedFields, writeCheckedHead } from "../../src/foundation/checked-head.ts";

const TOKEN = "t".repeat(2_000);
const FIELDS = ["authorization", `Bearer ${TOKEN}`, "x-empty", "", "x-colon", "a: b"];
const LINES = `authorization: Bearer ${TOKEN}\r\nx-empty: \r\nx-colon: a: b\r\n`;

const NO_BODY = ["content-length", "0"];

function answer(response: http.ServerResponse, status = 200, fields: readonly string[] = NO_BODY): void {
  writeCheckedHead(response, status, LINES, fields);
  response.end();
}

type Handler = (request: http.IncomingMessage, response: http.ServerResponse) => void;
const HANDLERS: Record<string, Handler> = {
  "/here": (_request, response) => answer(response),
  "/by-node": (_request, response) => response.writeHead(200, [...FIELDS, "content-length", "0"]).end(),
  "/after-others": (_request, response) => {
    response.setHeader("ratelimit", '"user";r=1;t=1').setHeader("connection", "close");
    answer(response);
  },
  "/204": (_request, response) => answer(response, 204, []),
  "/304": (_request, response) => answer(response, 304, ["etag", '"1"']),
  "/404": (_request, response) => answer(response, 404, ["x-more", "1"]),
  "/by-node/204": (_request, response) => response.writeHead(204, FIELDS).end(),
  "/by-node/304": (_request, response) => response.writeHead(304, [...FIELDS, "etag", '"1"']).end(),
  "/by-node/404": (_request, response) => response.writeHead(404, [...FIELDS, "x-more", "1"]).end(),
  "/last": (_request, response) => {
    response.shouldKeepAlive = false;
    answer(response);
  },
};

let server: http.Server;
beforeAll(async () => {
  server = http
    .createServer((request, response) => HANDLERS[request.url ?? ""]?.(request, response))
    .listen(0, "127.0.0.1");
  await once(server, "listening");
});
afterAll(() => {
  server.close();
  server.closeAllConnections();
});

/** All bytes of one connection on which these requests come one behind the other, and the last one ends it. */
async function bytesOf(...requests: readonly string[]): Promise<string> {
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  let text = "";
  socket.setEncoding("latin1").on("data", (piece: string) => {
    text += piece;
  });
  socket.write(requests.join(""));
  await once(socket, "close");
  return text;
}

const get = (path: string, { version = "1.1", fields = "connection: close\r\n" } = {}) =>
  `GET ${path} HTTP/${version}\r\nhost: localhost\r\n${fields}\r\n`;
/** Lines of a head in any order, without the time. */
const linesOf = (head: string) =>
  head
    .split("\r\n")
    .filter((line) => !/^date: /i.test(line))
    .sort();

test.each<[string, { version?: string; fields?: string }]>([
  ["the last request of a connection", {}],
  ["HTTP/1.0", { version: "1.0", fields: "" }],
  ["HTTP/1.0 that keeps its connection", { version: "1.0", fields: "connection: keep-alive\r\n" }],
])("holds the same lines as an answer of Node's, to %s", async (_, options) => {
  // Where the connection is kept, one more request ends it.
  const end = options.fields?.includes("keep-alive") ? [get("/last")] : [];
  const [here, byNode] = [
    await bytesOf(get("/here", options), ...end),
    await bytesOf(get("/by-node", options), ...end),
  ];
  expect(linesOf(here)).toEqual(linesOf(byNode));
  expect(here).toContain(`authorization: Bearer ${TOKEN}\r\n`);
});

test("is followed by the next answer on a connection that is kept", async () => {
  const text = await bytesOf(get("/here", { fields: "" }), get("/here", { fields: "" }), get("/last"));
  const answers = text.split("\r\n\r\n");
  expect(answers).toHaveLength(4);
  expect(answers.pop()).toBe("");
  for (const head of answers) expect(head).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
  expect(answers.map((head) => /^connection: (\S+)$/im.exec(head)?.[1])).toEqual([
    "keep-alive",
    "keep-alive",
    "close",
  ]);
});

test("keeps what was set before: a limit's fields, and that the connection ends", async () => {
  const text = await bytesOf(get("/after-others", { fields: "" }));
  const lines = text.split("\r\n").map((line) => line.toLowerCase());
  expect(lines).toEqual(
    expect.arrayContaining(['ratelimit: "user";r=1;t=1', "connection: close", "content-length: 0"]),
  );
  expect(text).toContain(`authorization: Bearer ${TOKEN}\r\nx-empty: \r\nx-colon: a: b\r\n`);
  expect(lines.filter((line) => line.startsWith("connection:"))).toHaveLength(1);
});

test.each(["204", "304", "404"])(
  "holds the same lines as an answer of Node's, of status %s",
  async (status) => {
    const [here, byNode] = [await bytesOf(get(`/${status}`)), await bytesOf(get(`/by-node/${status}`))];
    expect(linesOf(here)).toEqual(linesOf(byNode));
    expect(here).toContain(`HTTP/1.1 ${status} `);
  },
);

test("is written once: a second one is refused, and leaves its lines to no other answer", async () => {
  const failures: unknown[] = [];
  HANDLERS["/twice"] = (_request, response) => {
    answer(response);
    try {
      answer(response);
    } catch (error) {
      failures.push(error);
    }
  };
  await bytesOf(get("/twice"));
  expect(failures).toEqual([expect.objectContaining({ code: "ERR_HTTP_HEADERS_SENT" })]);
  expect(await bytesOf(get("/by-node/404"))).not.toContain("x-colon: a: b\r\nx-empty");
});

test.each([
  ["a name that is no token", ["x name", "value"]],
  ["a line break in a value", ["x-name", "one\r\ntwo"]],
])("takes no text with %s", (_, lines) => {
  expect(() => fixedFields(lines)).toThrow(TypeError);
});

test("holds the same lines by `writeHead` where Node puts heads together in another way", async () => {
  jest.resetModules();
  const { ServerResponse } = http;
  const Otherwise = class extends ServerResponse {
    static override [Symbol.hasInstance](): boolean {
      return true;
    }
    override writeHead(): this {
      return this;
    }
  };
  jest.unstable_mockModule("node:http", () => ({ ...http, ServerResponse: Otherwise }));
  const other = await import("../../src/foundation/checked-head.ts");
  HANDLERS["/otherwise"] = (_request, response) => {
    other.writeCheckedHead(response, 200, LINES, NO_BODY);
    expect(Object.hasOwn(response, "_storeHeader")).toBe(false);
    response.end();
  };
  expect(linesOf(await bytesOf(get("/otherwise")))).toEqual(linesOf(await bytesOf(get("/by-node"))));
});
