import type { AddressInfo } from "node:net";
import { createServer, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { Secret } from "../../src/foundation/secret.ts";
import { loopTurns } from "../../src/foundation/turns.ts";
import type { OpenRedis } from "../../src/redis/contract.ts";
import { openRedis } from "../../src/redis/redis.ts";
import { createSealing } from "../../src/redis/sealing.ts";
import { freePort } from "../support/free-port.ts";
import { newMasterKey } from "../support/master-key.ts";
import { describeWithRedis } from "../support/redis.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import { until } from "../support/until.ts";
import {
  assertionOf,
  CLAIMS,
  CLIENT,
  entraError,
  exchangeWith,
  type FakeEntra,
  GRAPH,
  granted,
  granting,
  HOME,
  HOST,
  type Rig,
  refusalOf,
  requestOf,
  START,
  startFakeEntra,
  types,
} from "./fake-entra.ts";

const KEY = newMasterKey();

let entra: FakeEntra;
const open: { close(): Promise<unknown> }[] = [];
beforeAll(async () => {
  entra = await startFakeEntra();
});
afterAll(() => entra.close());
beforeEach(() => {
  entra.requests.length = 0;
  entra.respond(granting);
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((tier) => tier.close()));
});

/** One process of several, as far as the exchange is concerned. */
async function replica(
  url: string,
  over: { keys?: readonly Secret[]; timeoutMs?: number; await?: boolean; timeout?: number } = {},
): Promise<Rig & { readonly shared: OpenRedis }> {
  const { keys = [KEY], timeoutMs = 2_000, timeout = 5_000 } = over;
  const events: Rig["events"] = [];
  const rig = exchangeWith(entra);
  const shared = await openRedis({
    url: new Secret(url),
    keys,
    timeoutMs,
    onEvent: (event) => events.push(event),
  });
  if (shared === undefined) throw new Error("no Redis");
  if (over.await !== false) await until(() => shared.available());
  const joined = exchangeWith(entra, {
    redis: shared,
    timeoutMs: timeout,
    now: rig.clock.now,
    onEvent: (event) => events.push(event),
  });
  open.push({ close: () => joined.close().finally(shared.close) });
  return { ...joined, events, clock: rig.clock, shared };
}

