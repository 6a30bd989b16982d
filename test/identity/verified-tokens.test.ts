import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "@jest/globals";
import type { Groups, Principal } from "../../src/identity/contract.ts";
import { createVerifiedTokens, type VerifiedTokens } from "../../src/identity/verified-tokens.ts";
import { CLIENT, encode, generateKey, sign, TENANT, userClaims } from "./fake-authority.ts";

const LIFE_MS = 3_600_000;
const MAX_AGE_MS = 300_000;
/** More than are kept whole. */
const CROWD = 3_000;

let clock = 0;

function create(bounds: { maxEntries?: number; maxBytes?: number } = {}): VerifiedTokens {
  clock = Date.now();
  return createVerifiedTokens({
    maxEntries: 100_000,
    maxBytes: 2 ** 30,
    maxAgeMs: MAX_AGE_MS,
    now: () => clock,
    ...bounds,
  });
}

/** Copied, as if each came in a message of its own. */
function principalOf(user: number, more: Partial<Principal> = {}): Principal {
  return structuredClone<Principal>({
    kind: "user",
    tenantId: TENANT,
    objectId: `00000000-0000-4000-8000-${String(user).padStart(12, "0")}`,
    subject: `pairwise-subject-of-${String(user).padStart(23, "0")}`,
    clientId: CLIENT,
    tokenVersion: "2.0",
    scopes: ["access_as_user", "Files.Read"],
    roles: ["Reader"],
    groups: { kind: "absent" },
    authContexts: [],
    acceptsClaimsChallenge: true,
    expiresAt: clock + LIFE_MS,
    ...more,
  });
}

/** Not signed by anybody: the cache is told what was verified. */
function tokenOf(user: number, length = 600): string {
  const payload = encode({ user }).padEnd(length - 400, "A");
  return `${encode({ alg: "RS256" })}.${payload}.${encode(`signature of `.padEnd(246, "-") + String(user).padStart(10, "0"))}`;
}

function add(cache: VerifiedTokens, user: number, more: Partial<Principal> = {}): string {
  const token = tokenOf(user);
  cache.add(token, principalOf(user, more), cache.generation());
  return token;
}

/** So many others come, by which everybody before them is known by digest alone. */
function crowd(cache: VerifiedTokens, users = CROWD): void {
  for (let user = 1; user <= users; user += 1) add(cache, user);
}

describe("a token verified a moment ago", () => {
  test("gives the very caller again while it is kept whole, and an equal one when only its digest is", () => {
    const cache = create();
    const token = tokenOf(0);
    const first = cache.add(token, principalOf(0), cache.generation());
    expect(cache.get(token)).toBe(first);
    crowd(cache);
    const later = cache.get(token);
    expect(later).not.toBe(first);
    expect(later).toEqual(first);
    expect(later?.assertion.token.reveal()).toBe(token);
    expect(later?.principal).toEqual(principalOf(0));
    expect([later, later?.principal, later?.assertion].every(Object.isFrozen)).toBe(true);
  });

  test("is kept whole again when it comes twice within a thousand others, and not when a crowd passes", () => {
    const cache = create();
    const busy = add(cache, 0);
    crowd(cache);
    cache.get(busy);
    const caller = cache.get(busy);
    expect(cache.get(busy)).toBe(caller);
    const others = Array.from({ length: CROWD }, (_, index) => tokenOf(index + 1));
    for (const token of [...others, ...others]) expect(cache.get(token)).toBeDefined();
    expect(cache.get(busy)).toBe(caller);
  });

  test("is believed for five minutes from its verification, however often it is found meanwhile", () => {
    const cache = create();
    const token = add(cache, 0);
    crowd(cache);
    clock += 1_000;
    for (let found = 0; found < 4; found += 1) expect(cache.get(token)).toBeDefined();
    clock += MAX_AGE_MS - 1_001;
    for (let found = 0; found < 4; found += 1) expect(cache.get(token)).toBeDefined();
    clock += 1;
    expect(cache.get(token)).toBeUndefined();
    add(cache, 0);
    expect(cache.get(token)).toBeDefined();
  });

  test.each(["kept whole", "known by its digest"])("is not believed past its own end (%s)", (level) => {
    const cache = create();
    const token = add(cache, 0, { expiresAt: clock + 1_000 });
    if (level !== "kept whole") crowd(cache);
    clock += 999;
    expect(cache.get(token)).toBeDefined();
    clock += 1;
    expect(cache.get(token)).toBeUndefined();
  });

  test.each(["kept whole", "known by its digest"])("is forgotten when keys change (%s)", (level) => {
    const cache = create();
    const token = add(cache, 0);
    if (level !== "kept whole") crowd(cache);
    const before = cache.generation();
    cache.clear();
    expect(cache.get(token)).toBeUndefined();
    expect([cache.size(), cache.bytes()]).toEqual([0, 0]);
    expect(cache.add(token, principalOf(0), before).principal).toEqual(principalOf(0));
    expect(cache.get(token)).toBeUndefined();
    add(cache, 0);
    expect(cache.get(token)).toBeDefined();
  });
});

