/** A Redis that is signed in to with tokens: real servers whose passwords rotate as tokens of Entra do. */

import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, expect, test } from "@jest/globals";
import { Secret } from "../../src/foundation/secret.ts";
import { parseRedisAddress } from "../../src/redis/address.ts";
import { openRedisStore } from "../../src/redis/connection.ts";
import type { NoRedisToken, RedisEvent, RedisStore } from "../../src/redis/contract.ts";
import { freePort } from "../support/free-port.ts";
import { describeWithRedis } from "../support/redis.ts";
import { type RedisServer, startGuardedRedis, startRedis } from "../support/redis-server.ts";
import { until } from "../support/until.ts";

const HOUR = 3_600_000;
const OBJECT_ID = randomUUID();

const AVAILABILITY = new Set<RedisEvent["type"]>(["shared_failed", "shared_suspended", "shared_resumed"]);

const closing: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

async function guarded(...extra: string[]): Promise<RedisServer> {
  const server = await startGuardedRedis(extra);
  closing.push(server.close);
  return server;
}

/** The gateway's side: tokens of an hour by a clock that the test moves, each accepted by the servers as it is issued. */
function open(url: string, servers: readonly RedisServer[], { granted = true } = {}) {
  let time = Date.now();
  let wake = () => {};
  let refusal: NoRedisToken | undefined;
  let isGranted = granted;
  const events: RedisEvent[] = [];
  const tokens: string[] = [];
  const address = parseRedisAddress(url);
  if (address === undefined) throw new Error("no address");
  const store: RedisStore = openRedisStore({
    address,
    timeoutMs: 2_000,
    onEvent: (event) => events.push(event),
    signIn: {
      now: () => time,
      elapsed: () => time,
      pause: (_, signal) =>
        new Promise((resolve, reject) => {
          wake = resolve;
          signal.onabort = () => reject(new Error("closed"));
        }),
      async source() {
        if (refusal !== undefined) return refusal;
        const token = randomUUID();
        // What was issued before goes on to be good until its own end.
        tokens.push(token);
        if (isGranted) for (const server of servers) await server.accept(OBJECT_ID, ...tokens.slice(-2));
        return { token: new Secret(token), objectId: OBJECT_ID, expiresAt: time + HOUR };
      },
    },
  });
  closing.push(store.close);
  return {
    store,
    events,
    tokens,
    /** Those that concern the identity. */
    types: () => events.map(({ type }) => type).filter((type) => !AVAILABILITY.has(type)),
    pass(ms: number) {
      time += ms;
      wake();
    },
    refuse(now: NoRedisToken | undefined) {
      refusal = now;
    },
    grant() {
      isGranted = true;
    },
    works: async () => (await store.write("name", "value", 60_000)) === true,
  };
}

const connectionsOf = async (server: RedisServer) => {
  const list = String(await server.inspect.call("CLIENT", "LIST"));
  return list.split("\n").filter((line) => line.includes(`user=${OBJECT_ID}`));
};
const idsOf = async (server: RedisServer) =>
  (await connectionsOf(server)).map((line) => /\bid=(\d+)/.exec(line)?.[1]);

