import { beforeEach, describe, expect, jest, test } from "@jest/globals";
import { createSharedTokens, type SharedTokens } from "../../../src/exchange/cache/shared-tokens.ts";
import type { SharedCacheEvent } from "../../../src/exchange/contract.ts";
import type { AcquiredToken } from "../../../src/exchange/entra/acquire.ts";
import { Secret } from "../../../src/foundation/secret.ts";
import type { RedisStore } from "../../../src/redis/contract.ts";
import { createSealing, MOST_SEALED_BYTES } from "../../../src/redis/sealing.ts";
import { newMasterKey } from "../../support/master-key.ts";
import { createMemoryStore, type MemoryStore } from "../memory-store.ts";

const MARGIN_MS = 60_000;
const HOUR_MS = 3_600_000;
const [masterKey, olderKey] = [newMasterKey(), newMasterKey()];
const sealing = createSealing([masterKey, olderKey]);

let now: number;
let events: SharedCacheEvent[];
let store: MemoryStore;
let calls: string[];
let lives: Map<string, number>;
let values: Map<string, Buffer>;
let silent: Set<string>;
let tokens: SharedTokens;

beforeEach(() => {
  now = 1_000_000;
  events = [];
  store = createMemoryStore();
  ({ calls, lives, values, silent } = store);
  tokens = open();
});

const open = (exchangeTimeoutMs = 200, over: Partial<RedisStore> = {}) =>
  createSharedTokens({
    store: { ...store, ...over },
    sealing,
    expiryMarginMs: MARGIN_MS,
    exchangeTimeoutMs,
    now: () => now,
    onEvent: (event) => events.push(event),
  });

const assertion = new Secret("assertion");
const keys = { binding: "binding", user: "user" };
const subject = (more: { assertionExpiresAt?: number; endingAfter?: number } = {}) => ({
  assertion,
  assertionExpiresAt: now + 24 * HOUR_MS,
  ...keys,
  ...more,
});
const [place, olderPlace] = sealing.places(assertion, keys.binding) as [
  ReturnType<typeof sealing.places>[0],
  ReturnType<typeof sealing.places>[0],
];
const VALUE = `obo:{${place.name}}:token`;
const LOCK = `obo:{${place.name}}:lock`;
const [userName, olderUserName] = sealing.userNames(keys.user) as [string, string];
const PURGED = `obo:{${userName}}:purged`;
const OLDER_PURGED = `obo:{${olderUserName}}:purged`;

const token = (
  text: string,
  expiresAt = now + HOUR_MS,
  grantedScopes?: readonly string[],
): AcquiredToken => ({
  accessToken: new Secret(text),
  expiresAt,
  grantedScopes,
});
const shown = (found: AcquiredToken | undefined) => found?.accessToken.reveal();
const keep = (content: object, at = place) =>
  values.set(`obo:{${at.name}}:token`, at.seal(JSON.stringify(content)));

async function leave(left: AcquiredToken, more: Parameters<typeof subject>[0] = {}): Promise<void> {
  await tokens.of(subject(more)).replace(async () => left);
  await tokens.settled();
}

