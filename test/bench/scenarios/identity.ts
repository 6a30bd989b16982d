/** Cost of verifying a token, as ratios to one bare signature check with the same key in the same run. */

import { createHash, verify as verifySignature } from "node:crypto";
import { resolveAuthority } from "../../../src/identity/authority.ts";
import type { TokenVerifier } from "../../../src/identity/contract.ts";
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

const TOKENS = 512;
const ROUNDS = 15;

/** As many as a busy server has under way. One at a time, jose comes out half as slow again, probably for its thread hand-over. */
const IN_FLIGHT = 16;

interface Contender {
  readonly name: string;
  /** Largest acceptable ratio to the bare check. */
  readonly limit: number | undefined;
  run(token: string): unknown;
}

/** Prints a table; resolves to whether every ratio kept its limit. */
export async function benchIdentity(): Promise<boolean> {
  const key = generateKey("bench");
  const authority = await startFakeAuthority([jwkOf(key)]);
  const tokens = Array.from({ length: TOKENS }, (_, index) => mint(index));
  const uncached = { maxEntries: 0 };
  const verifiers: TokenVerifier[] = [];

  function mint(index: number): string {
    // About the size of a token with a few roles and groups: 1.9 KB.
    const groups = Array.from(
      { length: 18 },
      (_, n) => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`,
    );
    return sign(key, userClaims({ oid: `user-${index}`, groups, roles: ["Reader"], xms_cc: ["cp1"] }));
  }

  async function contender(
    name: string,
    verifier: "passport-azure-ad" | "jose",
    limit: number,
    cache: object,
  ): Promise<Contender> {
    const port = await createVerifier(verifier, authority, cache);
    verifiers.push(port);
    await port.warmUp();
    return {
      name,
      limit,
      async run(token) {
        const { outcome } = await port.verify(bearer(token));
        if (outcome !== "verified") throw new Error(`${name}: ${outcome}`);
      },
    };
  }

  const contenders: Contender[] = [
    {
      name: "node:crypto verify with a KeyObject",
      limit: undefined,
      run(token) {
        const end = token.lastIndexOf(".");
        const input = Buffer.from(token.slice(0, end));
        if (!verifySignature("sha256", input, key.publicKey, Buffer.from(token.slice(end + 1), "base64url")))
          throw new Error("bare check failed");
      },
    },
    await contender("passport-azure-ad, uncached", "passport-azure-ad", 4, uncached),
    await contender("jose, uncached", "jose", 5, uncached),
    await contender("passport-azure-ad, from cache", "passport-azure-ad", 0.35, {}),
    await contender("jose, from cache", "jose", 0.35, {}),
    {
      name: "SHA-256 of the token alone",
      limit: undefined,
      run: (token) => createHash("sha256").update(token).digest(),
    },
  ];

  const medians = await measure(contenders, tokens);
  for (const verifier of verifiers) verifier.close();
  await authority.close();
  return report(contenders, medians);
}

function createVerifier(
  verifier: "passport-azure-ad" | "jose",
  authority: FakeAuthority,
  cache: object,
): Promise<TokenVerifier> {
  return createTokenVerifier({
    verifier,
    authority: resolveAuthority("https://login.microsoftonline.com/"),
    tenants: [TENANT],
    audiences: [API],
    allowedClients: [],
    clockToleranceSeconds: 60,
    fetch: authority.fetch,
    keySet: KEY_SET,
    cache: { ...CACHE, ...cache },
  });
}

/** Contenders take turns in each round, so that a noisy moment of the machine hits all of them. */
async function measure(contenders: readonly Contender[], tokens: readonly string[]): Promise<number[]> {
  const samples = contenders.map((): number[] => []);
  for (let round = -2; round < ROUNDS; round += 1) {
    for (const [index, { run }] of contenders.entries()) {
      const start = process.cpuUsage();
      for (let from = 0; from < tokens.length; from += IN_FLIGHT)
        await Promise.all(tokens.slice(from, from + IN_FLIGHT).map(run));
      const { user, system } = process.cpuUsage(start);
      const microseconds = (user + system) / tokens.length;
      // The first rounds warm up the compiler and fill the caches.
      if (round >= 0) samples[index]?.push(microseconds);
    }
  }
  return samples.map((values) => values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN);
}

function report(contenders: readonly Contender[], medians: readonly number[]): boolean {
  const unit = medians[0] ?? Number.NaN;
  let kept = true;
  console.log(
    `identity: one token of ${TOKENS} distinct ones, ${IN_FLIGHT} in flight, CPU time of all threads, median of ${ROUNDS} rounds\n`,
  );
  console.log(`${"".padEnd(38)}${"µs/op".padStart(8)}${"ratio".padStart(8)}${"limit".padStart(8)}`);
  for (const [index, { name, limit }] of contenders.entries()) {
    const microseconds = medians[index] ?? Number.NaN;
    const ratio = microseconds / unit;
    const within = limit === undefined || ratio <= limit;
    kept &&= within;
    console.log(
      name.padEnd(38) +
        microseconds.toFixed(1).padStart(8) +
        ratio.toFixed(2).padStart(8) +
        (limit === undefined ? "" : limit.toFixed(2)).padStart(8) +
        (within ? "" : "  over the limit"),
    );
  }
  return kept;
}