test("a caller owns what it holds as this user and this client of this tenant, on either level", () => {
  const cache = create();
  const token = add(cache, 0);
  const { tenantId, objectId, clientId } = principalOf(0);
  const owner = { user: `${tenantId} ${objectId}`, client: `${tenantId} ${clientId}` };
  expect(cache.get(token)?.owner).toEqual(owner);
  crowd(cache);
  expect(cache.get(token)?.owner).toEqual(owner);
});

describe("a token that differs from a verified one", () => {
  const key = generateKey("key-1");
  const genuine = sign(key, userClaims());
  const [header = "", payload = "", signature = ""] = genuine.split(".");
  const forged = encode({ ...userClaims(), oid: "somebody-else" });

  function* variants(): Generator<string> {
    for (let at = 0; at < genuine.length; at += 1) {
      const code = genuine.charCodeAt(at);
      // Every bit of every byte, those that leave ASCII included.
      for (let bit = 1; bit <= 0x80; bit <<= 1)
        yield genuine.slice(0, at) + String.fromCharCode(code ^ bit) + genuine.slice(at + 1);
      yield genuine.slice(0, at) + genuine.slice(at + 1);
      yield genuine.slice(0, at) + String.fromCharCode(code) + genuine.slice(at);
    }
    for (let end = 0; end < genuine.length; end += 1) yield genuine.slice(0, end);
    for (const more of ["=", " ", "A", "\0", "\ud800", ".", signature]) yield genuine + more;
    yield `${header}.${forged}.${signature}`;
    yield `${encode({ alg: "none" })}.${payload}.${signature}`;
    yield genuine.slice(-43);
  }

  test.each(["kept whole", "known by its digest"])("in any one bit is unknown (%s)", (level) => {
    const cache = create();
    cache.add(genuine, principalOf(0), cache.generation());
    if (level !== "kept whole") crowd(cache);
    let tried = 0;
    const answered = [...variants()].filter((variant) => {
      tried += 1;
      return cache.get(variant) !== undefined;
    });
    expect(answered).toEqual([]);
    expect(tried).toBeGreaterThan(genuine.length * 10);
    expect(cache.get(genuine)?.principal).toEqual(principalOf(0));
  });

  test("but ends the same has a caller of its own", () => {
    const cache = create();
    const other = `${header}.${forged}.${signature}`;
    cache.add(genuine, principalOf(1), cache.generation());
    cache.add(other, principalOf(2), cache.generation());
    for (let found = 0; found < 3; found += 1) {
      expect(cache.get(genuine)?.principal).toEqual(principalOf(1));
      expect(cache.get(other)?.principal).toEqual(principalOf(2));
    }
  });
});

describe("what principals have in common", () => {
  test("is held once, and what they have not stays theirs", () => {
    const cache = create();
    const groups = (...ids: string[]): Partial<Principal> => ({ groups: { kind: "listed", ids } });
    const [first, second, third] = [groups("a", "b"), groups("a", "b"), groups("b", "a")].map((more, user) =>
      cache.add(tokenOf(user), principalOf(user, more), cache.generation()),
    );
    expect(second?.principal.scopes).toBe(first?.principal.scopes);
    expect(second?.principal.roles).toBe(first?.principal.roles);
    expect(idsOf(second?.principal.groups)).toBe(idsOf(first?.principal.groups));
    expect(idsOf(third?.principal.groups)).toEqual(["b", "a"]);
    expect(second?.principal).toEqual(principalOf(1, groups("a", "b")));
  });

  test("never changes what a principal says, however many lists and texts there are", () => {
    const cache = create();
    const kinds: Groups[] = [{ kind: "absent" }, { kind: "overage" }, { kind: "listed", ids: [] }];
    const variant = (user: number): Partial<Principal> => ({
      tenantId: `tenant-${user % 9_000}`,
      clientId: `client-${user}-${"x".repeat(user % 200)}`,
      kind: user % 2 === 0 ? "user" : "app",
      tokenVersion: user % 3 === 0 ? "1.0" : "2.0",
      scopes: [`scope "${user % 7}"`, `scope-${user}`],
      roles: user % 5 === 0 ? ['a","b'] : ["a", "b"],
      groups: kinds[user % 4] ?? {
        kind: "listed",
        ids: Array.from({ length: user % 200 }, (_, n) => `${n}`),
      },
      authContexts: user % 2 === 0 ? [] : ["c1"],
      acceptsClaimsChallenge: user % 2 === 0,
    });
    for (let user = 0; user < 12_000; user += 1) add(cache, user, variant(user));
    for (let user = 0; user < 12_000; user += 1)
      if (
        JSON.stringify(cache.get(tokenOf(user))?.principal) !==
        JSON.stringify(principalOf(user, variant(user)))
      )
        throw new Error(`user ${user} has changed`);
  });
});

