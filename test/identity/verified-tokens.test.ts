import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "@jest/globals";
import type { Groups, Principal } from "../../src/identity/contract.ts";
import {
  createAgingMap,
  createSharedClaims,
  createVerifiedTokens,
  type VerifiedTokens,
} from "../../src/identity/verified-tokens.ts";
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

describe("a map whose entries age", () => {
  type Entry = { key: string; until: number; bytes: number; next: Entry | undefined };
  const entry = (key: string, until = 100, bytes = 1): Entry => ({ key, until, bytes, next: undefined });
  const books = (map: ReturnType<typeof createAgingMap<Entry>>) => [map.size(), map.bytes()];

  test("gives an entry up to its end, and not at it", () => {
    const map = createAgingMap<Entry>({ maxEntries: 2, maxBytes: 10 });
    const a = entry("a");
    map.put(a, 0);
    expect([map.get("a", 99), map.get("a", 100), map.get("b", 0)]).toEqual([a, undefined, undefined]);
  });

  test("keeps as many entries and bytes as it may, and the oldest leave for the next", () => {
    const map = createAgingMap<Entry>({ maxEntries: 2, maxBytes: 10 });
    for (const each of [entry("a", 100, 4), entry("b", 100, 6)]) map.put(each, 0);
    expect(books(map)).toEqual([2, 10]);
    map.put(entry("c", 100, 5), 0);
    expect([..."abc"].map((key) => map.get(key, 0) !== undefined)).toEqual([false, false, true]);
    expect(books(map)).toEqual([1, 5]);
    map.put(entry("d", 100, 5), 0);
    map.put(entry("e", 100, 1), 0);
    expect([..."cde"].map((key) => map.get(key, 0) !== undefined)).toEqual([false, true, true]);
    map.put(entry("f", 100, 11), 0);
    expect(books(map)).toEqual([2, 6]);
    map.put(entry("g", 100, 10), 0);
    expect(books(map)).toEqual([1, 10]);
  });

  test("keeps what lives under a key, and takes another in its place once that is over", () => {
    const map = createAgingMap<Entry>({ maxEntries: 9, maxBytes: 99 });
    const [first, second] = [entry("a", 100), entry("a", 200)];
    map.put(entry("lasting", 300), 0);
    map.put(first, 0);
    map.put(second, 99);
    expect(map.get("a", 99)).toBe(first);
    map.put(second, 100);
    expect(map.get("a", 100)).toBe(second);
    // Behind one that lasts, the one before is still in the chain; once it leaves, its key stays the younger one's.
    expect(books(map)).toEqual([3, 3]);
    map.put(entry("c", 400), 350);
    expect(books(map)).toEqual([1, 1]);
  });

  test("does not lose what took over a key when the one before it leaves", () => {
    const map = createAgingMap<Entry>({ maxEntries: 3, maxBytes: 99 });
    map.put(entry("lasting", 300), 0);
    map.put(entry("a", 100), 0);
    const later = entry("a", 200);
    map.put(later, 100);
    for (const key of ["b", "c"]) map.put(entry(key, 300), 150);
    expect(map.get("a", 150)).toBe(later);
    expect(map.size()).toBe(3);
  });

  test("lets 64 entries go at most that are over, with each that comes", () => {
    const map = createAgingMap<Entry>({ maxEntries: 1_000, maxBytes: 1_000 });
    for (let each = 0; each < 70; each += 1) map.put(entry(`old-${each}`), 0);
    map.put(entry("new", 900), 100);
    expect(books(map)).toEqual([7, 7]);
    map.put(entry("newer", 900), 100);
    expect(books(map)).toEqual([2, 2]);
  });

  test("is empty when cleared, and takes entries as before", () => {
    const map = createAgingMap<Entry>({ maxEntries: 1, maxBytes: 10 });
    map.put(entry("a"), 0);
    map.clear();
    expect([map.get("a", 0), ...books(map)]).toEqual([undefined, 0, 0]);
    for (const key of ["b", "c"]) map.put(entry(key), 0);
    expect([map.get("b", 0), map.get("c", 0)?.key, ...books(map)]).toEqual([undefined, "c", 1, 1]);
  });
});

