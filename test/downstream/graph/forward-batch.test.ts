import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import { describe, expect, test } from "@jest/globals";
import type { BatchLimits, DownstreamApiOptions } from "../../../src/downstream/contract.ts";
import { createForwardBatch } from "../../../src/downstream/graph/forward-batch.ts";
import { createLinkRewrite } from "../../../src/downstream/graph/links.ts";
import { compileTarget } from "../../../src/downstream/target/downstream-api.ts";
import { GatewayError } from "../../../src/errors.ts";
import { Secret } from "../../../src/foundation/secret.ts";
import { readFraming } from "../../../src/http/pipeline.ts";
import { apiAt } from "../api-options.ts";
import {
  bodyOf,
  call,
  createInbox,
  IN_FLIGHT,
  listen,
  onCleanup,
  startApi,
  TOTAL,
  transportFor,
  untilStalled,
} from "../support.ts";

const MEBI = 2 ** 20;
const ROUTE = { path: "/graph", methods: ["GET", "POST", "PATCH"], allow: ["/$batch", "/me", "/me/**"] };

interface BatchGateway {
  readonly port: number;
  readonly url: string;
  /** Bodies that reached the API. */
  readonly sent: Buffer[];
  /** Claims for which new tokens were asked. */
  readonly claims: string[];
  /** Batches that have been let in or refused. */
  readonly entered: { next(): Promise<void> };
  /** What became of batches that were not refused. */
  readonly left: { next(): Promise<object | undefined> };
}

interface Setup {
  readonly answer?: (body: Buffer, round: number, response: http.ServerResponse) => void;
  readonly api?: Partial<DownstreamApiOptions>;
  readonly limits?: Partial<BatchLimits>;
  readonly userOf?: (incoming: http.IncomingMessage) => string;
}

const answerNothing = (_body: Buffer, _round: number, response: http.ServerResponse) => {
  response.writeHead(200, { "content-type": "application/json" }).end('{"responses":[]}');
};

async function startBatchGateway(setup: Setup = {}): Promise<BatchGateway> {
  const { answer = answerNothing } = setup;
  const sent: Buffer[] = [];
  const claims: string[] = [];
  const entered = createInbox<void>();
  const left = createInbox<object | undefined>();
  const apiPort = await startApi(async (incoming, response) => {
    const body = await bodyOf(incoming);
    sent.push(body);
    answer(body, sent.length, response);
  });
  const api = apiAt(apiPort, { kind: "graph", ...setup.api });
  const check = compileTarget(api, ROUTE);
  const limits = { places: 64, bytes: 64 * MEBI, userShare: 0.25, clientShare: 1, ...setup.limits };
  const forwardBatch = createForwardBatch({ transport: transportFor(api), limits });
  const port = await listen(
    http.createServer((incoming, outgoing) => {
      const user = setup.userOf?.(incoming) ?? "one";
      const forwarded = forwardBatch({
        incoming,
        framing: readFraming(incoming),
        outgoing,
        target: check("POST", "/graph/$batch"),
        route: ROUTE,
        check,
        owner: { user, client: `app of ${user}` },
        async obtainToken(request) {
          if (request.claims !== undefined) claims.push(request.claims);
          return { accessToken: new Secret("t"), expiresAt: Date.now() + 60_000 } as never;
        },
        correlationId: "c-1",
        challenge: "Bearer",
        rewrite: createLinkRewrite(api, "https://gateway.example/graph"),
      });
      entered.put();
      forwarded.then(left.put, (error: unknown) => {
        if (!(error instanceof GatewayError)) throw error;
        outgoing.writeHead(499, { "content-type": "application/json" });
        outgoing.end(JSON.stringify({ code: error.code, reason: error.reason, detail: error.detail }));
      });
    }),
  );
  return { port, url: `http://127.0.0.1:${port}/graph/$batch`, sent, claims, entered, left };
}

const JSON_TYPE = { "content-type": "application/json" };
const post = (gateway: BatchGateway, body: string | Buffer, headers: http.OutgoingHttpHeaders = {}) =>
  call(gateway.url, { method: "POST", headers: { ...JSON_TYPE, ...headers }, body });
