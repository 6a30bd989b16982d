/** Callers that do not read the answers they asked for. */

import { once } from "node:events";
import type { RequestListener } from "node:http";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test } from "@jest/globals";
import { watchProgress } from "../../../src/http/connection.ts";
import type { ConnectionEvent, ConnectionLimits } from "../../../src/http/contract.ts";
import { type Listening, listen } from "../../../src/http/server.ts";
import { CONNECTION_LIMITS } from "../../http/connection-limits.ts";
import { until } from "../../support/until.ts";

const open: Listening[] = [];
const sockets: Socket[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await Promise.all(open.splice(0).map((server) => server.drain(0)));
});

const LIMITS = { stallSeconds: 30, minBytesPerSecond: 500, totalSeconds: 600 };

/** A socket as the watch sees it: what was handed over in all, what of that is buffered, and what libuv still holds. */
function socketWith(bytesWritten: number, writableLength: number, writeQueueSize = 0) {
  return { bytesWritten, writableLength, _handle: { writeQueueSize } };
}

describe("of what is there for a caller", () => {
  /** Whether a limit was broken after each second. */
  function secondsOf(seconds: number, socketAt: (second: number) => ReturnType<typeof socketWith>): number {
    const socket = socketAt(0);
    const progress = watchProgress(socket as unknown as Socket);
    for (let second = 0; second <= seconds; second++) {
      Object.assign(socket, socketAt(second));
      if (progress.passed(1_000, LIMITS)) return second;
    }
    return Number.POSITIVE_INFINITY;
  }

  test("nothing may be taken for 30 seconds, and no longer", () => {
    expect(secondsOf(100, () => socketWith(1_000_000, 1_000_000))).toBe(30);
  });

  test("a single large write makes progress while libuv holds less and less of it", () => {
    const size = 14_000_000;
    const at = (second: number) => socketWith(size, size, size - second * 100_000);
    expect(secondsOf(100, at)).toBe(Number.POSITIVE_INFINITY);
  });

  test("a pause begins anew with every byte", () => {
    const at = (second: number) => socketWith(1e6 + second * 30_000, 30_000 - (second % 29 === 0 ? 1 : 0));
    expect(secondsOf(200, at)).toBe(Number.POSITIVE_INFINITY);
  });

  test("500 bytes a second are enough, and 400 are not, once 30 seconds have passed", () => {
    const reading = (rate: number) => (second: number) =>
      socketWith(1e6 + second * rate, 500_000 /* as much is handed over as is taken */);
    expect(secondsOf(1_000, reading(500))).toBe(Number.POSITIVE_INFINITY);
    expect(secondsOf(1_000, reading(400))).toBe(31);
  });

  test("the rest must be taken in 600 seconds, however steadily", () => {
    const at = (second: number) => socketWith(14e6, 14e6, 14e6 - second * 1_000);
    expect(secondsOf(1_000, at)).toBe(600);
  });

  test("nothing is asked of a caller who has taken everything, such as the reader of a stream of events", () => {
    expect(secondsOf(10_000, (second) => socketWith(second * 10, 0))).toBe(Number.POSITIVE_INFINITY);
  });

  test("time that was spent waiting for an answer does not count", () => {
    const at = (second: number) => (second < 500 ? socketWith(0, 0) : socketWith(1e6, 1e6));
    expect(secondsOf(1_000, at)).toBe(530);
  });
});

const PIECE = Buffer.alloc(64 * 1024);
const SIZE = 16 * 1024 * 1024;

/** Answers of every kind: in one write, in pieces at the caller's pace, and many small ones. */
const handler: RequestListener = (request, response) => {
  if (request.url === "/whole") response.end(Buffer.alloc(SIZE));
  else if (request.url === "/streamed") {
    let sent = 0;
    const more = () => {
      while (sent < SIZE) {
        sent += PIECE.length;
        if (!response.write(PIECE)) return void response.once("drain", more);
      }
      response.end();
    };
    more();
  } else if (request.url === "/events") response.write("data: first\n\n");
  else response.end("answer");
};

async function start(connections: Partial<ConnectionLimits>) {
  const events: ConnectionEvent[] = [];
  const server = await listen(handler, {
    host: "127.0.0.1",
    port: 0,
    setting: "PORT",
    refuse: handler,
    connections: { ...CONNECTION_LIMITS, ...connections },
    onConnection: (event) => void events.push(event),
  });
  open.push(server);
  return { server, events };
}

async function asking({ port }: Listening, path: string): Promise<Socket> {
  const socket = connect(port, "127.0.0.1").on("error", () => {});
  sockets.push(socket);
  await once(socket, "connect");
  socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`);
  return socket;
}

describe("an answer", () => {
  test.each(["/whole", "/streamed"])("%s that is not read is cut", async (path) => {
    const { server, events } = await start({ writeStallSeconds: 0.2 });
    await asking(server, path);
    await until(() => events.includes("closed"));
    expect(events).toEqual(["opened", "unread", "closed"]);
  });

  test.each(["/whole", "/streamed"])("%s that is read slowly comes whole", async (path) => {
    const { server, events } = await start({ writeStallSeconds: 2 });
    const socket = await asking(server, path);
    let received = 0;
    for await (const chunk of socket) {
      received += chunk.length;
      if (received >= SIZE) break;
      await sleep(8);
    }
    expect(received).toBeGreaterThanOrEqual(SIZE);
    expect(events).not.toContain("unread");
  });

  test("that is a stream of events without any is left alone", async () => {
    const { server, events } = await start({ writeStallSeconds: 0.1, writeTimeoutSeconds: 0.1 });
    const socket = await asking(server, "/events");
    await once(socket, "data");
    await sleep(500);
    expect(events).toEqual(["opened"]);
  });

  test("that is not read does not hold up a drain", async () => {
    const { server, events } = await start({ writeStallSeconds: 600 });
    await asking(server, "/whole");
    const began = performance.now();
    await sleep(100);
    await server.drain(20_000);
    expect(performance.now() - began).toBeLessThan(10_000);
    expect(events.slice(0, 2)).toEqual(["opened", "unread"]);
  });
});

test("an answer that is read slowly comes whole although the server ends meanwhile", async () => {
  const { server } = await start({});
  const socket = await asking(server, "/whole");
  await sleep(100);
  const drained = server.drain(10_000);
  await sleep(1_500);
  let received = 0;
  for await (const chunk of socket) received += chunk.length;
  expect(received).toBeGreaterThan(SIZE);
  await drained;
});

describe("where the most connections are open", () => {
  test("the one whose answer is not read gives way to a newcomer, before those that are idle", async () => {
    const { server, events } = await start({ max: 2, writeStallSeconds: 600 });
    const unread = await asking(server, "/whole");
    const idle = await asking(server, "/");
    await once(idle, "data");
    await sleep(7_500);
    const newcomer = await asking(server, "/");
    expect(String((await once(newcomer, "data"))[0])).toMatch(/^HTTP\/1\.1 200 /);
    await once(unread.resume(), "close");
    expect(idle.destroyed).toBe(false);

    const second = await asking(server, "/");
    expect(String((await once(second, "data"))[0])).toMatch(/^HTTP\/1\.1 200 /);
    expect(events.filter((event) => event === "gave_way")).toHaveLength(2);
    expect(events).not.toContain("dropped");
  });
});
