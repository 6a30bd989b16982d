/** Callers that hold connections without using them, or open too many. */

import { once } from "node:events";
import type { RequestListener, ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import { text as textOf } from "node:stream/consumers";
import { afterEach, describe, expect, jest, test } from "@jest/globals";
import type { Request } from "express";
import { loopTurns } from "../../src/foundation/turns.ts";
import { type Connection, connectionOf } from "../../src/http/connection.ts";
import type { ConnectionEvent, ConnectionLimits } from "../../src/http/contract.ts";
import { openRecord } from "../../src/http/pipeline.ts";
import { type Listening, type ListenOptions, listen } from "../../src/http/server.ts";
import { until } from "../support/until.ts";
import { CONNECTION_LIMITS } from "./connection-limits.ts";

const PATIENT: ConnectionLimits = {
  max: 1_000,
  maxPipelined: 16,
  headersTimeoutSeconds: 60,
  requestTimeoutSeconds: 0,
  keepAliveTimeoutSeconds: 60,
  maxRequests: 0,
  writeStallSeconds: 60,
  minWriteBytesPerSecond: 0,
  writeTimeoutSeconds: 60,
};
const GET = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

const open: Listening[] = [];
const sockets: Socket[] = [];
afterEach(async () => {
  jest.restoreAllMocks();
  for (const socket of sockets.splice(0)) socket.destroy();
  await Promise.all(open.splice(0).map((server) => server.drain(0)));
});

const refuse: RequestListener = (_request, response) => void response.writeHead(503).end("late");
const answer: RequestListener = (_request, response) => void response.end("answer");

async function start(
  connections: Partial<ConnectionLimits>,
  { handler = answer, ...options }: Partial<ListenOptions> & { readonly handler?: RequestListener } = {},
): Promise<Listening> {
  const server = await listen(handler, {
    host: "127.0.0.1",
    port: 0,
    setting: "PORT",
    refuse,
    connections: { ...CONNECTION_LIMITS, ...PATIENT, ...connections },
    ...options,
  });
  open.push(server);
  return server;
}

async function connected({ port }: Listening): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  sockets.push(socket);
  await once(socket, "connect");
  return socket;
}

function asked(socket: Socket, request: string): Promise<string> {
  const answered = firstOf(socket);
  socket.write(request);
  return answered;
}

async function firstOf(socket: Socket): Promise<string> {
  const [chunk] = await once(socket, "data");
  return String(chunk);
}

describe("slow callers", () => {
  const HASTY = { headersTimeoutSeconds: 0.1 };
  // For tests in which a request has to arrive in time, on a machine that may stand still for a while.
  const LESS_HASTY = { headersTimeoutSeconds: 0.5 };

  test("who never finishes the headers gets 408 and is disconnected", async () => {
    const socket = await connected(await start(HASTY));
    socket.write("GET / HTTP/1.1\r\nhost: x\r\nx-slow: ");
    const text = await textOf(socket);
    expect(text).toMatch(/^HTTP\/1\.1 408 /);
    expect(text).toContain('"code":"request_malformed"');
  });

  test("drop by drop does not help: the time is for all headers together", async () => {
    const socket = await connected(await start(HASTY));
    socket.write("GET / HTTP/1.1\r\nhost: x\r\n");
    const drops = setInterval(() => socket.write("x-drop: 1\r\n"), 20);
    try {
      expect(await textOf(socket)).toMatch(/^HTTP\/1\.1 408 /);
    } finally {
      clearInterval(drops);
    }
  });

  test("who connects and says nothing is disconnected", async () => {
    const socket = await connected(await start(HASTY));
    expect(await textOf(socket)).toMatch(/^HTTP\/1\.1 408 /);
  });

  test("nor may a later request on the same connection take longer", async () => {
    const socket = await connected(await start(LESS_HASTY));
    socket.write(GET);
    expect(await firstOf(socket)).toMatch(/^HTTP\/1\.1 200 /);
    socket.write("GET / HTTP/1.1\r\nho");
    expect(await textOf(socket)).toMatch(/^HTTP\/1\.1 408 /);
  });

  test("who never finishes the body gets 408, where a limit is set", async () => {
    const handler: RequestListener = (request, response) => {
      request.resume().on("end", () => response.end("whole"));
    };
    const socket = await connected(
      await start({ headersTimeoutSeconds: 0.1, requestTimeoutSeconds: 0.2 }, { handler }),
    );
    socket.write("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nbo");
    expect(await textOf(socket)).toMatch(/^HTTP\/1\.1 408 /);
  });

  test("an answer may take as long as it needs", async () => {
    const arrived: ServerResponse[] = [];
    const server = await start(
      { ...LESS_HASTY, requestTimeoutSeconds: 0.5 },
      { handler: (_request, response) => void arrived.push(response) },
    );
    const waiting = await connected(server);
    waiting.write(GET);
    // Another caller's end says that the limits have been looked at since.
    const silent = await connected(server);
    await textOf(silent);
    arrived[0]?.end("late, but here");
    expect(await firstOf(waiting)).toMatch(/late, but here/);
  });
});

