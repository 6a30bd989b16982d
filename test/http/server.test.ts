import { once } from "node:events";
import {
  Agent,
  type ClientRequest,
  get,
  type IncomingMessage,
  type RequestListener,
  type ServerResponse,
} from "node:http";
import { connect, type Socket } from "node:net";
import { text as textOf } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, jest, test } from "@jest/globals";
import { ConfigurationError } from "../../src/errors.ts";
import { type Listening, listen } from "../../src/http/server.ts";
import { CONNECTION_LIMITS } from "./connection-limits.ts";

const refuse: RequestListener = (_request, response) => response.writeHead(503).end("late");
const open: Listening[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((server) => server.drain(0)));
});

async function start(handler: RequestListener): Promise<Listening> {
  const server = await listen(handler, {
    host: "127.0.0.1",
    port: 0,
    setting: "PORT",
    refuse,
    connections: CONNECTION_LIMITS,
  });
  open.push(server);
  return server;
}

/** A handler whose answers the test gives. */
function held() {
  const arrived: ServerResponse[] = [];
  let notify = () => {};
  const handler: RequestListener = (_request, response) => {
    arrived.push(response);
    notify();
  };
  return {
    handler,
    async next(): Promise<ServerResponse> {
      while (arrived.length === 0)
        await new Promise<void>((resolve) => {
          notify = resolve;
        });
      return arrived.shift() as ServerResponse;
    },
  };
}

async function answerTo(
  request: ClientRequest,
): Promise<{ status: number; connection: string; body: string }> {
  const [response] = (await once(request, "response")) as [IncomingMessage];
  let body = "";
  for await (const chunk of response) body += chunk;
  return { status: response.statusCode ?? 0, connection: response.headers.connection ?? "", body };
}

/** Sends bytes as they are and returns all that comes back until the server closes. */
async function raw(port: number, bytes: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  socket.end(bytes);
  return textOf(socket);
}

async function connected(port: number): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  return socket;
}

