import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { gunzipSync, gzipSync } from "node:zlib";
import { describe, expect, test } from "@jest/globals";
import type { Transport } from "../../src/downstream/contract.ts";
import { createForward } from "../../src/downstream/forward.ts";
import { createLinkRewrite } from "../../src/downstream/graph/links.ts";
import { compileTarget } from "../../src/downstream/target/downstream-api.ts";
import { GatewayError } from "../../src/errors.ts";
import { Secret } from "../../src/foundation/secret.ts";
import { apiAt } from "./api-options.ts";
import {
  bodyOf,
  CHUNK,
  call,
  createInbox,
  IN_FLIGHT,
  NO_SHARES,
  onCleanup,
  reply,
  startApi,
  startGateway,
  startRawApi,
  startTorrent,
  TOTAL,
  untilStalled,
} from "./support.ts";

describe("a forwarded request", () => {
  test("reaches the API with method, path, query, body and the delegated token", async () => {
    const port = await startApi(async (request, response) => {
      const body = await bodyOf(request);
      response.end(
        JSON.stringify({ ...request.headers, url: request.url, method: request.method, body: `${body}` }),
      );
    });
    const gateway = await startGateway({ api: apiAt(port) });
    const answer = await call(gateway.url("/graph/me/messages?$top=5&x=%2f"), {
      method: "PATCH",
      headers: { authorization: "Bearer caller", cookie: "a=b", "content-type": "text/plain", "x-own": "1" },
      body: "hello",
    });
    expect(JSON.parse(`${answer.body}`)).toMatchObject({
      method: "PATCH",
      url: "/v1.0/me/messages?$top=5&x=%2f",
      body: "hello",
      host: `127.0.0.1:${port}`,
      authorization: "Bearer delegated",
      "content-length": "5",
      "content-type": "text/plain",
      "x-own": "1",
      via: "1.1 obo-gateway",
      "x-correlation-id": "c-1",
      "client-request-id": "c-1",
    });
    expect(`${answer.body}`).not.toMatch(/caller|cookie/);
    expect(await gateway.outcomes.next()).toMatchObject({
      kind: "answered",
      status: 200,
      requestBytes: 5,
      responseBytes: answer.body.length,
      cut: undefined,
    });
  });

  test("without a body carries none, and one of unknown length stays chunked", async () => {
    const port = await startApi(async (request, response) => {
      const body = await bodyOf(request);
      const { "transfer-encoding": coding, "content-length": length } = request.headers;
      response.end(JSON.stringify({ coding, length, body: `${body}` }));
    });
    const gateway = await startGateway({ api: apiAt(port) });
    expect(JSON.parse(`${(await call(gateway.url("/graph/me"))).body}`)).toEqual({ body: "" });
    expect(JSON.parse(`${(await call(gateway.url("/graph/me"), { method: "POST" })).body}`)).toEqual({
      length: "0",
      body: "",
    });
    const chunked = http.request(gateway.url("/graph/me"), { method: "POST", agent: false });
    chunked.write("a");
    chunked.end("b");
    expect(JSON.parse(`${(await reply(chunked)).body}`)).toEqual({ coding: "chunked", body: "ab" });
  });

  test("keeps the identities of fifty callers at once apart", async () => {
    const port = await startApi((request, response) => {
      response.setHeader("x-token", request.headers.authorization ?? "");
      response.setHeader("x-own", request.headers["x-own"] ?? "");
      setImmediate(() => response.end(request.url));
    });
    const gateway = await startGateway({
      api: apiAt(port, { maxConcurrent: 5 }),
      tokenFor: (incoming) => `token-of-${incoming.headers["x-own"]}`,
    });
    const callers = Array.from({ length: 50 }, (_, index) => `${index}`);
    const answers = await Promise.all(
      callers.map((name) => call(gateway.url(`/graph/${name}`), { headers: { "x-own": name } })),
    );
    for (const [index, answer] of answers.entries()) {
      expect(answer.headers["x-token"]).toBe(`Bearer token-of-${index}`);
      expect(answer.headers["x-own"]).toBe(`${index}`);
      expect(`${answer.body}`).toBe(`/v1.0/${index}`);
    }
  });
});