describeWithRedis("processes that share a Redis", () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis.close());
  beforeEach(async () => {
    await redis.inspect.flushall();
  });

  /** Until what was obtained has been written, and no lock is left. */
  const written = (count = 1) =>
    until(async () => {
      const names = await redis.inspect.keys("*");
      return names.filter((name) => name.endsWith(":token")).length === count && !names.some(isLock);
    });
  const isLock = (name: string) => name.endsWith(":lock");

  test("one process' token serves the other", async () => {
    const [one, other] = await Promise.all([replica(redis.url), replica(redis.url)]);
    const first = await one.exchange(requestOf("ann"));
    await written();
    const spend = jest.spyOn(loopTurns, "spend");
    const second = await other.exchange(requestOf("ann"));
    // Time of a turn is given away for what Entra is asked.
    expect(spend).not.toHaveBeenCalled();
    spend.mockRestore();
    expect([first.origin, second.origin]).toEqual(["authority", "shared"]);
    expect(second.token.accessToken.reveal()).toBe(first.token.accessToken.reveal());
    expect(second.token.expiresAt).toBe(first.token.expiresAt);
    expect((await other.exchange(requestOf("ann"))).origin).toBe("cache");
    expect(entra.requests).toHaveLength(1);
  });

  test("many users at both at once: one exchange each", async () => {
    // A busy machine must not end the wait for the other one.
    const patient = { timeout: 30_000, timeoutMs: 10_000 };
    const replicas = await Promise.all([replica(redis.url, patient), replica(redis.url, patient)]);
    entra.respond(async (request, count) => {
      await sleep(30);
      return granted(request, count);
    });
    const users = Array.from({ length: 40 }, (_, index) => `user-${index}`);
    const tokens = await Promise.all(
      users.map(async (user) => {
        const [one, other] = await Promise.all(replicas.map(({ exchange }) => exchange(requestOf(user))));
        return one?.token.accessToken.reveal() === other?.token.accessToken.reveal();
      }),
    );
    expect(tokens.every(Boolean)).toBe(true);
    expect(entra.requests).toHaveLength(users.length);
  });

  test("another assertion, other scopes or another user never get it", async () => {
    const [one, other] = await Promise.all([replica(redis.url), replica(redis.url)]);
    await one.exchange(requestOf("ann"));
    await written();
    for (const request of [
      requestOf("ann", { assertion: assertionOf("ann", { serial: 2 }) }),
      requestOf("ann", { scopes: ["api://other/.default"] }),
      requestOf("bob"),
    ]) {
      expect((await other.exchange(request)).origin).toBe("authority");
    }
  });

  test("a failed exchange is not shared: the waiting process asks for itself, at once", async () => {
    const [one, other] = await Promise.all([replica(redis.url), replica(redis.url)]);
    entra.respond(async (request, count) => {
      if (count > 1) return granted(request, count);
      await sleep(100);
      return entraError("invalid_grant", 65001, { suberror: "consent_required" });
    });
    const first = refusalOf(one.exchange(requestOf("ann")));
    await until(() => entra.requests.length === 1);
    const second = await other.exchange(requestOf("ann"));
    expect([(await first).code, second.origin]).toEqual(["consent_required", "authority"]);
    expect(types(other)).toContain("shared_awaited");
  });

  test("an owner that dies amid its exchange holds the others up only for the bounded wait", async () => {
    // Longer than the others wait.
    const dead = await replica(redis.url, { timeout: 2_500 });
    entra.respond((request, count) => (count === 1 ? () => {} : granted(request, count)));
    const never = dead.exchange(requestOf("ann")).catch(() => {});
    await until(() => entra.requests.length === 1);
    const other = await replica(redis.url, { timeout: 1_000 });
    expect((await other.exchange(requestOf("ann"))).origin).toBe("authority");
    await never;
  });

  test("a claims challenge bypasses what is shared and replaces it", async () => {
    const [one, other] = await Promise.all([replica(redis.url), replica(redis.url)]);
    await one.exchange(requestOf("ann"));
    await written();
    const challenged = await other.exchange(requestOf("ann", { claims: CLAIMS }));
    expect(challenged.origin).toBe("authority");
    const third = await replica(redis.url);
    await until(async () => {
      const { token } = await third.exchange(requestOf("ann"));
      third.forget(requestOf("ann"));
      return token.accessToken.reveal() === challenged.token.accessToken.reveal();
    });
  });

  test("a token that the API refused is forgotten for all, a fresher one is not", async () => {
    const [one, other] = await Promise.all([replica(redis.url), replica(redis.url)]);
    const refused = (await one.exchange(requestOf("ann"))).token.accessToken;
    await written();
    one.forget({ ...requestOf("ann"), refused: new Secret("another token") });
    one.forget({ ...requestOf("ann"), refused });
    await until(async () => (await redis.inspect.dbsize()) === 0);
    expect((await other.exchange(requestOf("ann"))).origin).toBe("authority");
  });

  test("ended sessions of a user are ended for all, and other users' tokens stay", async () => {
    const [one, other] = await Promise.all([replica(redis.url), replica(redis.url)]);
    await one.exchange(requestOf("ann"));
    await one.exchange(requestOf("bob"));
    await written(2);
    for (const { clock } of [one, other]) clock.advance(1_000);
    entra.respond(() => entraError("invalid_grant", 50173, { suberror: "bad_token" }));
    await refusalOf(one.exchange(requestOf("ann", { assertion: assertionOf("ann", { serial: 2 }) })));
    await until(async () => (await redis.inspect.keys("*:purged")).length === 1);
    entra.respond(granting);
    expect((await other.exchange(requestOf("ann"))).origin).toBe("authority");
    expect((await other.exchange(requestOf("bob"))).origin).toBe("shared");
  });

  test.each<[sentence: string, mark: (name: string) => Promise<unknown>]>([
    ["is of a type that cannot be read", (name) => redis.inspect.lpush(name, "x")],
    ["is no time", (name) => redis.inspect.set(name, "garbage")],
    ["is later than the token", (name) => redis.inspect.set(name, String(START + 1))],
  ])("a user's purge mark that %s forbids the user's shared tokens, and no other user's", async (_, mark) => {
    // The mark stands under the older of two keys, as before a change of keys.
    const pair = [newMasterKey(), KEY];
    const [one, other] = await Promise.all([replica(redis.url), replica(redis.url, { keys: pair })]);
    await one.exchange(requestOf("ann"));
    await one.exchange(requestOf("bob"));
    await written(2);
    const [name] = createSealing([KEY]).userNames(JSON.stringify([HOST, CLIENT, HOME, "ann"]));
    await mark(`obo:{${name}}:purged`);
    expect((await other.exchange(requestOf("ann"))).origin).toBe("authority");
    expect((await other.exchange(requestOf("bob"))).origin).toBe("shared");
  });

  test("a new key in front seals; what the older one sealed serves on; without it nothing opens", async () => {
    const old = await replica(redis.url);
    await old.exchange(requestOf("ann"));
    await written();
    const newer = newMasterKey();
    const rotated = await replica(redis.url, { keys: [newer, KEY] });
    expect((await rotated.exchange(requestOf("ann"))).origin).toBe("shared");
    await rotated.exchange(requestOf("bob"));
    await written(2);
    const done = await replica(redis.url, { keys: [newer] });
    expect((await done.exchange(requestOf("bob"))).origin).toBe("shared");
    expect((await done.exchange(requestOf("ann"))).origin).toBe("authority");
  });

  test("what is kept expires in Redis with the token's use, or with the assertion", async () => {
    const one = await replica(redis.url);
    await one.exchange(requestOf("ann"));
    await written();
    const [name = ""] = await redis.inspect.keys("*:token");
    const life = await redis.inspect.pttl(name);
    expect(life).toBeGreaterThan(3_400_000);
    expect(life).toBeLessThanOrEqual(3_540_000);
  });

  test("a dump holds no byte of token, assertion, user or key, and the master key alone does not open it", async () => {
    const one = await replica(redis.url);
    const users = ["ann", "bob", "eve"];
    const tokens = [];
    for (const user of users) tokens.push((await one.exchange(requestOf(user))).token.accessToken.reveal());
    await written(users.length);
    const dump = await redis.dump();
    const forbidden = [
      ...tokens.flatMap((token) => [token, token.slice(0, 24), token.slice(-24)]),
      ...users.flatMap((user) => [assertionOf(user).token.reveal(), assertionOf(user).digest, user]),
      HOME,
      CLIENT,
      KEY.reveal(),
    ];
    const bytes = (text: string) => [Buffer.from(text), Buffer.from(text, "base64")];
    expect(
      forbidden.filter((text) => bytes(text).some((part) => part.length > 2 && dump.includes(part))),
    ).toEqual([]);

    // The thief knows the format, the master key, and everything about the exchange but the assertion itself.
    const sealing = createSealing([KEY]);
    const binding = JSON.stringify([HOST, CLIENT, HOME, ...GRAPH]);
    const names = await redis.inspect.keys("*:token");
    const values = await Promise.all(names.map((name) => redis.inspect.getBuffer(name)));
    const openedWith = (secret: string) =>
      values.filter((value) => value && sealing.places(new Secret(secret), binding)[0].open(value)).length;
    const guesses = [".", KEY.reveal(), "ann", HOME, assertionOf("ann").digest, ...tokens, ...names];
    expect(guesses.map(openedWith)).toEqual(guesses.map(() => 0));
    // With the live assertion it opens, or the trial above would prove nothing.
    expect(openedWith(assertionOf("ann").token.reveal())).toBe(1);
  });

  test.each<[string, (value: Buffer) => Buffer | string]>([
    ["cut short", (value) => value.subarray(0, value.length - 1)],
    [
      "changed in one bit",
      (value) => Buffer.concat([value.subarray(0, -1), Buffer.of((value.at(-1) ?? 0) ^ 1)]),
    ],
    ["garbage", () => "garbage"],
    ["JSON that nobody sealed", () => '{"t":"forged","e":9999999999999,"a":9999999999999}'],
    ["64 MiB of zeros", () => Buffer.alloc(64 * 1024 * 1024)],
  ])("a value that was %s is a miss and is counted", async (_, spoil) => {
    const [one, other] = await Promise.all([replica(redis.url), replica(redis.url)]);
    await one.exchange(requestOf("ann"));
    await written();
    const [name = ""] = await redis.inspect.keys("*:token");
    await redis.inspect.set(name, spoil((await redis.inspect.getBuffer(name)) ?? Buffer.alloc(0)));
    expect((await other.exchange(requestOf("ann"))).origin).toBe("authority");
    expect(types(other)).toContain("shared_unreadable");
  });

  test("one user's value put in another's place does not open there", async () => {
    const one = await replica(redis.url);
    await one.exchange(requestOf("ann"));
    await written();
    const [anns = ""] = await redis.inspect.keys("*:token");
    await one.exchange(requestOf("bob"));
    await written(2);
    const bobs = (await redis.inspect.keys("*:token")).find((name) => name !== anns) ?? "";
    await redis.inspect.copy(anns, bobs, "REPLACE");
    const other = await replica(redis.url);
    expect((await other.exchange(requestOf("bob"))).origin).toBe("authority");
  });

  test("a value of the wrong type, and a flush, cost exchanges and nothing else", async () => {
    const [one, other] = await Promise.all([replica(redis.url), replica(redis.url)]);
    await one.exchange(requestOf("ann"));
    await written();
    const [name = ""] = await redis.inspect.keys("*:token");
    await redis.inspect.del(name);
    await redis.inspect.lpush(name, "x");
    expect((await other.exchange(requestOf("ann"))).origin).toBe("authority");
    await redis.inspect.flushall();
    expect((await (await replica(redis.url)).exchange(requestOf("ann"))).origin).toBe("authority");
  });

  test("a full Redis reads on and refuses writes; requests go on", async () => {
    const one = await replica(redis.url);
    await one.exchange(requestOf("ann"));
    await written();
    await redis.inspect.config("SET", "maxmemory", "1");
    const other = await replica(redis.url);
    expect((await other.exchange(requestOf("ann"))).origin).toBe("shared");
    expect((await other.exchange(requestOf("bob"))).origin).toBe("authority");
    await redis.inspect.config("SET", "maxmemory", "0");
    expect(other.events).toContainEqual({ type: "shared_failed", reason: "OOM" });
  });

  test("a Redis that became a replica is read-only; requests go on", async () => {
    const one = await replica(redis.url);
    await redis.inspect.replicaof("127.0.0.1", 1);
    await redis.inspect.config("SET", "replica-serve-stale-data", "yes");
    expect((await one.exchange(requestOf("ann"))).origin).toBe("authority");
    await redis.inspect.replicaof("NO", "ONE");
    expect(one.events).toContainEqual({ type: "shared_failed", reason: "READONLY" });
  });

  test("a frozen Redis is given up after a few time budgets and used again once it answers", async () => {
    const one = await replica(redis.url, { timeoutMs: 50 });
    redis.freeze();
    try {
      for (let user = 0; user < 30; user += 1) {
        expect((await one.exchange(requestOf(`user-${user}`))).origin).toBe("authority");
      }
      expect(one.shared.available()).toBe(false);
      const failures = types(one).filter((type) => type === "shared_failed").length;
      // 30 exchanges have well over a hundred operations.
      expect(failures).toBeLessThan(40);
    } finally {
      redis.resume();
    }
    let user = 0;
    await until(async () => {
      user += 1;
      await one.exchange(requestOf(`later-${user}`));
      return one.shared.available();
    });
    expect(types(one).filter((type) => type === "shared_suspended")).toHaveLength(1);
    expect(types(one).filter((type) => type === "shared_resumed")).toHaveLength(1);
  });

  test("killed and restarted, it is used again by itself", async () => {
    const one = await replica(redis.url);
    await redis.kill();
    for (let user = 0; user < 20; user += 1) await one.exchange(requestOf(`user-${user}`));
    expect(one.shared.available()).toBe(false);
    await redis.restart();
    let user = 0;
    await until(async () => {
      user += 1;
      await one.exchange(requestOf(`later-${user}`));
      return one.shared.available();
    });
  });
});

