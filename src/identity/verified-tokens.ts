/** Verified-token cache: callers whose token was verified a moment ago, found by that token. */

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
  get(token: string): VerifiedCaller | undefined;
  /** `generation` as it was before the token's key was looked up: a verification by a key since replaced is not kept. */
  put(token: string, caller: VerifiedCaller, generation: number): void;
  generation(): number;
  /** How many are held. */
  size(): number;
  /** Forgets everything, because keys have changed. */
  clear(): void;
}

interface Entry {
  readonly token: string;
  readonly caller: VerifiedCaller;
  readonly bytes: number;
  readonly until: number;
}

/** Token, its decoded claims as principal, digest, and the objects and map slot around them. */
function estimateBytes(tokenBytes: number): number {
  return 2 * tokenBytes + 1024;
}

/**
 * How much of a token's end, which is its signature, finds it: as much as a SHA-256 digest says. V8 reads a whole
 * string to hash it, and a digest reads it too; here the rest is only compared, and that with a token whose signature
 * ends the same.
 */
const TAIL = 43;

/**
 * A token's bytes are not canonical: the last character of its signature has bits that mean nothing, so one token
 * can be spelt in several ways. That costs entries, which are bounded; it makes a spelling useless to revoke a token by.
 */
export function createVerifiedTokens(options: VerifiedTokensOptions): VerifiedTokens {
  const { now, maxAgeMs, maxEntries, maxBytes } = options;
  // Insertion order is the order of age. Nothing is moved on a hit: an entry lives for minutes, and the hit must be cheap.
  const entries = new Map<string, Entry>();
  let totalBytes = 0;
  let generation = 0;

  function remove(entry: Entry): void {
    entries.delete(entry.token.slice(-TAIL));
    totalBytes -= entry.bytes;
  }

  return {
    get(token) {
      const entry = entries.get(token.slice(-TAIL));
      if (entry === undefined || entry.token !== token) return undefined;
      if (now() < entry.until) return entry.caller;
      remove(entry);
      return undefined;
    },
    put(token, caller, since) {
      if (since !== generation) return;
      const bytes = estimateBytes(token.length);
      const time = now();
      const tail = token.slice(-TAIL);
      const earlier = entries.get(tail);
      if (earlier !== undefined) remove(earlier);
      entries.set(tail, {
        token,
        caller,
        bytes,
        until: Math.min(time + maxAgeMs, caller.principal.expiresAt),
      });
      totalBytes += bytes;
      // Nobody asks again for a token that has expired, so what is oldest and over goes with each that comes.
      for (const oldest of entries.values()) {
        if (entries.size <= maxEntries && totalBytes <= maxBytes && time < oldest.until) break;
        remove(oldest);
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
