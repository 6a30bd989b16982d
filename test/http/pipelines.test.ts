/** Callers that send further requests on a connection without waiting for the answers to earlier ones. */

import { once } from "node:events";
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test } from "@jest/globals";
import { loopTurns } from "../../src/foundation/turns.ts";
import { type Listening, type ListenOptions, listen } from "../../src/http/server.ts";
import { until } from "../support/until.ts";
import { CONNECTION_LIMITS } from "./connection-limits.ts";

const open: Listening[] = [];
const sockets: Socket[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await Promise.all(open.splice(0).map((server) => server.drain(0)));
});

const refuse: RequestListener = (_request, response) => void response.writeHead(503).end("late");

/** A server whose answers the test gives. */
async function start(maxPipelined = 16, options: Partial<ListenOptions> = {}) {
  const arrived: ServerResponse[] = [];
  const server = await listen((_request, response) => void arrived.push(response), {
    host: "127.0.0.1",
    port: 0,
    setting: "PORT",
    refuse,
    connections: { ...CONNECTION_LIMITS, maxPipelined },
    ...options,
  });
  open.push(server);
  const socket = connect(server.port, "127.0.0.1");
  sockets.push(socket);
  await once(socket, "connect");
  return { arrived, socket, server };
}

const paths = (responses: readonly ServerResponse[]) => responses.map(({ req }) => req.url);
const numbers = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, at) => `/${from + at}`);
const gets = (...all: string[]) => all.map((path) => `GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`).join("");
const post = (path: string, body: string, method = "POST") =>
  `${method} ${path} HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`;

/** Long enough that a request which is free to begin would have begun. */
const settle = () => sleep(50);

function reading(socket: Socket) {
  const state = { text: "", closed: false };
  socket.on("data", (chunk) => {
    state.text += chunk;
  });
  socket.on("error", () => {});
  socket.on("close", () => {
    state.closed = true;
  });
  return state;
}

describe("requests of a pipeline", () => {
  test.each([
    ["in one packet", (socket: Socket, all: string[]) => void socket.write(gets(...all))],
    [
      "in a packet each",
      async (socket: Socket, all: string[]) => {
        for (const path of all) {
          socket.write(gets(path));
          await sleep(1);
        }
      },
    ],
    [
      "in packets that end anywhere",
      async (socket: Socket, all: string[]) => {
        const bytes = gets(...all);
        for (let at = 0; at < bytes.length; at += 37) {
          socket.write(bytes.slice(at, at + 37));
          if (at % 5 === 0) await sleep(1);
        }
      },
    ],
  ])("that come %s run 16 at a time, and every one is answered in order", async (_, send) => {
    const { arrived, socket } = await start();
    const received = reading(socket);
    void send(socket, numbers(1, 100));
    await until(() => arrived.length === 16);
    await settle();
    expect(paths(arrived)).toEqual(numbers(1, 16));
    for (let answered = 0; answered < 100; answered++) {
      await until(() => arrived.length > answered);
      expect(arrived.length - answered).toBeLessThanOrEqual(16);
      arrived[answered]?.end(`[${arrived[answered]?.req.url}]`);
    }
    await until(() => received.text.includes("[/100]"));
    expect(received.text.match(/\[\/\d+\]/g)).toEqual(numbers(1, 100).map((path) => `[${path}]`));
  });

  test("have a limit that can be set", async () => {
    const { arrived, socket } = await start(2);
    socket.write(gets(...numbers(1, 5)));
    await until(() => arrived.length === 2);
    await settle();
    expect(arrived).toHaveLength(2);
    arrived[0]?.end();
    await until(() => arrived.length === 3);
    await settle();
    expect(arrived).toHaveLength(3);
  });

  test("that are unsafe run one after the other, each with its body", async () => {
    const { arrived, socket } = await start();
    const received = reading(socket);
    socket.write(
      post("/1", "one") + post("/2", "GET / HTTP/1.1\r\n\r\n\r\n\r\n") + gets("/3") + post("/4", ""),
    );
    for (const [path, body] of [
      ["/1", "one"],
      ["/2", "GET / HTTP/1.1\r\n\r\n\r\n\r\n"],
      ["/3", ""],
    ] as const) {
      await until(() => arrived.length > 0);
      await settle();
      expect(paths(arrived)).toEqual(path === "/3" ? ["/3", "/4"] : [path]);
      const [response] = arrived.splice(0) as [ServerResponse];
      let text = "";
      for await (const chunk of response.req) text += chunk;
      expect(text).toBe(body);
      response.end(path);
    }
    await until(() => received.text.includes("/3"));
  });

  test("may have bodies larger than what is read ahead", async () => {
    const { arrived, socket } = await start();
    const received = reading(socket);
    const body = "\r\n\r\n".repeat(200_000);
    socket.write(post("/1", body) + post("/2", body) + post("/3", body));
    for (const path of ["/1", "/2", "/3"]) {
      await until(() => arrived.length > 0);
      const [response] = arrived.splice(0) as [ServerResponse];
      let length = 0;
      for await (const chunk of response.req) length += chunk.length;
      expect([response.req.url, length]).toEqual([path, body.length]);
      response.end(path);
    }
    await until(() => received.text.includes("/3"));
  });

  test("past what is read ahead are not processed, and the last answer says that the connection ends", async () => {
    const { arrived, socket } = await start();
    const received = reading(socket);
    // With a header of 2 KB, as a token makes it, a read of 64 KiB holds about 32 of them.
    const padded = numbers(1, 400).map(
      (path) => `GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: ${"a".repeat(2_000)}\r\n\r\n`,
    );
    socket.write(padded.join(""));
    await until(() => arrived.length === 16);
    await settle();
    let answered = 0;
    while (!received.closed) {
      for (; answered < arrived.length; answered++) arrived[answered]?.end(`[${arrived[answered]?.req.url}]`);
      await sleep(1);
    }
    expect(answered).toBeGreaterThanOrEqual(16);
    expect(answered).toBeLessThan(200);
    expect(received.text.match(/\[\/\d+\]/g)).toEqual(numbers(1, answered).map((path) => `[${path}]`));
    const heads = received.text.split("HTTP/1.1 200").slice(1);
    expect(heads.map((head) => /^connection: close/im.test(head)).indexOf(true)).toBe(answered - 1);
  });

  test("of a flood without tokens end the connection before they are all made objects of", async () => {
    const { arrived, socket } = await start();
    const received = reading(socket);
    socket.write(gets(...numbers(1, 1_500)));
    await until(() => received.closed);
    expect(arrived.length).toBeLessThanOrEqual(16);
    expect(arrived.every(({ destroyed }) => destroyed)).toBe(true);
  });
});