describe("a downstream answer", () => {
  test.each([200, 201, 202, 206, 301, 302, 307, 400, 402, 404, 409, 412, 416, 423, 429, 500, 503, 507, 509])(
    "of status %i passes through with its body and fields",
    async (status) => {
      const port = await startApi((_request, response) => {
        response.writeHead(status, {
          "retry-after": "7",
          location: "https://elsewhere.example/x?sig=1",
          "request-id": "r-1",
          "set-cookie": "a=b",
          "access-control-allow-origin": "*",
        });
        response.end(`body of ${status}`);
      });
      const gateway = await startGateway({ api: apiAt(port) });
      const answer = await call(gateway.url("/graph/me"));
      expect(answer.status).toBe(status);
      expect(`${answer.body}`).toBe(`body of ${status}`);
      expect(answer.headers).toMatchObject({
        "retry-after": "7",
        location: "https://elsewhere.example/x?sig=1",
        "request-id": "r-1",
      });
      expect(answer.headers).not.toHaveProperty("set-cookie");
      expect(answer.headers).not.toHaveProperty("access-control-allow-origin");
    },
  );

  test("of status 401 without claims passes through under the gateway's own challenge", async () => {
    const port = await startApi((_request, response) => {
      response.writeHead(401, { "www-authenticate": 'Bearer realm="", error="invalid_token"' }).end("{}");
    });
    const plain = await startGateway({ api: apiAt(port) });
    const answer = await call(plain.url("/graph/me"));
    expect([answer.status, answer.headers["www-authenticate"], `${answer.body}`]).toEqual([
      401,
      "Bearer",
      "{}",
    ]);

    const challenge = 'Bearer error="invalid_token"';
    const own = await startGateway({ api: apiAt(port), forward: { challenge } });
    expect((await call(own.url("/graph/me"))).headers["www-authenticate"]).toBe(challenge);
  });

  test("keeps its content coding, range and validators", async () => {
    const zipped = gzipSync("x".repeat(5000));
    const port = await startApi((request, response) => {
      expect(request.headers).toMatchObject({
        "accept-encoding": "gzip",
        range: "bytes=0-",
        "if-none-match": '"a"',
      });
      response.writeHead(206, {
        "content-encoding": "gzip",
        "content-range": `bytes 0-${zipped.length - 1}/${zipped.length}`,
        "content-length": zipped.length,
        etag: '"b"',
      });
      response.end(zipped);
    });
    const gateway = await startGateway({ api: apiAt(port) });
    const answer = await call(gateway.url("/graph/me"), {
      headers: { "accept-encoding": "gzip", range: "bytes=0-", "if-none-match": '"a"' },
    });
    expect(answer.headers).toMatchObject({
      "content-encoding": "gzip",
      "content-length": `${zipped.length}`,
      etag: '"b"',
    });
    expect(`${gunzipSync(answer.body)}`).toBe("x".repeat(5000));
  });

  test("to HEAD keeps its length and has no body", async () => {
    const port = await startApi((_request, response) => {
      response.writeHead(200, { "content-length": "1234", etag: '"a"' }).end();
    });
    const gateway = await startGateway({ api: apiAt(port) });
    const answer = await call(gateway.url("/graph/me"), { method: "HEAD" });
    expect([answer.status, answer.headers["content-length"], answer.body.length]).toEqual([200, "1234", 0]);
    expect(await gateway.outcomes.next()).toMatchObject({
      kind: "answered",
      cut: undefined,
      responseBytes: 0,
    });
  });

  test("to HEAD does not announce the length of a body whose links GET would have rewritten", async () => {
    const port = await startApi((_request, response) => {
      response.writeHead(200, { "content-type": "application/json", "content-length": "1234" }).end();
    });
    const api = apiAt(port);
    const rewrite = createLinkRewrite(api, "https://gateway.example/graph");
    const gateway = await startGateway({ api, forward: { rewrite } });
    const { status, headers } = await call(gateway.url("/graph/me"), { method: "HEAD" });
    expect([status, headers["content-length"]]).toEqual([200, undefined]);
  });

  test.each([
    [204, "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", undefined],
    [304, 'HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\netag: "a"\r\n\r\n', "5"],
  ])("of status %i has no body", async (status, bytes, length) => {
    const port = await startRawApi((socket) => socket.on("data", () => socket.write(bytes)));
    const gateway = await startGateway({ api: apiAt(port) });
    const answer = await call(gateway.url("/graph/me"));
    expect([answer.status, answer.body.length, answer.headers["content-length"]]).toEqual([
      status,
      0,
      length,
    ]);
    expect(answer.headers).not.toHaveProperty("transfer-encoding");
  });

  test("is read past interim answers, and its trailers are dropped", async () => {
    const port = await startRawApi((socket) =>
      socket.on("data", () =>
        socket.write(
          "HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" +
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n",
        ),
      ),
    );
    const gateway = await startGateway({ api: apiAt(port) });
    const answer = await call(gateway.url("/graph/me"));
    expect([answer.status, `${answer.body}`]).toEqual([200, "ok"]);
    expect(answer.headers).not.toHaveProperty("link");
    expect(answer.headers).not.toHaveProperty("trailer");
  });

  test("may come before the request body has been read", async () => {
    const port = await startApi((_request, response) => {
      response.writeHead(403).end("enough");
    });
    const gateway = await startGateway({ api: apiAt(port) });
    // A connection that the caller wants to keep: on one to be closed node:http does not wait for the caller to finish.
    const agent = new http.Agent({ keepAlive: true });
    onCleanup(() => agent.destroy());
    for (let round = 0; round < 3; round++) {
      const answer = await call(gateway.url("/graph/me"), {
        method: "PUT",
        body: randomBytes(4_000_000),
        agent,
      });
      expect([answer.status, `${answer.body}`]).toEqual([403, "enough"]);
    }
  });

  test("gives way to fields the gateway has set already, except that Vary is joined", async () => {
    const port = await startApi((_request, response) => {
      response.setHeader("x-frame-options", "ALLOWALL");
      response.setHeader("vary", "Accept-Encoding");
      response.setHeader("link", ["<a>", "<b>"]);
      response.end();
    });
    const gateway = await startGateway({
      api: apiAt(port),
      prepare: (_incoming, outgoing) => {
        outgoing.setHeader("X-Frame-Options", "DENY");
        outgoing.setHeader("Vary", "Origin");
        outgoing.setHeader("X-Correlation-Id", "c-1");
      },
    });
    const { headers, rawHeaders } = await call(gateway.url("/graph/me"));
    expect(headers).toMatchObject({
      "x-frame-options": "DENY",
      vary: "Origin, Accept-Encoding",
      "x-correlation-id": "c-1",
      link: "<a>, <b>",
    });
    expect(rawHeaders.filter((name) => name.toLowerCase() === "link")).toHaveLength(2);
  });
});

