import { describe, expect, test } from "@jest/globals";
import { createTokenCache, type TokenCacheOptions } from "../../../src/exchange/cache/token-cache.ts";
import type { DownstreamToken, EvictionCause } from "../../../src/exchange/contract.ts";
import { Secret } from "../../../src/foundation/secret.ts";
import { createRandom } from "../../support/random.ts";
import { START, startClock } from "../fake-entra.ts";

const MARGIN = 1_000;

const keyOf = (digest: string) => ({ group: "group", digest });

function cacheWith(options: Partial<TokenCacheOptions> = {}) {
  const clock = startClock();
  const evicted: EvictionCause[] = [];
  const cache = createTokenCache(
    { maxEntries: 100, maxBytes: 2 ** 29, expiryMarginMs: MARGIN, ...options },
    { now: clock.now, onEvicted: (cause) => evicted.push(cause) },
  );
  let order = 0;
  const put = (
    key: string,
    over: { user?: string; life?: number; assertionLife?: number; length?: number } = {},
  ) => {
    const { user = key, life = 100_000, assertionLife = 1_000_000, length = 10 } = over;
    const tokenExpiresAt = clock.now() + life;
    const expiresAt = Math.min(tokenExpiresAt, clock.now() + assertionLife);
    const token: DownstreamToken = { accessToken: new Secret("t".repeat(length)), expiresAt };
    order += 1;
    cache.put({ ...keyOf(key), user, token, tokenExpiresAt, order });
    return token;
  };
  return {
    ...cache,
    get: (key: string) => cache.get(keyOf(key)),
    delete: (key: string) => cache.delete(keyOf(key)),
    put,
    putEntry: cache.put,
    getEntry: cache.get,
    deleteEntry: cache.delete,
    clock,
    evicted,
  };
}

describe("bounds", () => {
  test("the number of entries never exceeds its bound, and what was put last is there", () => {
    const cache = cacheWith({ maxEntries: 7 });
    for (let entry = 0; entry < 100; entry += 1) {
      const token = cache.put(`key-${entry}`);
      expect(cache.size()).toBeLessThanOrEqual(7);
      expect(cache.get(`key-${entry}`)?.token).toBe(token);
    }
    expect(cache.size()).toBe(7);
  });

  test("a cache of no entries keeps none", () => {
    const cache = cacheWith({ maxEntries: 0 });
    cache.put("key");
    expect(cache.size()).toBe(0);
    expect(cache.get("key")).toBeUndefined();
  });

  test("the estimated bytes never exceed their bound", () => {
    const cache = cacheWith({ maxBytes: 20_000 });
    for (let entry = 0; entry < 100; entry += 1) {
      cache.put(`key-${entry}`, { length: 1_000 + entry * 10 });
      expect(cache.bytes()).toBeLessThanOrEqual(20_000);
    }
    expect(cache.size()).toBeGreaterThan(5);
  });

  test("tokens may fill the bytes to the last one", () => {
    const size = 480 + "ann".length + 10;
    const put = (cache: ReturnType<typeof cacheWith>, ...keys: string[]) => {
      for (const key of keys) cache.put(key, { user: "ann" });
      return cache.size();
    };
    expect(put(cacheWith({ maxBytes: 2 * size }), "a", "b")).toBe(2);
    expect(put(cacheWith({ maxBytes: 2 * size - 1 }), "a", "b")).toBe(1);
    expect(put(cacheWith({ maxBytes: size }), "a")).toBe(1);
    expect(put(cacheWith({ maxBytes: size - 1 }), "a")).toBe(0);
  });

  test.each([
    ["bytes", { maxEntries: 1_000_000, maxBytes: 48_000 }],
    ["entries", { maxEntries: 100, maxBytes: 2 ** 29 }],
  ])("no more memory is asked for than the bound of %s lets be used", (_, options) => {
    const before = process.memoryUsage().arrayBuffers;
    const cache = cacheWith(options);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1_000_000);
    cache.put("key");
    expect(cache.size()).toBe(1);
  });

  test("a token larger than the whole cache is not kept and displaces nothing", () => {
    const cache = cacheWith({ maxBytes: 5_000 });
    cache.put("small");
    cache.put("large", { length: 6_000 });
    expect([cache.get("large"), cache.size()]).toEqual([undefined, 1]);
  });

  test("a cache of one entry holds the latest", () => {
    const cache = cacheWith({ maxEntries: 1 });
    for (const key of ["a", "b", "c"]) {
      cache.put(key);
      cache.get(key);
    }
    expect([cache.get("a"), cache.get("b"), cache.size()]).toEqual([undefined, undefined, 1]);
    expect(cache.get("c")).toBeDefined();
  });
});