describe("draining", () => {
  test("a request in flight is answered, its connection is closed, and only then is the server gone", async () => {
    const { handler, next } = held();
    const server = await start(handler);
    const answer = answerTo(get({ port: server.port, agent: new Agent({ keepAlive: true }) }));
    const response = await next();
    let drained = false;
    const drain = server.drain(5_000).then(() => {
      drained = true;
    });
    // Longer than balancers get, so that nothing but the request can hold it up.
    await sleep(1_000);
    expect(drained).toBe(false);
    response.end("done");
    expect(await answer).toEqual({ status: 200, connection: "close", body: "done" });
    await drain;
  });

  test("new connections are served while balancers turn away, a tenth of the grace, and then refused", async () => {
    const { handler, next } = held();
    const server = await start(handler);
    const answer = answerTo(get({ port: server.port }));
    const response = await next();
    const drain = server.drain(2_000);
    const late = answerTo(get({ port: server.port }));
    (await next()).end("served");
    expect(await late).toEqual({ status: 200, connection: "close", body: "served" });

    const refused = () =>
      new Promise((resolve) => {
        const socket = connect(server.port, "127.0.0.1")
          .on("connect", () => resolve(socket.destroy() && undefined))
          .on("error", ({ code }: NodeJS.ErrnoException) => resolve(code));
      });
    // Another error is the fate of one that was about to be accepted.
    while ((await refused()) !== "ECONNREFUSED");
    response.end();
    await Promise.all([answer, drain]);
  });

  test("a request on a connection that idled when it began is served, and is the last of its connection", async () => {
    const server = await start((_request, response) => response.end("ok"));
    const socket = await connected(server.port);
    socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    await once(socket, "data");
    const drain = server.drain(2_000);
    socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    expect(await textOf(socket)).toMatch(/^HTTP\/1\.1 200 .*connection: close.*ok$/is);
    await drain;
  });

  test("of a pipeline that is under way every request is answered, and only the last answer says that it is", async () => {
    const { handler, next } = held();
    const server = await start(handler);
    const socket = await connected(server.port);
    const received = textOf(socket);
    socket.write("GET /1 HTTP/1.1\r\nhost: x\r\n\r\nGET /2 HTTP/1.1\r\nhost: x\r\n\r\n");
    const responses = [await next(), await next()];
    const drain = server.drain(2_000);
    socket.write("GET /3 HTTP/1.1\r\nhost: x\r\n\r\n");
    responses.push(await next());
    for (const response of responses) response.end(response.req.url);
    const answers = (await received).split("HTTP/1.1 200").slice(1);
    expect(answers.map((answer) => [/connection: close/i.test(answer), /\/\d/.exec(answer)?.[0]])).toEqual([
      [false, "/1"],
      [false, "/2"],
      [true, "/3"],
    ]);
    await drain;
  });

  test("of a pipeline whose last answer is ready already every answer is given", async () => {
    const { handler, next } = held();
    const server = await start(handler);
    const socket = await connected(server.port);
    let received = "";
    socket.on("data", (chunk) => {
      received += chunk;
    });
    socket.write(
      "GET /1 HTTP/1.1\r\nhost: x\r\n\r\nPOST /2 HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
    );
    const [first, second] = [await next(), await next()];
    second.end("2");
    const closed = once(socket, "close");
    const drain = server.drain(1_000);
    first.end("1");
    await Promise.all([drain, closed]);
    expect(received.match(/HTTP\/1\.1 200/g)).toHaveLength(2);
  });

  test("a request behind an answer that says it is the last is not processed, so that the caller may repeat it", async () => {
    const { handler, next } = held();
    const server = await start(handler);
    const socket = await connected(server.port);
    socket.write("GET /1 HTTP/1.1\r\nhost: x\r\n\r\n");
    const response = await next();
    const drain = server.drain(2_000);
    response.flushHeaders();
    await once(socket, "data");
    const rest = textOf(socket);
    socket.write("POST /2 HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n1");
    // Sent later and here already, on a connection of its own: so the one before it has been read, too.
    const other = answerTo(get({ port: server.port, path: "/3" }));
    const following = await next();
    expect(following.req.url).toBe("/3");
    following.end();
    response.end();
    expect(await rest).not.toContain("HTTP/1.1");
    await Promise.all([other, drain]);
  });

  test("a request behind a stream that had begun before is served", async () => {
    const { handler, next } = held();
    const server = await start(handler);
    const socket = await connected(server.port);
    socket.write("GET /1 HTTP/1.1\r\nhost: x\r\n\r\n");
    const stream = await next();
    stream.flushHeaders();
    await once(socket, "data");
    const drain = server.drain(3_000);
    stream.end();
    await once(socket, "data");
    const rest = textOf(socket);
    socket.write("GET /2 HTTP/1.1\r\nhost: x\r\n\r\n");
    (await next()).end("served");
    expect(await rest).toMatch(/HTTP\/1\.1 200 .*connection: close.*served/is);
    await drain;
  });

  test("an idle kept-alive connection does not hold it up for longer than balancers get", async () => {
    const server = await start((_request, response) => response.end("ok"));
    const agent = new Agent({ keepAlive: true });
    await answerTo(get({ port: server.port, agent }));
    const began = performance.now();
    await server.drain(20_000);
    const tookMs = performance.now() - began;
    expect(tookMs).toBeGreaterThan(1_950);
    expect(tookMs).toBeLessThan(3_500);
    agent.destroy();
  });

  test("a request that outlives the grace is cut, so that the process can end", async () => {
    const { handler, next } = held();
    const server = await start(handler);
    const request = get({ port: server.port });
    const cut = once(request, "error");
    await next();
    await server.drain(1);
    expect((await cut)[0]).toMatchObject({ code: "ECONNRESET" });
  });

  test("a request on an open connection is served in the first half of the grace, and refused in the second", async () => {
    const { handler, next } = held();
    const server = await start(handler);
    const [early, late] = await Promise.all([connected(server.port), connected(server.port)]);
    // Connections are accepted in order: once this one's request is here, the two before it are the server's, too.
    const blocker = answerTo(get({ port: server.port }));
    const blocking = await next();

    jest.useFakeTimers({ doNotFake: ["nextTick", "setImmediate", "queueMicrotask", "performance"] });
    try {
      const drain = server.drain(10_000);
      early.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
      (await next()).end("served");
      expect(await textOf(early)).toMatch(/^HTTP\/1\.1 200 .*connection: close.*served$/is);

      jest.advanceTimersByTime(5_000);
      late.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
      expect(await textOf(late)).toMatch(/^HTTP\/1\.1 503 .*connection: close.*late/is);
      blocking.end();
      await Promise.all([blocker, drain]);
    } finally {
      jest.useRealTimers();
    }
  });
});

