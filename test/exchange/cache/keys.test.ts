import { describe, expect, test } from "@jest/globals";
import { createKeyMaker } from "../../../src/exchange/cache/keys.ts";
import { assertionOf, CLIENT, GRAPH, HOST } from "../fake-entra.ts";

interface Parts {
  readonly host: string;
  readonly client: string;
  readonly tenantId: string;
  readonly digest: string;
  readonly scopes: readonly string[];
}

const keyOf = ({ host, client, tenantId, digest, scopes }: Parts) =>
  createKeyMaker(host, client).of(assertionOf("ann", { tenantId, digest }), scopes).token;
/** What two exchanges must have in common to be the same. */
const identityOf = ({ host, client, tenantId, digest, scopes }: Parts) =>
  JSON.stringify({ host, client, tenantId, digest, scopes: [...new Set(scopes)].sort() });

describe("keys of exchanges", () => {
  test("are equal exactly when tenant, client, authority, assertion and set of scopes are", () => {
    // Pieces that are each other's prefixes, and every sign that the key itself is made of.
    const pieces = ["", "a", "aa", "1", "1:a", "2:aa", ":", '"', '","', "[", "]", "a:1", "\n", "1:1", "\\"];
    const scopes = ["a", "aa", "a,b", "b", "]", "[", "1:a", ":", "'"];
    let state = 3;
    const pick = <T>(from: readonly T[], fallback: T): T => {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
      return from[Math.floor((state / 2_147_483_648) * from.length)] ?? fallback;
    };
    const identities = new Map<string, string>();
    for (let trial = 0; trial < 50_000; trial += 1) {
      const parts: Parts = {
        host: pick(pieces, ""),
        client: pick(pieces, ""),
        tenantId: pick(pieces, ""),
        digest: pick(pieces, ""),
        scopes: Array.from({ length: 1 + (trial % 3) }, () => pick(scopes, "a")),
      };
      const key = keyOf(parts);
      const identity = identityOf(parts);
      const known = identities.get(key) ?? identity;
      // Not `expect`, whose cost fifty thousand times is seconds.
      if (known !== identity) throw new Error(`${known} and ${identity} have the key ${key}`);
      identities.set(key, identity);
    }
    // As many keys as identities: no identity has two.
    expect(new Set(identities.values()).size).toBe(identities.size);
    expect(identities.size).toBeGreaterThan(10_000);
  });

  test("take scopes from a frozen array once, and agree with what a fresh array says", () => {
    const keys = createKeyMaker(HOST, CLIENT);
    const assertion = assertionOf("ann");
    expect(keys.of(assertion, GRAPH).token).toBe(keys.of(assertion, [...GRAPH]).token);
    expect(keys.of(assertion, GRAPH).token).toBe(keys.of(assertion, GRAPH).token);
  });

  test("of a user hold for every assertion, and differ between tenants that share an object id", () => {
    const keys = createKeyMaker(HOST, CLIENT);
    expect(keys.of(assertionOf("ann", { serial: 1 }), GRAPH).user).toBe(
      keys.of(assertionOf("ann", { serial: 2 }), GRAPH).user,
    );
    expect(keys.of(assertionOf("ann", { tenantId: "a" }), GRAPH).user).not.toBe(
      keys.of(assertionOf("ann", { tenantId: "b" }), GRAPH).user,
    );
  });

  test("end in a digest of scopes, authority and client, however many scopes there are", () => {
    const keys = createKeyMaker(HOST, CLIENT);
    const many = Array.from({ length: 100 }, (_, scope) => `api://x/scope-${scope}`);
    for (const scopes of [GRAPH, many]) {
      const { token, group, user, userAndScopes, assertion } = keys.of(assertionOf("ann"), scopes);
      const end = token.slice(-43);
      expect(end).toMatch(/^[\w-]{43}$/);
      expect([token, userAndScopes]).toEqual([assertion + end, user + end]);
      expect([group, group.slice(-43)]).toEqual([keys.group(assertionOf("bob"), scopes), end]);
    }
  });

  test("hold nothing of the assertion but its digest", () => {
    const keys = createKeyMaker(HOST, CLIENT);
    expect(keys.of(assertionOf("ann"), GRAPH).token).not.toContain("assertion-of-ann");
  });
});
