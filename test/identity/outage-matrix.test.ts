import { afterAll, describe, expect, test } from "@jest/globals";
import { resolveAuthority } from "../../src/identity/authority.ts";
import type { TokenVerifierEvent } from "../../src/identity/contract.ts";
import type { Schedule } from "../../src/identity/key-set.ts";
import { createTokenVerifier } from "../../src/identity/token-verifier.ts";
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
} from "./fake-authority.ts";
import { heal, type Outage, outagesAround } from "./outages.ts";
import { CACHE, KEY_SET } from "./verifier-settings.ts";

const HOUR = 3_600_000;
/** How long a document is waited for, ms: a busy machine answers honestly in time, and silences are waited out. */
const PATIENT_MS = 30_000;
const BRIEF_MS = 1_000;

/** All labels but "internal", which would mean that a fault of the authority was met by a fault of ours. */
const REASONS = ["timeout", "network", "too_large", "status", "content", "issuer", "jwks_uri", "no_keys"];

const key = generateKey("key-1");
const nextKey = generateKey("key-2");
const outages = outagesAround(key);

/** Lives for 28 hours, so that it outlasts what the clock of a test is moved by. */
function genuineToken(user: string, signer = key): string {
  const now = Math.floor(Date.now() / 1000);
  return sign(signer, userClaims({ oid: user, exp: now + 28 * 3_600 - 60 }));
}

async function startGateway(verifierName: "passport-azure-ad" | "jose") {
  const authority: FakeAuthority = await startFakeAuthority([jwkOf(key)]);
  const events: TokenVerifierEvent[] = [];
  let clock = Date.now();
  let fetchTimeoutMs = PATIENT_MS;
  let background = () => {};
  let heard = () => {};
  const schedule: Schedule = (callback) => {
    background = callback;
    return () => {};
  };
  const verifier = await createTokenVerifier({
    verifier: verifierName,
    authority: resolveAuthority("https://login.microsoftonline.com/"),
    tenants: [TENANT],
    audiences: [API],
    allowedClients: [],
    clockToleranceSeconds: 60,
    fetch: authority.fetch,
    now: () => clock,
    schedule,
    keySet: {
      ...KEY_SET,
      get fetchTimeoutMs() {
        return fetchTimeoutMs;
      },
      failureBackoffMs: 20,
    },
    // Nothing is remembered: each call shows what the keys at hand allow.
    cache: { ...CACHE, maxEntries: 0 },
    onEvent: (event) => {
      events.push(event);
      if (event.type === "key_set_failed" || event.type === "key_set_refreshed") heard();
    },
  });
  return {
    authority,
    verifier,
    events,
    begin(outage: Outage) {
      outage.begin(authority);
      fetchTimeoutMs = BRIEF_MS;
    },
    heal() {
      heal(authority);
      fetchTimeoutMs = PATIENT_MS;
    },
    outcomeOf: async (token: string) => (await verifier.verify(bearer(token))).outcome,
    advance(ms: number) {
      clock += ms;
    },
    /** Runs the timer of the background refresh, and waits until it has succeeded or failed. */
    refreshInBackground: () =>
      new Promise<void>((resolve) => {
        heard = resolve;
        background();
      }),
    async close() {
      verifier.close();
      await authority.close();
    },
  };
}

const table = outages.map(
  (outage, index) => [outage.sentence, outage, index % 2 === 0 ? "passport-azure-ad" : "jose"] as const,
);

describe("cold, while an authority's", () => {
  test.concurrent.each(table)(
    "%s, callers are told to come back, and the first one after that gets in",
    async (_sentence, outage, name) => {
      const gateway = await startGateway(name);
      try {
        gateway.begin(outage);
        const during = await Promise.all(
          [1, 2, 3, 4, 5].map((n) => gateway.verifier.verify(bearer(genuineToken(`user-${n}`)))),
        );
        for (const verification of during) {
          expect(verification.outcome).toBe("unavailable");
          if (verification.outcome !== "unavailable") continue;
          expect(verification.error.code).toBe("key_set_unavailable");
          expect(verification.error.retryAfterSeconds).toBeGreaterThanOrEqual(1);
          expect(REASONS).toContain(verification.error.reason);
        }
        expect(gateway.verifier.ready()).toBe(false);
        // Five callers shared one read.
        expect(gateway.events.filter(({ type }) => type === "key_set_failed")).toHaveLength(1);

        gateway.heal();
        expect(await gateway.outcomeOf(genuineToken("user-6"))).toBe("verified");
        expect(gateway.verifier.ready()).toBe(true);
      } finally {
        await gateway.close();
      }
    },
  );
});

describe("warm, while an authority's", () => {
  test.concurrent.each(table)(
    "%s, known keys go on working, and new ones are learnt after that",
    async (_sentence, outage, name) => {
      const gateway = await startGateway(name);
      try {
        await gateway.verifier.warmUp();
        gateway.begin(outage);
        gateway.advance(2 * HOUR);
        await gateway.refreshInBackground();
        expect(gateway.events.at(-1)?.type).toBe("key_set_failed");
        expect(await gateway.outcomeOf(genuineToken("user-1"))).toBe("verified");
        expect(gateway.verifier.ready()).toBe(true);
        // Whether this key exists cannot be known now, so it is not the caller's fault.
        expect(await gateway.outcomeOf(genuineToken("user-2", nextKey))).toBe("unavailable");
        expect(await gateway.outcomeOf(genuineToken("user-3"))).toBe("verified");

        gateway.heal();
        gateway.authority.keys = [jwkOf(nextKey)];
        await gateway.refreshInBackground();
        expect(await gateway.outcomeOf(genuineToken("user-4", nextKey))).toBe("verified");
        expect(gateway.events.filter(({ type }) => type === "key_set_refreshed")).toHaveLength(2);
      } finally {
        await gateway.close();
      }
    },
  );
});

test("the table holds at least 42 faults", () => {
  expect(outages.length).toBeGreaterThanOrEqual(42);
  expect(new Set(outages.map(({ sentence }) => sentence)).size).toBe(outages.length);
});

afterAll(() => {
  process.stdout.write(`outage matrix: ${outages.length} faults × cold and warm\n`);
});