describe("the memory of a principal is counted", () => {
  const base = (more: Partial<Principal> = {}): Principal => ({
    kind: "user",
    tenantId: "t".repeat(10),
    objectId: "o".repeat(20),
    subject: "s".repeat(30),
    clientId: "c".repeat(40),
    tokenVersion: "2.0",
    scopes: [],
    roles: [],
    groups: { kind: "absent" },
    authContexts: [],
    acceptsClaimsChallenge: true,
    expiresAt: 0,
    ...more,
  });
  const OWN = 160 + (24 + 20) + (24 + 30);
  const SHARED = 24 + 10 + (24 + 40);

  test("with what it brings first, and later with what is its own", () => {
    const claims = createSharedClaims();
    // The empty list is the first of its kind once.
    expect(claims.share(base()).bytes).toBe(OWN + SHARED + 48);
    expect(claims.share(base()).bytes).toBe(OWN);
    expect(claims.share(base({ scopes: ["abc", "de"] })).bytes).toBe(OWN + 48 + 2 * 8 + (24 + 3) + (24 + 2));
    expect(claims.share(base({ roles: ["abc", "de"], scopes: ["abc"] })).bytes).toBe(OWN + 48 + 8);
    expect(claims.share(base({ groups: { kind: "listed", ids: ["abc", "de"] } })).bytes).toBe(OWN + 48);
    expect(claims.share(base({ groups: { kind: "overage" } })).bytes).toBe(OWN);
    claims.clear();
    expect(claims.share(base()).bytes).toBe(OWN + SHARED + 48);
  });

  test("with texts longer than 128 characters and lists longer than 1024, which are not shared", () => {
    const claims = createSharedClaims();
    claims.share(base());
    const bytesOf = (more: Partial<Principal>) => [1, 2].map(() => claims.share(base(more)).bytes - OWN);
    expect(bytesOf({ tenantId: "x".repeat(128) })).toEqual([24 + 128, 0]);
    expect(bytesOf({ tenantId: "x".repeat(129) })).toEqual([24 + 129, 24 + 129]);
    // As JSON with its brackets and quotes.
    const [shared, own] = [1_024, 1_025].map((length) => [
      "y".repeat(120),
      ...Array.from({ length: 7 }, (_, at) => String(at).repeat(120)),
      "z".repeat(length - 2 - 8 * 123 - 2),
    ]);
    expect([shared, own].map((list) => JSON.stringify(list).length)).toEqual([1_024, 1_025]);
    const listed = 48 + 9 * 8;
    expect(bytesOf({ scopes: shared as string[] })).toEqual([listed + 8 * (24 + 120) + 24 + 36, 0]);
    expect(bytesOf({ scopes: own as string[] })).toEqual([listed + 24 + 37, listed]);
  });

  test("anew once the tables of 8192 texts and 1024 lists are full", () => {
    const claims = createSharedClaims();
    const bytesOf = (more: Partial<Principal>) => claims.share(base(more)).bytes - OWN;
    // Tenant and client are two of them.
    claims.share(base());
    for (let text = 2; text < 8_192; text += 1) bytesOf({ tenantId: `tenant-${text}` });
    expect(bytesOf({})).toBe(0);
    expect(bytesOf({ tenantId: "one more" })).toBe(24 + 8 + (24 + 40));
    expect(bytesOf({})).toBe(24 + 10);
    // The empty list is one of them, and their members are few texts, of a table that was emptied.
    for (let list = 1; list < 1_024; list += 1) bytesOf({ scopes: [...list.toString(2)] });
    expect(bytesOf({})).toBe(0);
    // The empty list is put there anew.
    expect(bytesOf({ scopes: ["f", "g", "h"] })).toBe(48 + 3 * 8 + 3 * (24 + 1) + 48);
  });

  test("with 200 bytes around it, and 512 around a token that is kept whole", () => {
    const cache = create();
    const [token, principal] = [tokenOf(0), principalOf(0)];
    cache.add(token, principal, cache.generation());
    const { bytes } = createSharedClaims().share(principal);
    expect(cache.bytes()).toBe(200 + bytes + 512 + token.length);
  });
});

test("an eighth of the memory is for tokens that are kept whole, of which there are 1024 at most", () => {
  const verified = (cache: VerifiedTokens, user: number) =>
    cache.add(tokenOf(user), principalOf(user), cache.generation());
  const cache = create();
  const [first, second] = [verified(cache, 0), verified(cache, 1)];
  for (let user = 2; user < 1_025; user += 1) verified(cache, user);
  // Kept whole, it is the very same caller.
  expect(cache.get(tokenOf(1))).toBe(second);
  expect(cache.get(tokenOf(0))).not.toBe(first);
  const enough = 8 * (512 + tokenOf(0).length);
  for (const maxBytes of [enough, enough - 8]) {
    const small = create({ maxBytes });
    const caller = verified(small, 0);
    expect(small.get(tokenOf(0)) === caller).toBe(maxBytes === enough);
  }
});

test("no digest is taken of what can be no token that was verified", () => {
  const cache = create();
  add(cache, 0);
  const kept = "ey".padEnd(24 * 1024, "A");
  cache.add(kept, principalOf(1), cache.generation());
  cache.add(`${kept}A`, principalOf(2), cache.generation());
  cache.add(`xx${kept.slice(2)}`, principalOf(3), cache.generation());
  crowd(cache);
  expect(cache.get(kept)?.principal).toEqual(principalOf(1));
  expect([cache.get(`${kept}A`), cache.get(`xx${kept.slice(2)}`)]).toEqual([undefined, undefined]);
});

function idsOf(groups: Groups | undefined): readonly string[] | undefined {
  return groups?.kind === "listed" ? groups.ids : undefined;
}