test("an answer whose head cannot be written is refused as unreachable, and harms nobody else", async () => {
  const port = await startRawApi((socket) => {
    socket
      .on("data", () => socket.write("HTTP/1.1 200 OK\r\nx-odd: a\u0001b\r\ncontent-length: 2\r\n\r\nok"))
      .on("error", () => {});
  });
  const gateway = await startGateway({ api: apiAt(port) });
  await call(gateway.url("/graph/me"));
  expect(await gateway.outcomes.next()).toMatchObject({ code: "downstream_unreachable" });
});

/** In place of the connections: undici's parser would not let through what these answer. */
async function forwardedOver(send: Transport["send"]): Promise<string> {
  const forward = createForward({
    transport: { send, close: async () => {}, destroy: async () => {} },
    fairness: { replayBytes: 0, ...NO_SHARES },
  });
  const api = apiAt(1, { maxThrottleWaitMs: 1_000 });
  const target = compileTarget(api, { path: "/graph", methods: ["GET"], allow: ["/**"] })("GET", "/graph/me");
  const refusals = createInbox<string>();
  const port = await startApi((incoming, outgoing) => {
    const sent = { target, token: new Secret("delegated"), correlationId: "id" };
    forward({ incoming, framing: { kind: "none" }, outgoing, ...sent }).catch((error: Error) => {
      const code = error instanceof GatewayError ? error.code : error.name;
      refusals.put(`${code}: ${((error.cause as Error | undefined) ?? error).message}`);
      outgoing.end();
    });
  });
  await call(`http://127.0.0.1:${port}/graph/me`);
  return refusals.next();
}