const refusal = ({ body }: { body: Buffer }) => JSON.parse(body.toString()) as Record<string, string>;
const onePart = (more = "") => `{"requests":[{"id":"1","method":"GET","url":"/me"${more}}]}`;

/** A raw connection that sends the head of a batch and the given beginning of its body. */
function beginBatch(port: number, framing: string, begun: string): net.Socket {
  const socket = net.connect(port, "127.0.0.1");
  socket.on("error", () => {});
  onCleanup(() => {
    socket.destroy();
  });
  socket.write(
    `POST /graph/$batch HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n${framing}\r\n\r\n${begun}`,
  );
  return socket;
}

async function firstAnswer(socket: net.Socket): Promise<string> {
  const [chunk] = (await once(socket, "data")) as [Buffer];
  return chunk.toString("latin1");
}

describe("a batch", () => {
  test("reaches the API byte for byte", async () => {
    const gateway = await startBatchGateway();
    const text = ` {"requests" : [ {"id":"1","method":"POST","url":"/me/x","headers":{ "A":"b" },
      "body":{"n":9007199254740993,"m":1e400,"n":-0.0,"t":"\\u0041\\/\\ud83d\\ude00é"} } ]}\n`;
    expect((await post(gateway, text)).status).toBe(200);
    expect(gateway.sent.map(String)).toEqual([text]);
  });

  test("is answered byte for byte, but for the links and the fields that a part must not hold", async () => {
    const before = `{ "responses" : [ {"id":"1","status":200,"headers":{"X":"1","Set-Cookie":"a=b","Location":"https://API/v1.0/me/1"},
      "body":{"n":9007199254740993,"m":1e400,"n":1,"t":"\\u0041","@odata.nextLink":"https://API/v1.0/me?x"} } ], "n":1.0 }`;
    const gateway = await startBatchGateway({
      answer(_body, _round, response) {
        const origin = `http://127.0.0.1:${response.req.socket.localPort}`;
        response.writeHead(200, JSON_TYPE).end(before.replaceAll("https://API", origin));
      },
    });
    const answer = await post(gateway, onePart());
    expect(answer.body.toString()).toBe(
      before
        .replaceAll("https://API/v1.0", "https://gateway.example/graph")
        .replace('"Set-Cookie":"a=b",', ""),
    );
  });

  test("keeps in a second round what the parts of the first were, and nothing but the throttled part is sent", async () => {
    const first = '{"id":"2","method":"POST","url":"/me/y","body":{"n":9007199254740993}}';
    const second = '{"id":"3","method":"GET","url":"/me/z","dependsOn":["1", "2"]}';
    const gateway = await startBatchGateway({
      answer(_body, round, response) {
        const text =
          round === 1
            ? `{"responses":[{"id":"1","status":200,"body":1.0},{"id":"2","status":429,"headers":{"retry-after":"0"}} ,{"id":"3","status":424}],"x":1e3}`
            : `{"responses":[{"id":"3","status":200,"body":2.0},{"id":"2","status":201,"body":1e400}]}`;
        response.writeHead(200, JSON_TYPE).end(text);
      },
    });
    const answer = await post(
      gateway,
      `{"requests":[{"id":"1","method":"GET","url":"/me"}, ${first}, ${second}]}`,
    );
    expect(gateway.sent[1]?.toString()).toBe(
      `{"requests":[${first},${second.replace('["1", "2"]', '["2"]')}]}`,
    );
    expect(answer.body.toString()).toBe(
      `{"responses":[{"id":"1","status":200,"body":1.0},{"id":"2","status":201,"body":1e400} ,{"id":"3","status":200,"body":2.0}],"x":1e3}`,
    );
  });

  test("is sent once more as it came, under a new token, when the API challenges the whole of it", async () => {
    const claims = '{"access_token":{"nbf":{"essential":true,"value":"1"}}}';
    const challenge = `Bearer error="insufficient_claims", claims="${Buffer.from(claims).toString("base64")}"`;
    const gateway = await startBatchGateway({
      answer(body, round, response) {
        if (round > 1) answerNothing(body, round, response);
        else response.writeHead(401, { "www-authenticate": challenge }).end();
      },
    });
    expect((await post(gateway, onePart(' , "body" : 1.0'))).status).toBe(200);
    expect(gateway.claims).toEqual([claims]);
    expect(gateway.sent[1]).toEqual(gateway.sent[0]);
  });

  test.each([
    ["is in UTF-16", { "content-type": "application/json; charset=utf-16le" }, "batch_charset"],
    ["is in UTF-7", { "content-type": 'application/json;charset="UTF-7"' }, "batch_charset"],
    [
      "names a second charset",
      { "content-type": "application/json;charset=utf-8;charset=utf-7" },
      "batch_charset",
    ],
    ["is multipart", { "content-type": "multipart/mixed; boundary=x" }, "batch_type"],
    ["is compressed", { "content-encoding": "gzip" }, "batch_coding"],
    ["is compressed twice", { "content-encoding": "gzip, br" }, "batch_coding"],
  ])("that %s is refused for that reason", async (_, headers, reason) => {
    const gateway = await startBatchGateway();
    expect(refusal(await post(gateway, onePart(), headers))).toMatchObject({
      code: "request_malformed",
      reason,
    });
    expect(gateway.sent).toEqual([]);
  });

  test.each([
    ["charset=utf-8", { "content-type": "application/json; charset=utf-8" }],
    ["quoted parameters", { "content-type": 'application/json;odata.metadata="minimal";charset="UTF-8"' }],
    ["no type at all", { "content-type": [] }],
  ])("with %s passes", async (_, headers) => {
    const gateway = await startBatchGateway();
    expect((await post(gateway, onePart(), headers)).status).toBe(200);
  });

  test("whose bytes are no UTF-8 is refused for that reason, and a byte order mark is not sent on", async () => {
    const gateway = await startBatchGateway();
    const broken = Buffer.from(onePart(',"body":"?"').replace("?", "\xff"), "latin1");
    expect(refusal(await post(gateway, broken)).reason).toBe("batch_utf8");
    expect((await post(gateway, `\ufeff${onePart()}`)).status).toBe(200);
    expect(gateway.sent.map(String)).toEqual([onePart()]);
  });

  test("of 100 000 nested arrays is refused for that reason", async () => {
    const gateway = await startBatchGateway();
    const nested = `${"[".repeat(100_000)}${"]".repeat(100_000)}`;
    expect(refusal(await post(gateway, onePart(`,"body":${nested}`)))).toMatchObject({
      code: "request_malformed",
      reason: "batch_depth",
    });
  });

  test("leaves the event loop to others while it is read", async () => {
    const gateway = await startBatchGateway();
    const body = `[${"0,".repeat(2_000_000)}0]`;
    let turns = 0;
    let counting = true;
    const count = () => {
      turns++;
      if (counting) setImmediate(count);
    };
    setImmediate(count);
    await post(gateway, onePart(`,"body":${body}`));
    counting = false;
    // 4 MB are read in sixteen pieces; the chunks of the socket give turns besides.
    expect(turns).toBeGreaterThan(16);
  });
});