test("a token is counted with 480 bytes around it, and a group as long as it has a token", () => {
  const cache = cacheWith();
  const put = (group: string, digest: string, order = 1) =>
    cache.putEntry({
      group,
      digest,
      user: "ann",
      token: { accessToken: new Secret("0123456789"), expiresAt: START + 50_000 },
      tokenExpiresAt: START + 50_000,
      order,
    });
  put("one", "a");
  put("one", "b");
  put("two", "a");
  // In the place of the one before, nothing is counted twice.
  put("two", "a", 2);
  expect([cache.size(), cache.bytes(), cache.groups()]).toEqual([3, 3 * (480 + 3 + 10), 2]);
  cache.delete("a");
  const remove = (group: string, digest: string) => cache.deleteEntry({ group, digest });
  remove("one", "a");
  expect([cache.size(), cache.groups()]).toEqual([2, 2]);
  remove("one", "b");
  expect([cache.size(), cache.groups()]).toEqual([1, 1]);
  put("three", "a");
  remove("two", "a");
  expect([cache.size(), cache.bytes(), cache.groups()]).toEqual([1, 480 + 3 + 10, 1]);
});

test.each([
  ["the assertion ends within the margin before the token", MARGIN, 100_000 - MARGIN + 1, true],
  ["the assertion ends at the margin before the token", MARGIN, 100_000 - MARGIN, false],
  ["the assertion ends much earlier than the token", MARGIN, 50_000, false],
  ["the assertion ends later, and there is no margin", 0, 200_000, true],
  ["the assertion ends before the token, and there is no margin", 0, 99_999, false],
])("where %s, a successor is sought or not", (...[, expiryMarginMs, assertionLife, isSought]) => {
  const cache = cacheWith({ expiryMarginMs });
  cache.put("key", { life: 100_000, assertionLife });
  cache.clock.advance(Math.min(100_000 - expiryMarginMs, assertionLife) - 1);
  expect(cache.get("key")?.due).toBe(isSought);
});