describe("while many connections flood without tokens", () => {
  const isKnown = ({ url }: IncomingMessage) => url?.startsWith("/known") === true;
  const paths = (count: number, path: string) => Array.from({ length: count }, () => path);

  /** A server that answers at once and knows the user of some paths, and as many floods as its patience lasts for. */
  async function flooded() {
    const server = await listen((_request, response) => void response.end("[x]"), {
      host: "127.0.0.1",
      port: 0,
      setting: "PORT",
      refuse,
      connections: CONNECTION_LIMITS,
      recognize: (request) => (isKnown(request) ? "ada" : undefined),
    });
    open.push(server);
    const dial = async () => {
      const socket = connect(server.port, "127.0.0.1");
      sockets.push(socket);
      await once(socket, "connect");
      return { socket, received: reading(socket) };
    };
    const flood = async () => {
      // Few enough that they do not pour in: of such, one request after the other is parsed, and none is a flood.
      const all = await Promise.all(Array.from({ length: 4 }, dial));
      for (const { socket } of all) socket.write(gets(...paths(1_500, "/")));
      await until(() => all.every(({ received }) => received.closed));
    };
    return { dial, flood };
  }

  /** Sends the requests right behind a flood; says whether they were all answered, or the connection was closed. */
  async function answeredBehindFlood(count: number, path: string): Promise<boolean> {
    const { dial, flood } = await flooded();
    const { socket, received } = await dial();
    await flood();
    socket.write(gets(...paths(count, path)));
    const answered = () => received.text.match(/\[x\]/g)?.length ?? 0;
    await until(() => received.closed || answered() === count);
    return answered() === count;
  }

  test("a connection with more than 16 requests of a caller who is not known is closed", async () => {
    // A machine that is busy for a second between the two would forget the flood.
    for (let attempt = 0; attempt < 5; attempt++) if (!(await answeredBehindFlood(100, "/"))) return;
    throw new Error("the connection was served each time");
  });

  test.each([
    ["16 requests of a caller who is not known", 16, "/"],
    ["100 requests of a known user", 100, "/known"],
  ])("a connection with %s is served", async (_, count, path) => {
    expect(await answeredBehindFlood(count, path)).toBe(true);
  });
});