describe("one user's batches", () => {
  const userOf = (incoming: http.IncomingMessage) => String(incoming.headers["x-user"] ?? "one");
  const other = { "x-user": "two" };

  test("that hold back their last byte take that user's share of memory and leave the rest to others", async () => {
    const gateway = await startBatchGateway({ limits: { bytes: 16 * MEBI }, userOf });
    // A quarter of the memory is one batch of 4 MiB.
    beginBatch(gateway.port, `content-length: ${4 * MEBI}`, "{");
    await gateway.entered.next();
    const second = beginBatch(gateway.port, `content-length: ${4 * MEBI}`, "");
    expect(await firstAnswer(second)).toMatch(/"rate_limited".*"batch_bytes_user"/s);
    expect((await post(gateway, onePart(), other)).status).toBe(200);
  });

  test("that come in chunks are counted as they come", async () => {
    const gateway = await startBatchGateway({ limits: { bytes: 4 * MEBI } });
    const chunk = `40000\r\n${" ".repeat(0x40000)}\r\n`;
    const socket = beginBatch(gateway.port, "transfer-encoding: chunked", chunk.repeat(5));
    expect(await firstAnswer(socket)).toMatch(/"rate_limited".*"batch_bytes_user"/s);
  });

  test("take that user's share of places, and give them back when the caller leaves", async () => {
    const gateway = await startBatchGateway({ limits: { places: 8 }, userOf });
    const sockets = [1, 2].map(() => beginBatch(gateway.port, "content-length: 100", "{"));
    await Promise.all(sockets.map(() => gateway.entered.next()));
    expect(refusal(await post(gateway, onePart()))).toMatchObject({
      code: "rate_limited",
      reason: "batch_places_user",
    });
    expect((await post(gateway, onePart(), other)).status).toBe(200);
    sockets[0]?.destroy();
    await gateway.left.next();
    expect((await post(gateway, onePart())).status).toBe(200);
  });

  test("all together take what the process has and no more", async () => {
    const gateway = await startBatchGateway({ limits: { places: 2, userShare: 1 }, userOf });
    beginBatch(gateway.port, "content-length: 100", "{");
    beginBatch(gateway.port, "content-length: 100", "{");
    await gateway.entered.next();
    await gateway.entered.next();
    expect(refusal(await post(gateway, onePart(), other))).toMatchObject({
      code: "overloaded",
      reason: "batch_places_process",
    });
  });

  test("whose answers are not read are passed on at their caller's pace once the share of memory is used up", async () => {
    let taken = 0;
    const chunk = Buffer.from(`{"id":"1","status":200,"body":"${"x".repeat(65_536)}"},`);
    const gateway = await startBatchGateway({
      limits: { bytes: 4 * MEBI },
      async answer(_body, _round, response) {
        response.on("error", () => {});
        response.writeHead(200, JSON_TYPE).write('{"responses":[');
        while (taken < TOTAL && !response.destroyed) {
          taken += chunk.length;
          if (!response.write(chunk)) await new Promise((resolve) => response.once("drain", resolve));
        }
      },
    });
    const body = onePart();
    beginBatch(gateway.port, `content-length: ${body.length}`, body).pause();
    expect(await untilStalled(() => taken)).toBeLessThan(IN_FLIGHT);
  });

  test("whose answers are not read for too long are cut, and give their memory back", async () => {
    const answerBytes = 14 * MEBI;
    const gateway = await startBatchGateway({
      api: { idleTimeoutMs: 300 },
      answer: (_body, _round, response) =>
        response
          .writeHead(200, JSON_TYPE)
          .end(`{"responses":[{"id":"1","status":200,"body":"${"x".repeat(answerBytes)}"}]}`),
    });
    const body = onePart();
    const socket = beginBatch(gateway.port, `content-length: ${body.length}`, body).pause();
    expect(await gateway.left.next()).toEqual({ status: 200, isWhole: false });
    socket.destroy();
    expect((await post(gateway, body)).body.length).toBeGreaterThan(answerBytes);
  });
});

