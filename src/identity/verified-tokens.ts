/** Verified-token cache: callers whose token was verified a moment ago, by the SHA-256 of that token. */

import type { VerifiedCaller } from "./principal.ts";

export interface VerifiedTokensOptions {
  readonly maxEntries: number;
  /** Bound of what the cached callers take in memory, bytes, by estimate. */
  readonly maxBytes: number;
  /** Longest time for which a verification is believed, ms. */
  readonly maxAgeMs: number;
  /** Ms since the epoch. */
  readonly now: () => number;
}

export const DEFAULT_VERIFIED_TOKENS = { maxEntries: 20_000, maxBytes: 64 * 2 ** 20, maxAgeMs: 300_000 };

export interface VerifiedTokens {
  /** `digest` is base64url SHA-256 of the token. */
  get(digest: string): VerifiedCaller | undefined;
  /** `generation` as it was before the token's key was looked up: a verification by a key since replaced is not kept. */
  put(digest: string, caller: VerifiedCaller, tokenBytes: number, generation: number): void;
  generation(): number;
  /** How many are held. */
  size(): number;
  /** Forgets everything, because keys have changed. */
  clear(): void;
}

interface Entry {
  readonly caller: VerifiedCaller;
  readonly bytes: number;
  readonly until: number;
}

/** Token, its decoded claims as principal, digest, and the objects and map slot around them. */
function estimateBytes(tokenBytes: number): number {
  return 2 * tokenBytes + 1024;
}

/**
 * A token's bytes are not canonical: the last character of its signature has bits that mean nothing, so one token
 * can have several digests. That costs entries, which are bounded; it makes the digest useless to revoke a token by.
 */
export function createVerifiedTokens(options: VerifiedTokensOptions): VerifiedTokens {
  const { now, maxAgeMs, maxEntries, maxBytes } = options;
  // Insertion order is the order of age. Nothing is moved on a hit: an entry lives for minutes, and the hit must be cheap.
  const entries = new Map<string, Entry>();
  let totalBytes = 0;
  let generation = 0;

  function remove(digest: string, entry: Entry): void {
    entries.delete(digest);
    totalBytes -= entry.bytes;
  }

  return {
    get(digest) {
      const entry = entries.get(digest);
      if (entry === undefined) return undefined;
      if (now() < entry.until) return entry.caller;
      remove(digest, entry);
      return undefined;
    },
    put(digest, caller, tokenBytes, since) {
      if (since !== generation) return;
      const bytes = estimateBytes(tokenBytes);
      const time = now();
      const earlier = entries.get(digest);
      if (earlier !== undefined) remove(digest, earlier);
      entries.set(digest, {
        caller,
        bytes,
        until: Math.min(time + maxAgeMs, caller.principal.expiresAt),
      });
      totalBytes += bytes;
      // Nobody asks again for a token that has expired, so what is oldest and over goes with each that comes.
      for (const [oldest, entry] of entries) {
        if (entries.size <= maxEntries && totalBytes <= maxBytes && time < entry.until) break;
        remove(oldest, entry);
      }
    },
    generation: () => generation,
    size: () => entries.size,
    clear() {
      generation += 1;
      entries.clear();
      totalBytes = 0;
    },
  };
}