describe("memory", () => {
  test("is bounded in entries, and the oldest leave first", () => {
    const cache = create({ maxEntries: 2_000 });
    crowd(cache);
    expect(cache.size()).toBe(2_000);
    expect(cache.get(tokenOf(CROWD - 2_000))).toBeUndefined();
    expect(cache.get(tokenOf(CROWD - 1_999))).toBeDefined();
  });

  test("is bounded in bytes, and nothing is kept that exceeds them alone", () => {
    const cache = create({ maxBytes: 500_000 });
    crowd(cache);
    expect(cache.bytes()).toBeLessThanOrEqual(500_000);
    expect(cache.bytes()).toBeGreaterThan(400_000);
    const ids = Array.from({ length: 60_000 }, (_, n) => `group-${n}`);
    const large = add(cache, 0, { groups: { kind: "listed", ids } });
    crowd(cache);
    expect(cache.get(large)).toBeUndefined();
    const none = create({ maxEntries: 0 });
    expect(none.get(add(none, 0))).toBeUndefined();
  });

  test("lets go of what has expired, although nobody asks for it again", () => {
    const cache = create();
    for (let user = 0; user < 50; user += 1) {
      add(cache, user, { expiresAt: clock + 300 });
      expect(cache.size()).toBeLessThanOrEqual(3);
      clock += 100;
    }
  });

  test("lets go of what was verified before without what was verified again", () => {
    const cache = create();
    add(cache, 0);
    add(cache, 1, { expiresAt: clock + 1_000 });
    clock += 2_000;
    const again = add(cache, 1);
    clock += MAX_AGE_MS - 2_000;
    add(cache, 2);
    expect(cache.size()).toBe(2);
    expect(cache.get(again)).toBeDefined();
    crowd(cache);
    expect(cache.get(again)).toBeDefined();
  });

  test("lets go of a crowd that has expired a part at a time, and counts right meanwhile", () => {
    const cache = create();
    crowd(cache, 640);
    clock += MAX_AGE_MS;
    for (let user = 1; user <= 10; user += 1) add(cache, user);
    expect(cache.size()).toBe(10);
    for (let user = 1; user <= 10; user += 1) expect(cache.get(tokenOf(user))).toBeDefined();
    clock += MAX_AGE_MS;
    add(cache, 1);
    const alone = create();
    add(alone, 1);
    expect(cache.size()).toBe(1);
    // Only the very first pays for what it shares with the others.
    expect(cache.bytes()).toBeLessThan(alone.bytes());
    expect(cache.bytes()).toBeGreaterThan(tokenOf(1).length);
  });

  test("of a user is under 600 bytes, however long his token, and no more than is counted", () => {
    setFlagsFromString("--expose-gc");
    const collect: () => void = runInNewContext("gc");
    const cache = create();
    const users = 40_000;
    // Through a buffer, as from a socket: a joined string would be kept in parts.
    const fill = (from: number, to: number) => {
      for (let user = from; user < to; user += 1)
        cache.add(Buffer.from(tokenOf(user, 1_900)).toString(), principalOf(user), cache.generation());
    };
    // What is kept whole, and what the compiler needs, is there before.
    fill(0, 2_000);
    collect();
    const before = { heap: process.memoryUsage().heapUsed, counted: cache.bytes() };
    fill(2_000, 2_000 + users);
    collect();
    const taken = (process.memoryUsage().heapUsed - before.heap) / users;
    expect(cache.size()).toBe(2_000 + users);
    expect(taken).toBeLessThan(600);
    expect(taken).toBeLessThan((cache.bytes() - before.counted) / users);
  });
});

function idsOf(groups: Groups | undefined): readonly string[] | undefined {
  return groups?.kind === "listed" ? groups.ids : undefined;
}