describe("what is shared", () => {
  test("is found as it was left, with its scopes, also under an older key", async () => {
    await leave(token("one", now + HOUR_MS, ["a", "b"]));
    now += 1;
    const found = await tokens.of(subject()).find();
    expect([shown(found), found?.expiresAt, found?.grantedScopes]).toEqual([
      "one",
      now - 1 + HOUR_MS,
      ["a", "b"],
    ]);
    expect(events).toEqual([]);
    values.clear();
    keep({ t: "old", e: now + HOUR_MS, a: now }, olderPlace);
    expect(shown(await tokens.of(subject()).find())).toBe("old");
  });

  test("is kept as long as it may be served, or as long as its assertion", async () => {
    await leave(token("one"));
    expect(lives.get(VALUE)).toBe(HOUR_MS - MARGIN_MS);
    await leave(token("two"), { assertionExpiresAt: now + 5_000 });
    expect(lives.get(VALUE)).toBe(5_000);
    await leave(token("three", now + MARGIN_MS + 1));
    expect(lives.get(VALUE)).toBe(1);
    await leave(token("four", now + MARGIN_MS));
    expect(shown(await tokens.of(subject({ endingAfter: 0 })).find())).toBe("three");
  });

  test("is kept up to the length that is read back, to the byte", async () => {
    const around = place.seal(JSON.stringify({ t: "", e: now + HOUR_MS, a: now })).length;
    await leave(token("x".repeat(MOST_SEALED_BYTES - around + 1)));
    expect(values.size).toBe(0);
    await leave(token("x".repeat(MOST_SEALED_BYTES - around)));
    expect(values.get(VALUE)).toHaveLength(MOST_SEALED_BYTES);
  });

  test("is served up to the margin before its end, and only if it ends later than asked", async () => {
    keep({ t: "one", e: now + MARGIN_MS + 1, a: 1 });
    expect(shown(await tokens.of(subject()).find())).toBe("one");
    expect(await tokens.of(subject({ endingAfter: now + MARGIN_MS + 1 })).find()).toBeUndefined();
    expect(shown(await tokens.of(subject({ endingAfter: now + MARGIN_MS })).find())).toBe("one");
    now += 1;
    expect(await tokens.of(subject()).find()).toBeUndefined();
  });

  test.each<[string, string]>([
    ["no JSON", "nonsense"],
    ["a list", "[]"],
    ["a token that is no text", '{"t":7,"e":9999999999,"a":1}'],
    ["an end that is no number", '{"t":"x","e":"9999999999","a":1}'],
    ["a beginning that is no number", '{"t":"x","e":9999999999,"a":"1"}'],
  ])("is left alone and reported where it holds %s", async (_, text) => {
    values.set(VALUE, place.seal(text));
    expect(await tokens.of(subject()).find()).toBeUndefined();
    expect(events).toEqual([{ type: "shared_unreadable" }]);
  });

  test.each([["text"], [["a", 7]], [{}]])("has no scopes where %j stands for them", async (s) => {
    keep({ t: "one", e: now + HOUR_MS, a: 1, s });
    const found = await tokens.of(subject()).find();
    expect([shown(found), found?.grantedScopes]).toEqual(["one", undefined]);
  });
});

describe("a user's purge", () => {
  test("forbids what was asked for before it or at its moment, and nothing later", async () => {
    tokens.purgeUser(keys);
    await tokens.settled();
    expect([lives.get(PURGED), values.get(PURGED)?.toString()]).toEqual([29 * HOUR_MS, String(now)]);
    for (const [askedAt, served] of [
      [now - 1, undefined],
      [now, undefined],
      [now + 1, "one"],
    ] as const) {
      keep({ t: "one", e: now + HOUR_MS, a: askedAt });
      expect(shown(await tokens.of(subject()).find())).toBe(served);
    }
  });

  test.each([
    ["cannot be read", () => silent.add(PURGED)],
    ["cannot be read under the older key", () => silent.add(OLDER_PURGED)],
    ["is no number", () => values.set(PURGED, Buffer.from("x"))],
    ["stands under the older key", () => values.set(OLDER_PURGED, Buffer.from(String(now)))],
  ])("forbids everything from before where its mark %s", async (_, mark) => {
    keep({ t: "one", e: now + HOUR_MS, a: now });
    expect(shown(await tokens.of(subject()).find())).toBe("one");
    mark();
    expect(await tokens.of(subject()).find()).toBeUndefined();
  });
});