describe("connections", () => {
  test("one more than allowed is closed and told, and there is room again when another ends", async () => {
    const events: ConnectionEvent[] = [];
    let notify = () => {};
    const server = await start(
      { max: 2 },
      {
        handler(request, response) {
          if (request.url === "/") response.end("answer");
          notify();
        },
        onConnection(event) {
          events.push(event);
          notify();
        },
      },
    );
    const next = () =>
      new Promise<void>((resolve) => {
        notify = resolve;
      });
    const first = await connected(server);
    const second = await connected(server);
    for (const socket of [first, second]) {
      const arrived = next();
      socket.write(GET.replace("/", "/held"));
      await arrived;
    }
    const third = await connected(server);
    expect(await textOf(third).catch(({ code }) => code)).toMatch(/^(?:|ECONNRESET)$/);
    expect(events).toEqual(["opened", "opened", "dropped"]);

    const closed = next();
    first.destroy();
    await closed;
    const fourth = await connected(server);
    fourth.write(GET);
    expect(await firstOf(fourth)).toMatch(/^HTTP\/1\.1 200 /);
    expect(events).toEqual(["opened", "opened", "dropped", "closed", "opened"]);
  });

  test("after so many requests callers are told to open another, so that they spread over new instances", async () => {
    const socket = await connected(await start({ maxRequests: 2 }));
    socket.write(GET);
    expect(await firstOf(socket)).toMatch(/connection: keep-alive/i);
    const closed = textOf(socket);
    // A caller who takes no notice gets no bare 503 from Node, of which there would be no line in the log.
    socket.write(GET + GET);
    expect(await closed).toMatch(/^HTTP\/1\.1 200 (?!.*HTTP\/1\.1).*connection: close/is);
  });

  /** The gateway's side of a connection on which a request of ada's has arrived. */
  async function afterRequest(handler: RequestListener, request = GET) {
    const arrived: Socket[] = [];
    const server = await start(
      {},
      {
        handler(incoming, response) {
          arrived.push(incoming.socket);
          openRecord(incoming as Request).owner = { user: "ada", client: "app" };
          handler(incoming, response);
        },
      },
    );
    const caller = await connected(server);
    caller.write(request);
    await until(() => arrived.length === 1);
    const [socket] = arrived as [Socket];
    return { caller, socket, connection: connectionOf(socket) as Connection };
  }

  test("at rest, one keeps its user and nothing else of the request that was answered", async () => {
    const { connection } = await afterRequest(answer);
    await until(() => connection.open() === 0);
    expect([connection.newest(), connection.user(), connection.requests()]).toEqual([undefined, "ada", 1]);
  });

  test("one keeps nothing of a request either that was answered before its body was here", async () => {
    const { caller, connection } = await afterRequest(
      answer,
      "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n",
    );
    await until(() => connection.open() === 0);
    caller.write("a");
    await until(() => connection.newest() === undefined);
  });

  test("closed in the middle of a request, one keeps nothing of that", async () => {
    const { caller, socket, connection } = await afterRequest(() => {});
    expect([connection.newest()?.req.socket, connection.user()]).toEqual([socket, "ada"]);
    caller.destroy();
    await until(() => socket.closed);
    expect([connection.newest(), connection.user()]).toEqual([undefined, undefined]);
  });

  test("one without a request is closed after a while", async () => {
    const socket = await connected(await start({ keepAliveTimeoutSeconds: 0.05 }));
    socket.write(GET);
    expect(await textOf(socket)).toMatch(/^HTTP\/1\.1 200 /);
  });
});