describeWithRedis("a Redis with a password", () => {
  test("lets in who knows it; for others it is as if it were not there", async () => {
    const redis = await startRedis();
    try {
      await redis.inspect.config("SET", "requirepass", "let/me=in");
      const known = await replica(`redis://:let/me=in@127.0.0.1:${redis.port}`);
      expect((await known.exchange(requestOf("ann"))).origin).toBe("authority");
      const stranger = await replica(`redis://:wrong@127.0.0.1:${redis.port}`, { await: false });
      for (let user = 0; user < 6; user += 1) await stranger.exchange(requestOf(`user-${user}`));
      expect(JSON.stringify(stranger.events)).not.toContain("wrong");
      expect(stranger.shared.available()).toBe(false);
    } finally {
      await redis.close();
    }
  });
});

describeWithRedis("a Redis cluster", () => {
  test("is found by one of its members, and keeps what belongs together on one node", async () => {
    // By itself the bus takes a port 10,000 above, which the system may have handed out to another test.
    const bus = ["--cluster-port", String(await freePort())];
    const redis = await startRedis([
      "--cluster-enabled",
      "yes",
      "--cluster-announce-ip",
      "127.0.0.1",
      ...bus,
    ]);
    try {
      await redis.inspect.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383);
      await until(async () =>
        String(await redis.inspect.call("CLUSTER", "INFO")).includes("cluster_state:ok"),
      );
      const url = `redis+cluster://127.0.0.1:${redis.port}`;
      const [one, other] = await Promise.all([replica(url), replica(url)]);
      const users = Array.from({ length: 12 }, (_, index) => `user-${index}`);
      await Promise.all(
        users.flatMap((user) => [one.exchange(requestOf(user)), other.exchange(requestOf(user))]),
      );
      expect(entra.requests).toHaveLength(users.length);
    } finally {
      await redis.close();
    }
  });
});