test("a head that turns out not to be writable when it is alone is refused, not thrown where nobody listens", async () => {
  const refusal = await forwardedOver((_request, receiver) => {
    setImmediate(() => receiver.head(200, { "x-odd": "a\u0001b" }));
    return { pause() {}, resume() {}, abort() {} };
  });
  expect(refusal).toMatch(/^downstream_unreachable: Invalid character/);
});

test("a defect in a repeated attempt is told to whoever waits for the answer", async () => {
  let attempts = 0;
  const refusal = await forwardedOver((_request, receiver) => {
    attempts += 1;
    if (attempts > 1) throw new TypeError("a defect");
    setImmediate(() => receiver.head(429, { "retry-after": "0" }));
    return { pause() {}, resume() {}, abort() {} };
  });
  expect(refusal).toBe("TypeError: a defect");
  expect(attempts).toBe(2);
});

test("an answer that came whole may wait for the one before it longer than the API was given for its head", async () => {
  const held = createInbox<http.ServerResponse>();
  const port = await startApi((request, response) => {
    if (request.url === "/v1.0/2") response.end("whole");
    else held.put(response.writeHead(200));
  });
  const gateway = await startGateway({ api: apiAt(port, { timeoutMs: 1_000 }) });
  const socket = net.connect(gateway.port, "127.0.0.1");
  let received = "";
  socket.on("data", (chunk) => {
    received += chunk;
  });
  socket.write("GET /graph/1 HTTP/1.1\r\nhost: a\r\n\r\n");
  const first = await held.next();
  first.write("first");
  await once(socket, "data");
  socket.write("GET /graph/2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
  await sleep(1_200);
  first.end();
  await once(socket, "close");
  expect(received).toMatch(/first.*HTTP\/1\.1 200 .*whole$/s);
});

test("an answer that comes in one piece keeps the length that it announced, or is given one", async () => {
  const port = await startRawApi((socket) => {
    socket
      .on("error", () => {})
      .on("data", (bytes) => {
        const known = `${bytes}`.startsWith("GET /known");
        socket.write(
          known
            ? "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
            : "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        );
      });
  });
  const gateway = await startGateway({ api: apiAt(port) });
  for (const path of ["/graph/known", "/graph/unknown"]) {
    const { headers, body } = await call(gateway.url(path));
    expect([headers["content-length"], headers["transfer-encoding"], `${body}`]).toEqual([
      "2",
      undefined,
      "ok",
    ]);
  }
});

describe("a body", () => {
  test("of a megabyte of arbitrary bytes arrives intact, up and down", async () => {
    const port = await startApi((request, response) => {
      response.writeHead(200, { "content-type": "image/jpeg" });
      request.pipe(response);
    });
    const gateway = await startGateway({ api: apiAt(port) });
    const sent = randomBytes(1024 * 1024);
    const { body } = await call(gateway.url("/graph/me/photo/$value"), { method: "PUT", body: sent });
    expect(body.equals(sent)).toBe(true);
  });

  test("of many megabytes streams up and down at once", async () => {
    const port = await startApi((request, response) => request.pipe(response));
    const gateway = await startGateway({ api: apiAt(port) });
    const chunk = randomBytes(256 * 1024);
    const rounds = 200;
    const request = http.request(gateway.url("/graph/echo"), { method: "POST", agent: false });
    const sent = createHash("sha256");
    const uploading = (async () => {
      for (let round = 0; round < rounds; round++) {
        sent.update(chunk);
        if (!request.write(chunk)) await once(request, "drain");
      }
      request.end();
    })();
    const [response] = (await once(request, "response")) as [http.IncomingMessage];
    const received = createHash("sha256");
    for await (const piece of response as AsyncIterable<Buffer>) received.update(piece);
    await uploading;
    expect(received.digest("hex")).toBe(sent.digest("hex"));
    expect(await gateway.outcomes.next()).toMatchObject({
      requestBytes: rounds * chunk.length,
      responseBytes: rounds * chunk.length,
    });
  });

  test("that the caller does not read comes to a halt at the API", async () => {
    const { port, taken } = await startTorrent();
    const gateway = await startGateway({ api: apiAt(port) });
    const request = http.get(gateway.url("/graph/big"), { agent: false });
    const [response] = (await once(request, "response")) as [http.IncomingMessage];
    expect(await untilStalled(taken)).toBeLessThan(IN_FLIGHT);
    let received = 0;
    for await (const piece of response as AsyncIterable<Buffer>) received += piece.length;
    expect(received).toBe(taken());
  });

  test("that the API does not read comes to a halt at the caller", async () => {
    const reading = createInbox<http.IncomingMessage>();
    const port = await startApi(async (request, response) => {
      reading.put(request);
      request.on("end", () => response.end());
    });
    const gateway = await startGateway({ api: apiAt(port) });
    const request = http.request(gateway.url("/graph/big"), { method: "PUT", agent: false });
    let taken = 0;
    const uploading = (async () => {
      while (taken < TOTAL) {
        taken += CHUNK.length;
        if (!request.write(CHUNK)) await once(request, "drain");
      }
      request.end();
    })();
    const arrived = await reading.next();
    expect(await untilStalled(() => taken)).toBeLessThan(IN_FLIGHT);
    let received = 0;
    arrived.on("data", (piece: Buffer) => {
      received += piece.length;
    });
    await uploading;
    expect((await reply(request)).status).toBe(200);
    expect(received).toBe(TOTAL);
  });

  test("of server-sent events reaches the caller event by event, its head before the first", async () => {
    const streams = createInbox<http.ServerResponse>();
    const port = await startApi((_request, response) => {
      response
        .writeHead(200, { "content-type": "text/event-stream", "x-accel-buffering": "no" })
        .flushHeaders();
      streams.put(response);
    });
    const gateway = await startGateway({ api: apiAt(port) });
    const request = http.get(gateway.url("/graph/events"), { agent: false });
    const [response] = (await once(request, "response")) as [http.IncomingMessage];
    expect(response.headers).toMatchObject({
      "content-type": "text/event-stream",
      "x-accel-buffering": "no",
    });
    const stream = await streams.next();
    for (const event of ["data: 1\n\n", "data: 2\n\n", ": still here\n\n"]) {
      stream.write(event);
      const [piece] = (await once(response, "data")) as [Buffer];
      expect(`${piece}`).toBe(event);
    }
    response.resume();
    stream.end();
    await once(response, "end");
  });
});

test("five hundred streams of events at once each deliver their head and first event while all stay open", async () => {
  const count = 500;
  const streams: http.ServerResponse[] = [];
  const port = await startApi((_request, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
    streams.push(response);
  });
  const gateway = await startGateway({ api: apiAt(port) });
  const callers = await Promise.all(
    Array.from({ length: count }, async () => {
      const request = http.get(gateway.url("/graph/events"), { agent: false });
      const [response] = (await once(request, "response")) as [http.IncomingMessage];
      return response;
    }),
  );
  // Every head is here before any event was sent, so nothing waited for a byte of a body.
  expect(streams).toHaveLength(count);
  for (const round of [1, 2]) {
    const events = callers.map(async (response) => `${(await once(response, "data"))[0]}`);
    for (const stream of streams) stream.write(`data: ${round}\n\n`);
    expect(new Set(await Promise.all(events))).toEqual(new Set([`data: ${round}\n\n`]));
  }
  expect(streams.some((stream) => stream.writableEnded)).toBe(false);
  const ends = callers.map((response) => once(response.resume(), "end"));
  for (const stream of streams) stream.end();
  await Promise.all(ends);
});

describe("a request body's limit", () => {
  test("refuses an announced length before the API hears of it", async () => {
    let asked = false;
    const port = await startApi((_request, response) => {
      asked = true;
      response.end();
    });
    const gateway = await startGateway({ api: apiAt(port, { maxRequestBytes: 1000 }) });
    const answer = await call(gateway.url("/graph/me"), { method: "POST", body: "x".repeat(1001) });
    expect(answer.headers["x-code"]).toBe("body_too_large");
    expect(asked).toBe(false);
  });

  test("ends a chunked body where it is passed, and the API sees no complete request", async () => {
    const ends = createInbox<string>();
    const port = await startApi((request) => {
      request.resume();
      request.on("end", () => ends.put("complete")).on("error", () => ends.put("cut"));
    });
    const gateway = await startGateway({ api: apiAt(port, { maxRequestBytes: 100_000 }) });
    const request = http.request(gateway.url("/graph/me"), { method: "POST", agent: false });
    const answered = reply(request);
    request.write(Buffer.alloc(90_000));
    request.end(Buffer.alloc(20_000));
    expect((await answered).headers["x-code"]).toBe("body_too_large");
    expect(await ends.next()).toBe("cut");
  });

  test("is not passed by a body of exactly that size", async () => {
    const port = await startApi(async (request, response) =>
      response.end(`${(await bodyOf(request)).length}`),
    );
    const gateway = await startGateway({ api: apiAt(port, { maxRequestBytes: 1000 }) });
    const answer = await call(gateway.url("/graph/me"), { method: "POST", body: "x".repeat(1000) });
    expect(`${answer.body}`).toBe("1000");
  });
});

describe("Expect: 100-continue", () => {
  test("is answered by the gateway and not passed on", async () => {
    const port = await startApi(async (request, response) => {
      response.setHeader("x-expect", request.headers.expect ?? "none");
      response.end(await bodyOf(request));
    });
    const gateway = await startGateway({ api: apiAt(port) });
    const request = http.request(gateway.url("/graph/me"), {
      method: "POST",
      agent: false,
      headers: { expect: "100-continue", "content-length": "5" },
    });
    request.flushHeaders();
    await once(request, "continue");
    request.end("hello");
    const answer = await reply(request);
    expect([answer.headers["x-expect"], `${answer.body}`]).toEqual(["none", "hello"]);
  });

  test("is answered only when the body is wanted, where the server leaves that to the forwarder", async () => {
    const port = await startApi(async (request, response) => response.end(await bodyOf(request)));
    const api = apiAt(port, { maxRequestBytes: 10 });
    let wanted = 0;
    const gateway = await startGateway({
      api,
      forward: {
        onBodyWanted: () => {
          wanted++;
        },
      },
      configure: (server) => {
        server.on("checkContinue", (incoming, outgoing) => {
          server.emit("request", incoming, outgoing);
          if (Number(incoming.headers["content-length"]) <= 10) outgoing.writeContinue();
        });
      },
    });
    const start = (length: string) => {
      const request = http.request(gateway.url("/graph/me"), {
        method: "POST",
        agent: false,
        headers: { expect: "100-continue", "content-length": length },
      });
      request.flushHeaders();
      return request;
    };
    const small = start("5");
    await once(small, "continue");
    small.end("hello");
    expect(`${(await reply(small)).body}`).toBe("hello");
    expect(wanted).toBe(1);

    const large = start("11");
    let continued = false;
    large.on("continue", () => {
      continued = true;
    });
    const answered = reply(large);
    expect((await answered).headers["x-code"]).toBe("body_too_large");
    expect(continued).toBe(false);
    large.destroy();
    expect(wanted).toBe(1);
  });
});