describeWithRedis("one server", () => {
  test("is signed in to with the object id and the first token, and used", async () => {
    const server = await guarded();
    const gateway = open(server.url, [server]);
    await until(gateway.works, "it is used");
    expect(await connectionsOf(server)).toHaveLength(1);
    expect(gateway.types()).toEqual([]);
  });

  test("is signed in to again on the connection that is there, before the token ends", async () => {
    const server = await guarded();
    const gateway = open(server.url, [server]);
    await until(gateway.works, "it is used");
    const [before, ids] = [await server.signIns(), await idsOf(server)];
    gateway.pass(0.75 * HOUR);
    await until(async () => (await server.signIns()) === before + 1, "it is signed in to again");
    expect([await idsOf(server), gateway.tokens.length]).toEqual([ids, 2]);
    expect(await gateway.works()).toBe(true);
  });

  test("is reached again with the token of the moment after it was killed, or closed the connection", async () => {
    const server = await guarded();
    const gateway = open(server.url, [server]);
    await until(gateway.works, "it is used");
    gateway.pass(0.75 * HOUR);
    await until(() => gateway.tokens.length === 2, "there is another token");
    // The first token ends: connections that are signed in with it are closed, and it opens nothing any more.
    await server.accept(OBJECT_ID, gateway.tokens[1] ?? "");
    await server.inspect.call("CLIENT", "KILL", "USER", OBJECT_ID);
    await until(gateway.works, "it is used again");
    await server.kill();
    expect(await gateway.works()).toBe(false);
    await server.restart();
    await server.accept(OBJECT_ID, gateway.tokens[1] ?? "");
    await until(gateway.works, "it is used after the restart");
    expect(gateway.tokens).toHaveLength(2);
  });

  test("that stands still over a renewal costs requests their time budget, and is used again", async () => {
    const server = await guarded();
    const gateway = open(server.url, [server]);
    await until(gateway.works, "it is used");
    const next = gateway.tokens.length + 1;
    await server.accept(OBJECT_ID, ...gateway.tokens);
    server.freeze();
    gateway.pass(0.75 * HOUR);
    const began = performance.now();
    expect(await gateway.works()).toBe(false);
    expect(performance.now() - began).toBeLessThan(4_000);
    server.resume();
    await until(() => gateway.tokens.length === next, "there is another token");
    await until(gateway.works, "it is used again");
  });

  test("that does not know the identity is an event with the object id, once, until it does", async () => {
    const server = await guarded();
    const gateway = open(server.url, [server], { granted: false });
    await until(() => gateway.types().length > 0, "the refusal");
    expect(gateway.events).toContainEqual({
      type: "shared_refused",
      reason: "WRONGPASS",
      objectId: OBJECT_ID,
    });
    await gateway.works();
    expect(gateway.events.at(-1)).toEqual({ type: "shared_failed", reason: "WRONGPASS" });
    await server.accept(OBJECT_ID, ...gateway.tokens);
    await until(gateway.works, "it is used");
    expect(gateway.types()).toEqual(["shared_refused", "shared_accepted"]);
  });

  test("whose access policy is taken away in use is the same event, with another token after a minute", async () => {
    const server = await guarded();
    const gateway = open(server.url, [server]);
    await until(gateway.works, "it is used");
    await server.revoke(OBJECT_ID);
    await until(() => gateway.types().includes("shared_refused"), "the refusal");
    gateway.pass(61_000);
    await until(() => gateway.tokens.length === 2, "another token is asked for");
    await until(gateway.works, "it is used again");
    expect(gateway.types()).toEqual(["shared_refused", "shared_accepted"]);
  });

  test("that lets the identity do too little is an event of its own", async () => {
    const server = await guarded();
    const gateway = open(server.url, [server]);
    await until(gateway.works, "it is used");
    await server.inspect.call("ACL", "SETUSER", OBJECT_ID, "-set");
    await gateway.works();
    await gateway.works();
    expect(gateway.types()).toEqual(["shared_refused"]);
    expect(gateway.events).toContainEqual({ type: "shared_refused", reason: "NOPERM", objectId: OBJECT_ID });
    await server.inspect.call("ACL", "SETUSER", OBJECT_ID, "+set");
    expect(await gateway.works()).toBe(true);
    expect(gateway.types()).toEqual(["shared_refused", "shared_accepted"]);
  });

  test("is not connected to while Entra gives no token, and is as soon as it does", async () => {
    const server = await guarded();
    const gateway = open(server.url, [server]);
    gateway.refuse({ problem: "authority_unavailable: status", isPassing: true });
    // The first answer was under way already.
    await until(() => gateway.tokens.length === 1, "the first token");
    await until(gateway.works, "it is used");
    gateway.pass(HOUR);
    await until(() => gateway.types().includes("shared_token_failed"), "the failure");
    await server.inspect.call("CLIENT", "KILL", "USER", OBJECT_ID);
    await until(async () => !(await gateway.works()), "the connection is gone");
    await delay(300);
    expect(await connectionsOf(server)).toEqual([]);
    const connections = async () =>
      /total_connections_received:\d+/.exec(await server.inspect.info("stats"))?.[0];
    const before = await connections();
    await gateway.works();
    // Longer than the first attempts to connect again are apart.
    await delay(600);
    expect(gateway.events.at(-1)).toEqual({ type: "shared_failed", reason: "no_token" });
    expect(await connections()).toBe(before);
    gateway.refuse(undefined);
    gateway.pass(60_000);
    await until(gateway.works, "it is used again");
  });
});