describe("a batch's body", () => {
  test("that stalls is refused, and its connection closed", async () => {
    const gateway = await startBatchGateway({ api: { idleTimeoutMs: 200 } });
    const socket = beginBatch(gateway.port, "content-length: 100", '{"requests":');
    expect(await firstAnswer(socket)).toMatch(/connection: close.*"body_stalled"/is);
    await once(socket, "close");
    expect(gateway.sent).toEqual([]);
  });

  test("that trickles has the API's time and no more", async () => {
    const gateway = await startBatchGateway({ api: { idleTimeoutMs: 5_000, timeoutMs: 400 } });
    const socket = beginBatch(gateway.port, "content-length: 100000", "{");
    const trickle = setInterval(() => socket.write(" "), 20);
    onCleanup(() => clearInterval(trickle));
    expect(await firstAnswer(socket)).toMatch(/"body_stalled"/);
  });

  test("whose caller leaves reaches no API", async () => {
    const gateway = await startBatchGateway();
    const socket = beginBatch(gateway.port, "content-length: 100", "{");
    await gateway.entered.next();
    socket.destroy();
    expect(await gateway.left.next()).toBeUndefined();
    expect(gateway.sent).toEqual([]);
  });

  test("that is chunked past its limit is refused, and its connection ends when the caller goes on", async () => {
    const gateway = await startBatchGateway({ api: { maxRequestBytes: 1000 } });
    const chunk = `10000\r\n${" ".repeat(0x10000)}\r\n`;
    const socket = beginBatch(gateway.port, "transfer-encoding: chunked", chunk);
    expect(await firstAnswer(socket)).toMatch(/"body_too_large"/);
    const closed = once(socket, "close");
    const more = setInterval(() => socket.write(chunk), 1);
    await closed;
    clearInterval(more);
  });
});