describe("overload", () => {
  test("the refusal answers in the handler's place for as long as it lasts, on open connections, too", async () => {
    const load = { isShedding: false, longestWaitMs: Number.POSITIVE_INFINITY };
    let handled = 0;
    const server = await start(
      {},
      {
        handler(_request, response) {
          handled += 1;
          response.end("answer");
        },
        overload: {
          load,
          shed: (_request, response) => void response.writeHead(503).end("shed"),
          refuseToWait: answer,
        },
      },
    );
    const socket = await connected(server);
    for (const [now, status] of [
      [false, 200],
      [true, 503],
      [false, 200],
    ] as const) {
      load.isShedding = now;
      socket.write(GET);
      expect(await firstOf(socket)).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    }
    expect(handled).toBe(2);
  });

  test("requests that have waited too long for their turn are refused, and those before them are answered", async () => {
    let time = performance.now();
    jest.spyOn(performance, "now").mockImplementation(() => time);
    const server = await start(
      {},
      {
        handler(request, response) {
          // Longer than a turn of the event loop gives to work that begins.
          if (request.url === "/long") time += 5;
          response.end("answer");
        },
        overload: {
          load: { isShedding: false, longestWaitMs: 40 },
          shed: (_request, response) => void response.writeHead(503).end("shed"),
          refuseToWait: answer,
        },
      },
    );
    const all = await Promise.all(Array.from({ length: 30 }, () => connected(server)));
    // All are accepted then, so that what they send next is there at once.
    for (const socket of all) await asked(socket, GET);
    const answers = await Promise.all(all.map((socket) => asked(socket, GET.replace("/", "/long"))));
    const statuses = answers.map((answer) => answer.slice(9, 12));
    expect(new Set(statuses)).toEqual(new Set(["200", "503"]));
  });
});

describe("heads whose requests wait for their turn", () => {
  const KIB = 1024;
  const get = (path: string) => `GET ${path} HTTP/1.1\r\nhost: x\r\nx-long: ${"a".repeat(30 * KIB)}\r\n\r\n`;

  /** A server in which no request begins before the test says so. */
  async function waiting() {
    const begin: (() => void)[] = [];
    jest.spyOn(loopTurns, "isFree").mockReturnValue(false);
    jest.spyOn(loopTurns, "accepted").mockReturnValue(false);
    jest.spyOn(loopTurns, "wait").mockImplementation((_owner, one) => void begin.push(() => one(0)));
    const refuseToWait: RequestListener = (_request, response) => void response.writeHead(503).end("full");
    const server = await start(
      { max: 2_000 },
      {
        recognize: ({ url }) => (url === "/" ? undefined : url),
        overload: {
          load: { isShedding: false, longestWaitMs: Number.POSITIVE_INFINITY },
          shed: answer,
          refuseToWait,
        },
      },
    );
    /** Says what the caller gets, or nothing for as long as it waits. */
    const ask = async (path: string) => {
      const socket = await connected(server);
      const before = begin.length;
      const got: string[] = [];
      socket.on("data", (chunk) => got.push(String(chunk).slice(9, 12)));
      socket.write(get(path));
      await until(() => got.length > 0 || begin.length > before);
      return { socket, got };
    };
    /** Callers who wait, as many as may. */
    const fill = async (path: string) => {
      const all: Awaited<ReturnType<typeof ask>>[] = [];
      for (;;) {
        const asked = await ask(path);
        if (asked.got.length === 0) all.push(asked);
        else {
          expect(asked.got).toEqual(["503"]);
          return all;
        }
      }
    };
    return { begin, dial: () => connected(server), ask, fill };
  }

  test("hold 16 MiB at most of one user, and of all callers who are not known; what comes then is answered 503 at once", async () => {
    const { ask, fill } = await waiting();
    const fitting = Math.floor((16 * KIB * KIB) / 30_740);
    for (const path of ["/", "/ada"]) expect((await fill(path)).length).toBe(fitting);
    expect((await ask("/bob")).got).toEqual([]);
  });

  test("close a connection that sends one more behind another of its own, and give back what that one held", async () => {
    const { begin, dial, ask, fill } = await waiting();
    await fill("/");
    begin[0]?.();
    const socket = await dial();
    const closed = once(socket, "close");
    socket.on("error", () => {}).resume();
    // The first one fits, the second does not.
    socket.write(`GET / HTTP/1.1\r\nhost: x\r\n\r\n${get("/")}${get("/")}`);
    await closed;
    await until(async () => (await ask("/")).got.length === 0);
    expect((await ask("/")).got).toEqual(["503"]);
  });

  test.each([
    ["leaves", (caller: Socket) => void caller.destroy()],
    ["has its turn", (_caller: Socket, begin: () => void) => begin()],
  ])("make room for another one when one of them %s", async (_what, makeRoom) => {
    const { begin, ask, fill } = await waiting();
    const [first] = await fill("/");
    if (first === undefined || begin[0] === undefined) throw new Error("none waits");
    makeRoom(first.socket, begin[0]);
    await until(async () => (await ask("/")).got.length === 0);
    expect((await ask("/")).got).toEqual(["503"]);
  });
});