describe("eviction", () => {
  test("spares what is in use", () => {
    const cache = cacheWith({ maxEntries: 10 });
    cache.put("favourite");
    for (let entry = 0; entry < 200; entry += 1) {
      expect(cache.get("favourite")).toBeDefined();
      cache.put(`passing-${entry}`);
    }
  });

  test("examines a bounded number of entries even when all are in use", () => {
    const cache = cacheWith({ maxEntries: 1_000 });
    for (let entry = 0; entry < 1_000; entry += 1) cache.put(`key-${entry}`);
    for (let entry = 0; entry < 1_000; entry += 1) cache.get(`key-${entry}`);
    cache.put("one more");
    // The hand spared sixteen and took the next, rather than walking all round to the first again.
    const survivors = Array.from({ length: 20 }, (_, entry) => cache.get(`key-${entry}`) !== undefined);
    expect(survivors.indexOf(false)).toBe(16);
  });

  test("gives each entry in use one more round, and no entry a place for ever", () => {
    const cache = cacheWith({ maxEntries: 3 });
    const held = (...keys: string[]) => keys.filter((key) => cache.get(key) !== undefined);
    for (const key of ["a", "b", "c"]) cache.put(key);
    held("a", "b", "c");
    cache.put("d");
    // All were in use, so that the first goes after a round in which each lost its mark.
    const unused = cacheWith({ maxEntries: 3 });
    for (let entry = 0; entry < 30; entry += 1) unused.put(`key-${entry}`);
    const left = Array.from({ length: 30 }, (_, entry) => entry).filter((entry) =>
      unused.get(`key-${entry}`),
    );
    expect([held("a", "b", "c", "d"), left.every((entry) => entry >= 24)]).toEqual([["b", "c", "d"], true]);
  });

  test("takes an entry from its end on, in use or not, and says that it had expired", () => {
    for (const isUsed of [true, false]) {
      const cache = cacheWith({ maxEntries: 10 });
      cache.put("ending", { life: 5_000 });
      for (let entry = 1; entry < 10; entry += 1) cache.put(`lasting-${entry}`);
      if (isUsed) cache.get("ending");
      cache.clock.advance(5_000 - MARGIN);
      // The search for expired entries looks elsewhere at the moment; the hand of the clock meets this one.
      cache.put("one more");
      expect([cache.evicted, cache.size()]).toEqual([["expired"], 10]);
      expect(cache.get("lasting-1")).toBeDefined();
    }
  });

  test("looks for two expired entries with each new one, from the moment of their end on", () => {
    const filled = (count: number) => {
      const cache = cacheWith();
      for (let entry = 0; entry < count; entry += 1) cache.put(`old-${entry}`, { life: 5_000 });
      return cache;
    };
    for (const [count, afterMs, taken] of [
      [10, 5_000 - MARGIN - 1, 0],
      [10, 5_000 - MARGIN, 2],
      [1, 5_000 - MARGIN, 1],
    ] as const) {
      const cache = filled(count);
      cache.clock.advance(afterMs);
      cache.put("new");
      expect([cache.size(), cache.evicted]).toEqual([count + 1 - taken, Array(taken).fill("expired")]);
    }
  });

  test("finds every expired entry among many that last, wherever it is", () => {
    const cache = cacheWith();
    for (let entry = 0; entry < 20; entry += 1)
      cache.put(`key-${entry}`, { life: entry % 2 ? 5_000 : 90_000 });
    cache.clock.advance(5_000);
    for (let entry = 0; entry < 40; entry += 1) cache.put(`new-${entry}`);
    expect([cache.evicted, cache.size()]).toEqual([Array(10).fill("expired"), 50]);
  });

  test("takes expired entries out as new ones come, without anybody asking for them", () => {
    const cache = cacheWith();
    for (let entry = 0; entry < 50; entry += 1) cache.put(`old-${entry}`, { life: 5_000 });
    cache.clock.advance(5_000);
    for (let entry = 0; entry < 50; entry += 1) cache.put(`new-${entry}`);
    expect(cache.size()).toBe(50);
    expect(cache.evicted).toEqual(Array(50).fill("expired"));
  });

  test("tells why", () => {
    const cache = cacheWith({ maxEntries: 1 });
    cache.put("a", { life: 5_000 });
    cache.put("b", { life: 5_000 });
    cache.clock.advance(5_000);
    cache.get("b");
    expect(cache.evicted).toEqual(["full", "expired"]);
  });
});

describe("lifetime", () => {
  test("an entry outlives neither its token nor its assertion, whatever their lives", () => {
    const { below } = createRandom(7);
    for (let trial = 0; trial < 500; trial += 1) {
      const cache = cacheWith();
      const life = below(20_000);
      const assertionLife = below(20_000);
      cache.put("key", { life, assertionLife });
      const at = below(21_000);
      cache.clock.advance(at);
      expect([life, assertionLife, at, cache.get("key") !== undefined]).toEqual([
        life,
        assertionLife,
        at,
        at < life - MARGIN && at < assertionLife,
      ]);
    }
  });

  test("an older answer does not overwrite a newer one, though it comes later", () => {
    const cache = cacheWith();
    const expiresAt = START + 50_000;
    const token = (name: string): DownstreamToken => ({ accessToken: new Secret(name), expiresAt });
    const newer = token("newer");
    cache.putEntry({ ...keyOf("key"), user: "ann", token: newer, tokenExpiresAt: expiresAt, order: 2 });
    cache.putEntry({
      ...keyOf("key"),
      user: "ann",
      token: token("older"),
      tokenExpiresAt: expiresAt,
      order: 1,
    });
    expect(cache.get("key")?.token).toBe(newer);
  });
});