describe("bytes that are no request", () => {
  test.each([
    ["headers past 32 KiB", `GET / HTTP/1.1\r\nhost: x\r\nx: ${"a".repeat(33 * 1024)}\r\n\r\n`, 431],
    ["a line that is not HTTP", "HELLO\r\n\r\n", 400],
    ["a bare line feed inside a header", "GET / HTTP/1.1\r\nhost: x\nevil: 1\r\n\r\n", 400],
    [
      "two different lengths",
      "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
      400,
    ],
    [
      "a length beside chunks",
      "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
      400,
    ],
  ])("%s is answered and the connection closed", async (_, bytes, status) => {
    let reached = 0;
    const server = await start((_request, response) => {
      reached++;
      response.end();
    });
    expect(await raw(server.port, bytes)).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(reached).toBe(0);
  });

  test("the answer holds a correlation id, in header and body alike", async () => {
    const server = await start((_request, response) => response.end());
    const [head = "", body = ""] = (await raw(server.port, "HELLO\r\n\r\n")).split("\r\n\r\n");
    const { correlationId } = JSON.parse(body);
    expect(correlationId).toMatch(/^[0-9a-f-]{36}$/);
    expect(head).toContain(`x-correlation-id: ${correlationId}`);
  });

  test.each([
    ["a head", "GET / HTTP/1.1\r\nhost: x\r\nx: "],
    ["a request line", "GET /graph/me HTT"],
    ["a body", "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nbo"],
    ["a second head", "GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HT"],
  ])("who leaves amid %s is written nothing about it", async (_, bytes) => {
    const server = await start((request, response) => {
      if (request.method === "GET") response.end("served");
      else request.resume().on("end", () => response.end("whole"));
    });
    const text = await raw(server.port, bytes);
    expect(text).not.toMatch(/^HTTP\/1\.1 4/m);
    expect(text).not.toContain("whole");
  });

  test("who sends a megabyte of headers can send all of it and then read the answer", async () => {
    const server = await start((_request, response) => response.end());
    const socket = connect({ port: server.port, host: "127.0.0.1", allowHalfOpen: true });
    const answer = textOf(socket);
    const send = (bytes: string) => new Promise((resolve) => socket.write(bytes, resolve));
    expect(await send("GET / HTTP/1.1\r\nhost: x\r\nx: ")).toBeFalsy();
    for (let sent = 0; sent < 64; sent++) expect(await send("a".repeat(16 * 1024))).toBeFalsy();
    expect(await answer).toMatch(/^HTTP\/1\.1 431 /);
    socket.end();
  });

  test("behind an answered request whose body never came they are no second answer to it", async () => {
    const server = await listen((_request, response) => response.writeHead(401).end("first"), {
      host: "127.0.0.1",
      port: 0,
      setting: "PORT",
      refuse,
      connections: { ...CONNECTION_LIMITS, headersTimeoutSeconds: 0.1, requestTimeoutSeconds: 0.2 },
    });
    open.push(server);
    const socket = await connected(server.port);
    socket.write("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nbo");
    const text = await textOf(socket).catch(({ code }) => code);
    expect(text).toMatch(/^HTTP\/1\.1 401 /);
    expect(text.match(/HTTP\/1\.1/g)).toHaveLength(1);
  });

  test("they are answered on a connection that has served before, too", async () => {
    const server = await start((_request, response) => response.end("first"));
    const socket = await connected(server.port);
    socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    await once(socket, "data");
    socket.write(`GET / HTTP/1.1\r\nhost: x\r\nx: ${"a".repeat(33 * 1024)}\r\n\r\n`);
    expect(await textOf(socket)).toMatch(/^HTTP\/1\.1 431 /);
  });

  test("behind a request that still waits for its answer they end the connection, so that no answer is mistaken", async () => {
    const { handler, next } = held();
    const server = await start(handler);
    const received = raw(server.port, "GET / HTTP/1.1\r\nhost: x\r\n\r\nHELLO\r\n\r\n").catch(
      ({ code }) => code,
    );
    await next();
    expect(["", "ECONNRESET"]).toContain(await received);
  });

  test.each([
    ["sends no request and never closes its side", "HELLO\r\n\r\n"],
    [
      "never sends the rest of an answered request",
      "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n",
    ],
  ])("the connection of somebody who %s is destroyed after a while", async (_, bytes) => {
    const sockets: Socket[] = [];
    const server = await start((request, response) => {
      sockets.push(request.socket);
      response.end("answer");
    });
    const socket = connect({ port: server.port, host: "127.0.0.1", allowHalfOpen: true });
    jest.useFakeTimers({ doNotFake: ["nextTick", "setImmediate", "queueMicrotask", "performance"] });
    try {
      for (const message of ["GET / HTTP/1.1\r\nhost: x\r\n\r\n", bytes]) {
        socket.write(message);
        await once(socket, "data");
      }
      const [ours] = sockets;
      jest.advanceTimersByTime(29_000);
      expect(ours?.destroyed).toBe(false);
      jest.advanceTimersByTime(1_000);
      expect(ours?.destroyed).toBe(true);
    } finally {
      jest.useRealTimers();
      socket.destroy();
    }
  });

  test("a body that arrives after its answer does not end the connection", async () => {
    const server = await start((_request, response) => response.end("answer"));
    const socket = await connected(server.port);
    jest.useFakeTimers({ doNotFake: ["nextTick", "setImmediate", "queueMicrotask", "performance"] });
    try {
      for (let times = 0; times < 12; times++) {
        socket.write("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n");
        await once(socket, "data");
        socket.write("body");
      }
      socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
      await once(socket, "data");
      jest.advanceTimersByTime(30_000);
      socket.write("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
      expect(await textOf(socket)).toMatch(/^HTTP\/1\.1 200 /);
    } finally {
      jest.useRealTimers();
    }
  });

  test("a token of 24 KiB fits", async () => {
    const server = await start((request, response) =>
      response.end(String(request.headers.authorization?.length)),
    );
    const headers = { authorization: `Bearer ${"a".repeat(24 * 1024)}` };
    expect((await answerTo(get({ port: server.port, headers }))).body).toBe(String(7 + 24 * 1024));
  });
});

test("of a pipeline whose caller leaves every response is closed", async () => {
  const { handler, next } = held();
  const server = await start(handler);
  const socket = await connected(server.port);
  socket.write([1, 2, 3].map((n) => `GET /${n} HTTP/1.1\r\nhost: x\r\n\r\n`).join(""));
  const responses = [await next(), await next(), await next()];
  responses[1]?.end("ready before its turn");
  const closed = Promise.all(responses.map((response) => once(response, "close")));
  socket.destroy();
  await closed;
  expect(responses.map(({ destroyed }) => destroyed)).toEqual([true, true, true]);
  responses[2]?.end("too late");
});

test("an expectation that nobody knows keeps no request from its handler", async () => {
  const server = await start((request, response) => response.end(request.headers.expect));
  const answer = await raw(server.port, "GET / HTTP/1.1\r\nhost: x\r\nexpect: 200-maybe\r\n\r\n");
  expect(answer).toMatch(/^HTTP\/1\.1 200 .*200-maybe$/s);
});

test("a port in use names the setting and the mend", async () => {
  const { port } = await start((_request, response) => response.end());
  const again = listen(refuse, {
    host: "127.0.0.1",
    port,
    setting: "ADMIN_PORT",
    refuse,
    connections: CONNECTION_LIMITS,
  });
  await expect(again).rejects.toThrow(ConfigurationError);
  await expect(again).rejects.toMatchObject({
    faults: [
      { path: "ADMIN_PORT", problem: expect.stringMatching(/in use; stop the other process or set another/) },
    ],
  });
});

test.each([
  ["::", ["127.0.0.1", "::1"]],
  ["::1", ["::1"]],
])("at %s callers of both families are served, as far as it means them", async (host, addresses) => {
  const server = await listen((_request, response) => response.end("ok"), {
    host,
    port: 0,
    setting: "PORT",
    refuse,
    connections: CONNECTION_LIMITS,
  });
  open.push(server);
  for (const address of addresses)
    expect(await answerTo(get({ port: server.port, host: address }))).toMatchObject({
      status: 200,
      body: "ok",
    });
});

test("an address that this machine does not have is blamed on HOST", async () => {
  const attempt = listen(refuse, {
    host: "192.0.2.1",
    port: 0,
    setting: "PORT",
    refuse,
    connections: CONNECTION_LIMITS,
  });
  await expect(attempt).rejects.toMatchObject({ faults: [{ path: "HOST" }] });
});

describe("a request with more fields than any has", () => {
  const HEAD = `GET / HTTP/1.1\r\nhost: x\r\n${"a:\r\n".repeat(7_900)}\r\n`;

  test("is not made objects of past what says that they are too many, nor what comes behind it", async () => {
    const fields: number[] = [];
    const server = await start(({ rawHeaders }, response) => {
      fields.push(rawHeaders.length / 2);
      setTimeout(() => response.writeHead(431).end(), 20);
    });
    const socket = await connected(server.port);
    socket.write(HEAD.repeat(8));
    const text = await textOf(socket);
    expect(text.match(/HTTP\/1\.1 431/g)).toHaveLength(1);
    expect(text).toMatch(/^connection: close/im);
    // Later releases of Node refuse it before it becomes a request.
    expect(fields.length).toBeLessThanOrEqual(1);
    for (const count of fields) {
      expect(count).toBeGreaterThan(200);
      // The parser hands 32 of them over at a time.
      expect(count).toBeLessThanOrEqual(201 + 32);
    }
  });

  test("gets whichever answer is due, and that is the last one: a late request, too, may have a length that was dropped", async () => {
    const { handler, next } = held();
    const server = await start(handler);
    const socket = await connected(server.port);
    socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    const response = await next();
    const drain = server.drain(2_000);
    await sleep(1_050);
    socket.write(`${HEAD.replace("GET", "POST")}GET / HTTP/1.1\r\nhost: x\r\n\r\n`);
    await sleep(20);
    response.end("done");
    const text = await textOf(socket);
    // Later releases of Node refuse it before it becomes a request: then the answer that is due is the last.
    expect([["HTTP/1.1 200"], ["HTTP/1.1 200", "HTTP/1.1 503"]]).toContainEqual(
      text.match(/HTTP\/1\.1 \d+/g),
    );
    await drain;
  });
});