describe("an exchange", () => {
  test("that no other process runs takes the lock for three seconds, and gives it back after its token is there", async () => {
    const place = tokens.of(subject());
    const obtained = await place.obtain(async () => {
      expect(lives.get(LOCK)).toBe(3_000);
      return token("one");
    });
    await tokens.settled();
    expect([shown(obtained), obtained.shared]).toEqual(["one", false]);
    expect(calls.slice(-2)).toEqual([`write ${VALUE}`, `remove ${LOCK}`]);
    expect([...values.keys()]).toEqual([VALUE]);
    expect(shown(await tokens.of(subject()).find())).toBe("one");
  });

  test("that failed gives the lock back and leaves nothing", async () => {
    const failure = new Error("refused");
    await expect(tokens.of(subject()).obtain(() => Promise.reject(failure))).rejects.toBe(failure);
    await tokens.settled();
    expect(values.size).toBe(0);
  });

  test.each([true, false])(
    "is spared where the token came between the first look and the lock (lock free: %s)",
    async (isFree) => {
      const place = tokens.of(subject());
      expect(await place.find()).toBeUndefined();
      keep({ t: "one", e: now + HOUR_MS, a: 1 });
      if (!isFree) values.set(LOCK, Buffer.from("another"));
      const obtained = await place.obtain(() => Promise.reject(new Error("was asked for")));
      await tokens.settled();
      expect([shown(obtained), obtained.shared]).toEqual(["one", true]);
      expect(values.has(LOCK)).toBe(!isFree);
      // A lock of another process is none of this one's to give back.
      expect(calls.includes(`remove ${LOCK}`)).toBe(isFree);
    },
  );

  test("of another process is waited for, and its token is taken", async () => {
    values.set(LOCK, Buffer.from("another"));
    const obtaining = open(20_000)
      .of(subject())
      .obtain(() => Promise.reject(new Error("was asked for")));
    setTimeout(() => keep({ t: "one", e: now + HOUR_MS, a: 1 }), 40);
    const obtained = await obtaining;
    expect([shown(obtained), obtained.shared]).toEqual(["one", true]);
    expect(events).toEqual([{ type: "shared_awaited" }]);
    // The other one's lock is the other one's to give back.
    expect(values.has(LOCK)).toBe(true);
  });

  test.each([
    ["failed, as its lock is gone", () => values.delete(LOCK)],
    ["is not to be known of any more", () => silent.add(LOCK)],
  ])("of another process that %s is made at once", async (_, end) => {
    values.set(LOCK, Buffer.from("another"));
    const began = performance.now();
    const obtaining = open(60_000)
      .of(subject())
      .obtain(async () => token("own"));
    setTimeout(end, 20);
    const obtained = await obtaining;
    expect([shown(obtained), obtained.shared]).toEqual(["own", false]);
    expect(performance.now() - began).toBeLessThan(1_500);
  });

  test.each([
    ["a quarter of the time of an exchange", 400, 20, 5],
    ["two seconds, however long an exchange may take", 60_000, 500, 4],
  ])("of another process is waited for %s, and then made", async (_, timeoutMs, stepMs, looks) => {
    values.set(LOCK, Buffer.from("another"));
    let time = 0;
    let seen = 0;
    const clock = jest.spyOn(performance, "now").mockImplementation(() => time);
    const chance = jest.spyOn(Math, "random").mockReturnValue(0);
    const isTaken: RedisStore["isTaken"] = async () => {
      time += stepMs;
      seen += 1;
      return true;
    };
    try {
      const obtained = await open(timeoutMs, { isTaken })
        .of(subject())
        .obtain(async () => token("own"));
      expect([shown(obtained), obtained.shared, seen]).toEqual(["own", false, looks]);
    } finally {
      clock.mockRestore();
      chance.mockRestore();
    }
  });

  test("of another process is looked for after 15 ms, then less and less often, up to each 120 ms, give or take half", async () => {
    values.set(LOCK, Buffer.from("another"));
    // A tenth above the shortest pause, so that chance adds to it.
    const chance = jest.spyOn(Math, "random").mockReturnValue(0.1);
    const pauses = [15, 22.5, 33.75, 50.625, 75.9375, 113.90625, 120].map((ms) => ms * 0.6);
    const order: string[] = [];
    const timers: NodeJS.Timeout[] = [];
    // The shorter timer begins before the pause and the longer one behind it, so that they end in this order however busy the machine is.
    const bracket = (pauseMs: number) => {
      timers.push(setTimeout(() => order.push("before"), pauseMs - 2));
      setImmediate(() => timers.push(setTimeout(() => order.push("after"), pauseMs + 2)));
    };
    let look = 0;
    const isTaken: RedisStore["isTaken"] = async () => {
      order.push(`look ${look}`);
      look += 1;
      const pauseMs = pauses[look];
      if (pauseMs === undefined) return false;
      bracket(pauseMs);
      return true;
    };
    try {
      bracket(pauses[0] ?? 0);
      await open(60_000, { isTaken })
        .of(subject())
        .obtain(async () => token("own"));
      const looks = order.filter((each, at) => each.startsWith("look") && order[at - 1] === "before");
      // The first pause begins some work after its timers, which a busy machine draws out.
      expect(order.indexOf("look 0")).toBeGreaterThan(order.indexOf("before"));
      expect(looks.filter((look) => look !== "look 0")).toEqual(
        pauses.slice(1).map((_, at) => `look ${at + 1}`),
      );
      expect(order.filter((each) => each === "after")).toHaveLength(pauses.length - 1);
    } finally {
      chance.mockRestore();
      for (const timer of timers) clearTimeout(timer);
    }
  });

  test("is made without a wait where Redis does not answer for the lock", async () => {
    silent.add(LOCK);
    const obtained = await tokens.of(subject()).obtain(async () => token("own"));
    await tokens.settled();
    expect([shown(obtained), obtained.shared, events]).toEqual(["own", false, []]);
    expect(values.has(VALUE)).toBe(true);
  });

  test("asks Redis nothing more before Entra once an answer did not come", async () => {
    silent.add(VALUE);
    const place = tokens.of(subject());
    expect(await place.find()).toBeUndefined();
    calls.length = 0;
    await place.obtain(async () => {
      expect(calls).toEqual([]);
      return token("own");
    });
    await tokens.settled();
    expect(calls).toEqual([`write ${VALUE}`]);
  });
});