describe("a caller who takes no answers and sends long bodies ahead, while other work waits", () => {
  test.each([
    ["at once", "POST", (request: IncomingMessage) => void request.resume()],
    [
      "slowly, requests at the same time",
      "GET",
      async (request: IncomingMessage) => {
        for await (const _ of request) await sleep(1);
      },
    ],
  ])("is served once it takes them, where bodies are read %s", async (_, method, read) => {
    const ended: (string | undefined)[] = [];
    const server = await listen(
      (request, response) => {
        void read(request);
        // More than is taken of it, while the body is still on its way.
        response.write(Buffer.alloc(request.url === "/1" ? 8_000_000 : 1));
        request.on("end", () => {
          ended.push(request.url);
          response.end();
        });
      },
      { host: "127.0.0.1", port: 0, setting: "PORT", refuse, connections: CONNECTION_LIMITS },
    );
    open.push(server);
    const socket = connect(server.port, "127.0.0.1").on("error", () => {});
    sockets.push(socket);
    socket.pause();
    let isOver = false;
    const work = () => {
      for (const end = performance.now() + 3; performance.now() < end; );
      if (!isOver) loopTurns.wait("ada", work);
    };
    work();
    try {
      const body = "a".repeat(1_500_000);
      socket.write(["/1", "/2", "/3"].map((path) => post(path, body, method)).join(""));
      await until(() => ended.length > 0);
      await settle();
      isOver = true;
      await settle();
      socket.resume();
      await until(() => ended.length === 3);
    } finally {
      isOver = true;
    }
    expect(ended.sort()).toEqual(["/1", "/2", "/3"]);
  });
});

test("a pipeline without end does not hold up the end of the server", async () => {
  let served = 0;
  const server = await listen(
    (_request, response) => {
      served += 1;
      setTimeout(() => response.end("x"), 5);
    },
    {
      host: "127.0.0.1",
      port: 0,
      setting: "PORT",
      refuse,
      connections: { ...CONNECTION_LIMITS, maxPipelined: 2 },
    },
  );
  const socket = connect(server.port, "127.0.0.1").on("error", () => {});
  sockets.push(socket);
  const received = reading(socket);
  socket.write(gets("/", "/", "/"));
  await until(() => served > 2);
  const feeding = setInterval(() => socket.write(gets("/", "/", "/", "/")), 1);
  const began = performance.now();
  await server.drain(20_000);
  clearInterval(feeding);
  expect(performance.now() - began).toBeLessThan(6_000);
  expect(received.text).toMatch(/connection: close/i);
});

describe("a caller who leaves", () => {
  test.each([
    ["closes the connection", (socket: Socket) => socket.end()],
    ["destroys the connection", (socket: Socket) => socket.destroy()],
    ["resets the connection", (socket: Socket) => socket.resetAndDestroy()],
  ])("and %s behind requests that wait is noticed at once", async (_, leave) => {
    const { arrived, socket } = await start();
    const padding = "a".repeat(2_000);
    const all = numbers(1, 600).map((path) => `GET ${path} HTTP/1.1\r\nhost: x\r\nx: ${padding}\r\n\r\n`);
    socket.on("error", () => {});
    socket.write(all.join(""));
    await until(() => arrived.length === 16);
    const closed = Promise.all(arrived.map((response) => once(response, "close")));
    leave(socket);
    await closed;
    await settle();
    expect(arrived).toHaveLength(16);
  });

  test("gives back the places of what ran and of what waited, over all connections", async () => {
    const { arrived, server } = await start(16, { recognize: () => "ada" });
    // Of 4,096 places for requests behind others, each of these takes sixteen.
    for (let round = 0; round < 6; round++) {
      const all = Array.from({ length: 50 }, () => connect(server.port, "127.0.0.1").on("error", () => {}));
      sockets.push(...all);
      arrived.length = 0;
      for (const socket of all) socket.write(gets(...numbers(1, 17)));
      await until(() => arrived.length === 16 * all.length);
      const closed = Promise.all(arrived.map((response) => once(response, "close")));
      for (const socket of all) socket.destroy();
      await closed;
    }
    arrived.length = 0;
    const last = connect(server.port, "127.0.0.1");
    sockets.push(last);
    last.write(gets(...numbers(1, 2)));
    await until(() => arrived.length === 2);
  });
});
