import { randomBytes } from "node:crypto";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { Secret } from "../../src/foundation/secret.ts";
import type { OpenRedis, RedisEvent } from "../../src/redis/contract.ts";
import { openRedis } from "../../src/redis/redis.ts";
import { describeWithRedis } from "../support/redis.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import { until } from "../support/until.ts";

const keys = [new Secret(randomBytes(32).toString("base64"))];
const opened: OpenRedis[] = [];
afterEach(() => {
  for (const redis of opened.splice(0)) redis.close();
});

async function open(url: string, timeoutMs = 60) {
  const events: RedisEvent[] = [];
  const redis = await openRedis({
    url: new Secret(url),
    keys,
    timeoutMs,
    onEvent: (event) => events.push(event),
  });
  if (redis === undefined) throw new Error("no Redis");
  opened.push(redis);
  const reasons = () => events.flatMap((event) => (event.type === "shared_failed" ? [event.reason] : []));
  return { ...redis, events, reasons };
}

async function listen(server: Server, port = 0): Promise<number> {
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

describeWithRedis("a Redis that answers late", () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.close());

  const asked: Record<string, (redis: OpenRedis) => Promise<unknown>> = {
    "a read": ({ store }) => store.read("name"),
    "a write": ({ store }) => store.write("name", "value", 1_000),
    "a lock": ({ store }) => store.take("name", "owner", 1_000),
    "a removal": ({ store }) => store.removeIf("name", "value"),
    "a count of a rate limit": ({ counters }) => counters.run("return 1", counters.nameOf("ann"), []),
  };

  test("costs a read, a write, a lock, a removal and a count of a rate limit its time budget and no more", async () => {
    const connections = await Promise.all(Object.keys(asked).map(() => open(server.url)));
    await Promise.all(connections.map((redis) => until(redis.available)));
    // Shorter than the silence after which the client itself gives the connection up.
    await server.inspect.client("PAUSE", 1_500);
    const costs = await Promise.all(
      Object.entries(asked).map(async ([what, ask], index) => {
        const redis = connections[index] as Awaited<ReturnType<typeof open>>;
        const began = performance.now();
        const answer = await ask(redis);
        return { what, answer, inTime: performance.now() - began < 900, reasons: redis.reasons() };
      }),
    );
    expect(costs).toEqual(
      Object.keys(asked).map((what) => ({ what, answer: undefined, inTime: true, reasons: ["timeout"] })),
    );
  });
});

describeWithRedis("a full Redis", () => {
  test("is reported once until a write succeeds, counted each time, and read on", async () => {
    const server = await startRedis();
    try {
      const redis = await open(server.url, 2_000);
      await until(redis.available);
      await redis.store.write("name", "value", 60_000);
      await server.inspect.config("SET", "maxmemory", "1");
      for (let time = 0; time < 8; time += 1) await redis.store.write("other", "value", 60_000);
      expect(redis.reasons()).toEqual(Array(8).fill("OOM"));
      expect(redis.events.filter(({ type }) => type === "shared_full")).toHaveLength(1);
      expect([redis.available(), String(await redis.store.read("name"))]).toEqual([true, "value"]);
      await server.inspect.config("SET", "maxmemory", "0");
      await redis.store.write("other", "value", 60_000);
      await server.inspect.config("SET", "maxmemory", "1");
      await redis.store.write("other", "value", 60_000);
      expect(redis.events.filter(({ type }) => type === "shared_full")).toHaveLength(2);
    } finally {
      await server.close();
    }
  });
});

describe("a connection", () => {
  test("gives the reason of its latest failure, not that of an earlier one", async () => {
    const sockets = new Set<Socket>();
    let connections = 0;
    const closing = createServer((socket) => {
      connections += 1;
      sockets.add(socket);
      socket.on("error", () => {});
      socket.end();
    });
    const port = await listen(closing);
    await new Promise((resolve) => closing.close(resolve));
    const redis = await open(`redis://127.0.0.1:${port}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
    await redis.store.read("name");
    expect(redis.reasons()).toEqual(["ECONNREFUSED"]);
    await listen(closing, port);
    await until(() => connections > 0);
    await new Promise((resolve) => setTimeout(resolve, 100));
    await redis.store.read("name");
    expect(redis.reasons().at(-1)).not.toBe("ECONNREFUSED");
    redis.close();
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => closing.close(resolve));
  });

  // Port 1 refuses, and there is never a server to say goodbye to.
  test.each(["redis://127.0.0.1:1", "redis+cluster://127.0.0.1:1"])(
    "that was refused by %s does not keep the process alive once it is closed",
    async (url) => {
      const timers = () =>
        process.getActiveResourcesInfo().filter((resource) => resource === "Timeout").length;
      // Timers of the run itself are over by then.
      await new Promise((resolve) => setTimeout(resolve, 200));
      const before = timers();
      const redis = await open(url);
      // It has been refused a few times by then.
      await new Promise((resolve) => setTimeout(resolve, 200));
      redis.close();
      // A timer of two seconds, as long as ioredis waits by itself, cannot have ended before this one.
      await new Promise((resolve) => setTimeout(resolve, 500));
      expect(timers()).toBeLessThanOrEqual(before);
    },
  );

  test.each([
    "rediss://127.0.0.1:PORT",
    "rediss+cluster://127.0.0.1:PORT",
    "rediss+sentinel://127.0.0.1:PORT/main",
  ])("%s sends nothing in clear text: its first bytes are a TLS handshake", async (url) => {
    const first: Buffer[] = [];
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.once("data", (bytes: Buffer) => {
        first.push(bytes);
        socket.destroy();
      });
    });
    const port = await listen(server);
    const redis = await open(url.replace("PORT", String(port)));
    await until(() => first.length > 0);
    redis.close();
    // RFC 8446 §5.1: a record of type handshake (22), whose legacy version begins with 3.
    expect(first.map((bytes) => [bytes[0], bytes[1]])).toEqual(first.map(() => [22, 3]));
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
});
