import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { resolveAuthority } from "../../../src/identity/authority.ts";
import { createTokenVerifier } from "../../../src/identity/token-verifier.ts";
import {
  API,
  bearer,
  type FakeAuthority,
  generateKey,
  jwkOf,
  sign,
  startFakeAuthority,
  TENANT,
  userClaims,
} from "../../identity/fake-authority.ts";
import { CACHE, KEY_SET } from "../../identity/verifier-settings.ts";

const USERS = 600;
const REQUESTS = 6_000;

const keys = [generateKey("key-1"), generateKey("key-2")] as const;
const tokens = Array.from({ length: USERS }, (_, user) =>
  sign(
    keys[user % 2 === 0 ? 0 : 1],
    userClaims({ oid: `user-${user}`, sub: `subject-${user}`, scp: `scope-${user}` }),
  ),
);

let authority: FakeAuthority;
beforeAll(async () => {
  authority = await startFakeAuthority(keys.map((key) => jwkOf(key)));
});
afterAll(() => authority.close());

/** Mulberry32: interleavings that look random and are the same in every run. */
function createRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function pause(turns: number): Promise<void> {
  return turns === 0
    ? Promise.resolve()
    : new Promise((resolve) => setImmediate(() => resolve(pause(turns - 1))));
}

describe.each(["passport-azure-ad", "jose"] as const)("with %s", (name) => {
  test(`${REQUESTS} interleaved requests of ${USERS} users never see each other's principal or token`, async () => {
    const random = createRandom(20_260);
    const verifier = await createTokenVerifier({
      verifier: name,
      authority: resolveAuthority("https://login.microsoftonline.com/"),
      tenants: [TENANT],
      audiences: [API],
      allowedClients: [],
      clockToleranceSeconds: 60,
      fetch: async (input, init) => {
        await pause(Math.floor(random() * 20));
        return authority.fetch(input, init);
      },
      // Smaller than the crowd, so that hits, misses and evictions mix. Nothing is warm when the first wave arrives.
      keySet: KEY_SET,
      cache: { ...CACHE, maxEntries: USERS / 3 },
    });
    let verified = 0;
    let refused = 0;
    let abandoned = 0;

    async function request(): Promise<void> {
      const user = Math.floor(random() * USERS);
      const token = tokens[user] ?? "";
      const hostile = random() < 0.1;
      const impatient = random() < 0.2;
      await pause(Math.floor(random() * 30));
      const answer = verifier.verify(bearer(hostile ? `${token.slice(0, -20)}AAAAAAAAAAAAAAAAAAAA` : token));
      if (impatient) {
        // A caller that leaves: nobody waits for the answer any more, and nobody else may get it.
        abandoned += 1;
        await Promise.race([answer, pause(Math.floor(random() * 3))]);
        return;
      }
      const verification = await answer;
      if (hostile) {
        refused += 1;
        expect(verification.outcome).toBe("rejected");
        return;
      }
      verified += 1;
      if (verification.outcome !== "verified") throw new Error(`user ${user}: ${verification.error.reason}`);
      const { principal, assertion } = verification.caller;
      expect([principal.objectId, principal.subject, principal.scopes, assertion.objectId]).toEqual([
        `user-${user}`,
        `subject-${user}`,
        [`scope-${user}`],
        `user-${user}`,
      ]);
      expect(assertion.token.reveal()).toBe(token);
    }

    const waves = 10;
    for (let wave = 0; wave < waves; wave += 1)
      await Promise.all(Array.from({ length: REQUESTS / waves }, () => request()));
    verifier.close();
    expect(verified + refused + abandoned).toBe(REQUESTS);
    expect(Math.min(verified, refused, abandoned)).toBeGreaterThan(REQUESTS / 20);
  });
});