describeWithRedis("sentinels", () => {
  test("tell where the master is", async () => {
    const redis = await startRedis();
    const sentinel = await startRedis(
      [],
      (port) => `port ${port}\nsentinel monitor main 127.0.0.1 ${redis.port} 1\n`,
    );
    try {
      const url = `redis+sentinel://127.0.0.1:${sentinel.port}/main`;
      const [one, other] = await Promise.all([replica(url), replica(url)]);
      await Promise.all([one.exchange(requestOf("ann")), other.exchange(requestOf("ann"))]);
      expect(entra.requests).toHaveLength(1);
    } finally {
      await Promise.all([redis.close(), sentinel.close()]);
    }
  });
});

describe("without a Redis", () => {
  test("nobody listening costs no request, and the failures are told once, not each time", async () => {
    const one = await replica("redis://127.0.0.1:1", { await: false });
    for (let user = 0; user < 50; user += 1) {
      expect((await one.exchange(requestOf(`user-${user}`))).origin).toBe("authority");
    }
    expect(types(one).filter((type) => type === "shared_suspended")).toHaveLength(1);
    expect(types(one).filter((type) => type === "shared_failed").length).toBeLessThan(10);
  });

  test("a server that talks nonsense costs no request", async () => {
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.write("HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const one = await replica(`redis://127.0.0.1:${port}`, { await: false });
    for (let user = 0; user < 10; user += 1) {
      expect((await one.exchange(requestOf(`user-${user}`))).origin).toBe("authority");
    }
    for (const socket of sockets) socket.destroy();
    server.close();
  });
});