describe("the rounds of a batch", () => {
  const throttled = (seconds: number) =>
    `{"responses":[{"id":"1","status":429,"headers":{"Retry-After":"${seconds}"}}]}`;

  test("make no pause that would outlast the deadline", async () => {
    const gateway = await startBatchGateway({
      api: { timeoutMs: 900 },
      answer: (_body, _round, response) => response.writeHead(200, JSON_TYPE).end(throttled(1)),
    });
    const began = performance.now();
    expect((await post(gateway, onePart())).body.toString()).toBe(throttled(1));
    expect(gateway.sent).toHaveLength(1);
    expect(performance.now() - began).toBeLessThan(900);
  });

  test("keep within one deadline together, and what was answered before it stands", async () => {
    const gateway = await startBatchGateway({
      api: { timeoutMs: 600 },
      answer(_body, round, response) {
        // The second round is never answered.
        if (round === 1) setTimeout(() => response.writeHead(200, JSON_TYPE).end(throttled(0)), 300);
      },
    });
    const began = performance.now();
    expect((await post(gateway, onePart())).body.toString()).toBe(throttled(0));
    const took = performance.now() - began;
    expect(gateway.sent).toHaveLength(2);
    expect(took).toBeGreaterThanOrEqual(595);
    // One deadline for each round would make it 900.
    expect(took).toBeLessThan(880);
  });

  test("end after the fourth", async () => {
    const gateway = await startBatchGateway({
      answer: (_body, _round, response) => response.writeHead(200, JSON_TYPE).end(throttled(0)),
    });
    await post(gateway, onePart());
    expect(gateway.sent).toHaveLength(4);
  });

  test.each([
    ["within", 100_000, 4],
    ["beyond", 2 * MEBI, 1],
  ])("of an answer %s the user's share of memory, of %i bytes, are %i", async (_, length, rounds) => {
    const text = `{"responses":[{"id":"1","status":429,"headers":{"Retry-After":"0"},"body":"${"x".repeat(length)}"}]}`;
    const gateway = await startBatchGateway({
      limits: { bytes: 4 * MEBI },
      answer: (_body, _round, response) => response.writeHead(200, JSON_TYPE).end(text),
    });
    expect((await post(gateway, onePart())).body.toString()).toBe(text);
    expect(gateway.sent).toHaveLength(rounds);
  });

  test("pass an answer on as it is that holds one id twice", async () => {
    const text = '{"responses":[{"id":"1","status":200,"body":1},{"id":"1","status":200,"body":2}]}';
    const gateway = await startBatchGateway({
      answer: (_body, _round, response) => response.writeHead(200, JSON_TYPE).end(text),
    });
    expect((await post(gateway, onePart())).body.toString()).toBe(text);
  });

  test("pass an answer that is no batch on as it is", async () => {
    const text = '{"error":{"code":1.0}}';
    const gateway = await startBatchGateway({
      answer: (_body, _round, response) => response.writeHead(200, JSON_TYPE).end(text),
    });
    expect((await post(gateway, onePart())).body.toString()).toBe(text);
  });
});