test("of two answers of the same rank the later one is kept", () => {
  const cache = cacheWith();
  const put = (name: string) => {
    const token = { accessToken: new Secret(name), expiresAt: START + 50_000 };
    cache.putEntry({ ...keyOf("key"), user: "ann", token, tokenExpiresAt: START + 50_000, order: 0 });
  };
  put("first");
  put("second");
  expect(cache.get("key")?.token.accessToken.reveal()).toBe("second");
});

test("a token that is due is due again after half of the rest of its life, and not before", () => {
  const cache = cacheWith();
  cache.put("key", { life: 101_000 });
  const due = () => cache.get("key")?.due;
  cache.clock.advance(79_999);
  expect(due()).toBe(false);
  cache.clock.advance(1);
  expect(due()).toBe(true);
  expect(cache.postpone(keyOf("key"), cache.clock.now())).toBe(START + 101_000);
  cache.clock.advance(9_999);
  expect(due()).toBe(false);
  cache.clock.advance(1);
  expect(due()).toBe(true);
  expect(cache.postpone(keyOf("absent"), cache.clock.now())).toBeUndefined();
  expect(cache.postpone({ group: "absent", digest: "key" }, cache.clock.now())).toBeUndefined();
});

test("what is absent cannot be dropped, with a token named or without", () => {
  const cache = cacheWith();
  cache.put("key");
  for (const key of [keyOf("absent"), { group: "absent", digest: "key" }]) {
    cache.deleteEntry(key);
    cache.deleteEntry(key, new Secret("t".repeat(10)));
  }
  expect(cache.size()).toBe(1);
});

test("tokens of many groups are found as in a Map, while groups come and go", () => {
  const { below } = createRandom(11);
  const cache = cacheWith();
  const model = new Map<string, DownstreamToken>();
  for (let step = 0; step < 6_000; step += 1) {
    const key = { group: `group-${below(6)}`, digest: `digest-${below(3)}` };
    const name = `${key.group} ${key.digest}`;
    const action = below(4);
    if (action === 0) {
      const token = { accessToken: new Secret(`token-${step}`), expiresAt: START + 900_000 };
      cache.putEntry({
        ...key,
        user: `user-${below(4)}`,
        token,
        tokenExpiresAt: START + 900_000,
        order: step,
      });
      model.set(name, token);
    } else if (action === 1) {
      cache.deleteEntry(key);
      model.delete(name);
    } else {
      const found = cache.getEntry(key)?.token;
      if (found !== model.get(name)) throw new Error(`step ${step}: another token of ${name}`);
    }
    const groups = new Set([...model.keys()].map((each) => each.split(" ")[0])).size;
    if (cache.size() !== model.size || cache.groups() !== groups)
      throw new Error(`step ${step}: other counts`);
  }
  expect(model.size).toBeGreaterThan(0);
});

test("after any sequence of operations the books are right", () => {
  const { below } = createRandom(99);
  const cache = cacheWith({ maxEntries: 30, maxBytes: 40_000 });
  const users = ["ann", "bob", "cat"];
  for (let step = 0; step < 5_000; step += 1) {
    const key = `key-${below(60)}`;
    const user = users[below(3)] ?? "";
    const action = below(10);
    if (action < 5) cache.put(`${key}-${user}`, { user, life: below(10_000), length: below(3_000) });
    else if (action < 8) cache.get(`${key}-${user}`);
    else if (action === 8) cache.delete(`${key}-${user}`);
    else if (below(20) === 0) {
      cache.purgeUser(user);
      for (let other = 0; other < 60; other += 1) expect(cache.get(`key-${other}-${user}`)).toBeUndefined();
    }
    cache.clock.advance(below(50));
    expect(cache.size()).toBeLessThanOrEqual(30);
    expect(cache.bytes()).toBeLessThanOrEqual(40_000);
  }
  expect(users.reduce((sum, user) => sum + cache.purgeUser(user), 0)).toBeGreaterThan(0);
  expect([cache.size(), cache.bytes(), cache.users(), cache.groups()]).toEqual([0, 0, 0, 0]);
});