describeWithRedis("a cluster", () => {
  /** Two masters with half of the slots each. */
  async function startCluster(): Promise<RedisServer[]> {
    const buses = [await freePort(), await freePort()];
    const settings = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port"];
    const servers = await Promise.all(buses.map((bus) => guarded(...settings, String(bus))));
    const [one, other] = servers as [RedisServer, RedisServer];
    await one.inspect.call("CLUSTER", "ADDSLOTSRANGE", 0, 8191);
    await other.inspect.call("CLUSTER", "ADDSLOTSRANGE", 8192, 16383);
    await one.inspect.call("CLUSTER", "MEET", "127.0.0.1", other.port, buses[1] ?? 0);
    for (const { inspect } of servers)
      await until(
        async () => String(await inspect.call("CLUSTER", "INFO")).includes("cluster_state:ok"),
        "the cluster is formed",
      );
    return servers;
  }
  /** Of the first node and of the second. */
  const KEYS = ["name", "other"];
  const bothWork = async (store: RedisStore) =>
    (await Promise.all(KEYS.map((key) => store.write(key, "value", 60_000)))).every((done) => done === true);

  test("is signed in to at every node, again before the token ends, and after a node was lost", async () => {
    const servers = await startCluster();
    const gateway = open(`redis+cluster://127.0.0.1:${servers[0]?.port}`, servers);
    await until(() => bothWork(gateway.store), "both nodes are used");
    for (const server of servers) expect(await connectionsOf(server)).not.toEqual([]);
    const before = await Promise.all(servers.map((server) => server.signIns()));
    const ids = await Promise.all(servers.map(idsOf));
    gateway.pass(0.75 * HOUR);
    await until(async () => {
      const after = await Promise.all(servers.map((server) => server.signIns()));
      return after.every((count, index) => count > (before[index] ?? 0));
    }, "every node is signed in to again");
    expect(await Promise.all(servers.map(idsOf))).toEqual(ids);
    for (const server of servers) {
      await server.accept(OBJECT_ID, gateway.tokens[1] ?? "");
      await server.inspect.call("CLIENT", "KILL", "USER", OBJECT_ID);
    }
    await until(() => bothWork(gateway.store), "both nodes are used again");
  });

  test("that does not know the identity is an event with the object id", async () => {
    const servers = await startCluster();
    const gateway = open(`redis+cluster://127.0.0.1:${servers[0]?.port}`, servers, { granted: false });
    await until(() => gateway.types().includes("shared_refused"), "the refusal");
    expect(gateway.events).toContainEqual({
      type: "shared_refused",
      reason: "WRONGPASS",
      objectId: OBJECT_ID,
    });
    for (const server of servers) await server.accept(OBJECT_ID, ...gateway.tokens);
    await until(() => bothWork(gateway.store), "both nodes are used");
  });
});

describeWithRedis("a master that sentinels know", () => {
  test("is signed in to, the sentinels are not, and again before the token ends", async () => {
    const server = await guarded();
    const password = String(server.inspect.options.password);
    const sentinel = await startRedis([], (port) =>
      [
        `port ${port}`,
        "bind 127.0.0.1",
        `sentinel monitor main 127.0.0.1 ${server.port} 1`,
        `sentinel auth-pass main ${password}`,
        "",
      ].join("\n"),
    );
    closing.push(sentinel.close);
    const gateway = open(`redis+sentinel://127.0.0.1:${sentinel.port}/main`, [server]);
    await until(gateway.works, "it is used");
    const [before, ids] = [await server.signIns(), await idsOf(server)];
    gateway.pass(0.75 * HOUR);
    await until(async () => (await server.signIns()) > before, "it is signed in to again");
    expect(await idsOf(server)).toEqual(ids);
    await server.accept(OBJECT_ID, gateway.tokens[1] ?? "");
    await server.inspect.call("CLIENT", "KILL", "USER", OBJECT_ID);
    await until(gateway.works, "it is used again");
    expect(await sentinel.signIns()).toBe(0);
  });
});

describeWithRedis("a password of the address", () => {
  test("that is not accepted is the same event, without an object id", async () => {
    const server = await guarded();
    const events: RedisEvent[] = [];
    const address = parseRedisAddress(server.url.replace("//", "//:wrong@"));
    if (address === undefined) throw new Error("no address");
    const store = openRedisStore({ address, timeoutMs: 100, onEvent: (event) => events.push(event) });
    closing.push(store.close);
    await until(() => events.some(({ type }) => type === "shared_refused"), "the refusal");
    expect(events).toContainEqual({ type: "shared_refused", reason: "WRONGPASS", objectId: undefined });
  });
});