describe("a token that the API refused", () => {
  test("is removed, and one that came in its place stays", async () => {
    await leave(token("refused"));
    tokens.forget(assertion, keys, new Secret("another"));
    await tokens.settled();
    expect(values.has(VALUE)).toBe(true);
    tokens.forget(assertion, keys, new Secret("refused"));
    await tokens.settled();
    expect([values.has(VALUE), events]).toEqual([false, []]);
  });

  test("is removed as well where an older key sealed it", async () => {
    keep({ t: "refused", e: now + HOUR_MS, a: now }, olderPlace);
    tokens.forget(assertion, keys, new Secret("refused"));
    await tokens.settled();
    expect([values.size, events]).toEqual([0, []]);
  });
});

describe("what is written in the background", () => {
  test("is waited for by a drain", async () => {
    let finish: () => void = () => {};
    store.writing = new Promise<void>((resolve) => {
      finish = resolve;
    });
    await tokens.of(subject()).replace(async () => token("one"));
    let isSettled = false;
    const settled = tokens.settled().then(() => {
      isSettled = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(isSettled).toBe(false);
    finish();
    await settled;
    expect(values.has(VALUE)).toBe(true);
  });

  test("is waited for no more once it is over", async () => {
    await leave(token("one"));
    const all = jest.spyOn(Promise, "all");
    try {
      await tokens.settled();
      expect(all.mock.calls.map(([pending]) => [...pending])).toEqual([[]]);
    } finally {
      all.mockRestore();
    }
  });

  test("is reported where it fails by a defect", async () => {
    store.writing = Promise.reject(new TypeError("a bug"));
    store.writing.catch(() => {});
    await leave(token("one"));
    expect(events).toEqual([{ type: "shared_failed", reason: "unexpected" }]);
  });
});
