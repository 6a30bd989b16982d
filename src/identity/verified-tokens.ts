/** Verified-token cache: callers whose token was verified a moment ago, found by that token. */

import { hash } from "node:crypto";
import { Secret } from "../foundation/secret.ts";
import { type Aged, createAgingMap } from "./aging-map.ts";
import { MAX_TOKEN_BYTES } from "./bearer-token.ts";
import { isCanonical } from "./compact-jwt.ts";
import type { Principal, VerifiedCaller } from "./contract.ts";
import { createSharedClaims } from "./shared-claims.ts";

export interface VerifiedTokensOptions {
  readonly maxEntries: number;
  /** Bound of what is held in memory, bytes, by estimate. */
  readonly maxBytes: number;
  /** Longest time for which a verification is believed, ms. */
  readonly maxAgeMs: number;
  /** Ms since the epoch. */
  readonly now: () => number;
}

export const DEFAULT_VERIFIED_TOKENS = { maxEntries: 100_000, maxBytes: 96 * 2 ** 20, maxAgeMs: 300_000 };

export interface VerifiedTokens {
  get(token: string): VerifiedCaller | undefined;
  /**
   * The caller whose token was just verified, and is known by it from now on. `generation` as it was before the
   * token's key was looked up: a verification by a key since replaced is not kept.
   */
  add(token: string, principal: Principal, generation: number): VerifiedCaller;
  generation(): number;
  /** How many are held. */
  size(): number;
  /** What they take in memory, bytes, by estimate. */
  bytes(): number;
  /** Forgets everything, because keys have changed. */
  clear(): void;
}

/** A token kept whole. Its key is its tail. */
interface RecentToken extends Aged<RecentToken> {
  readonly token: string;
  readonly caller: VerifiedCaller;
}

/** A principal without his token. Its key is the token's digest. */
interface KnownPrincipal extends Aged<KnownPrincipal> {
  readonly principal: Principal;
  /** Number of the search that found it last. */
  foundAt: number;
}

/** Tokens kept whole, and their part of all memory. */
const MOST_RECENT = 1_024;
const RECENT_SHARE = 1 / 8;

/** Entry, caller and map slot around a token kept whole, and those around a principal; measured, rounded up. */
const RECENT_BYTES = 512;
const KNOWN_BYTES = 200;

/** How much of a token's end, which is its signature, finds it: as much as a SHA-256 digest says. */
const TAIL = 43;

/**
 * Two levels, of which each is enough. Tokens that came again shortly are kept whole: V8 would read a whole string to
 * hash it, and a digest reads it too, while here the rest is only compared, and that with a token whose signature ends
 * the same. Of everybody else the principal is kept, and the SHA-256 of his token proves that it is this one; that
 * takes a microsecond more for a request, and less than half a kilobyte for a user.
 *
 * A token has one spelling: what is spelt otherwise is no token (compact-jwt.ts), and is not looked for either.
 */
export function createVerifiedTokens(options: VerifiedTokensOptions): VerifiedTokens {
  const { now, maxAgeMs, maxEntries, maxBytes } = options;
  // Nothing is moved on a hit: an entry lives for minutes, and the hit must be cheap.
  const recent = createAgingMap<RecentToken>({
    maxEntries: Math.min(maxEntries, MOST_RECENT),
    maxBytes: maxBytes * RECENT_SHARE,
  });
  const known = createAgingMap<KnownPrincipal>({ maxEntries, maxBytes: maxBytes * (1 - RECENT_SHARE) });
  const claims = createSharedClaims();
  let generation = 0;
  let searches = 0;

  function keepWhole(token: string, caller: VerifiedCaller, until: number, time: number): void {
    const bytes = RECENT_BYTES + token.length;
    recent.put({ key: token.slice(-TAIL), until, bytes, next: undefined, token, caller }, time);
  }

  function search(token: string, time: number): VerifiedCaller | undefined {
    const entry = known.get(digestOf(token), time);
    if (entry === undefined) return undefined;
    const caller = callerOf(token, entry.key, entry.principal);
    searches += 1;
    // Only one that came again before as many others as have room: a crowd that passes through displaces none of them.
    if (searches - entry.foundAt <= MOST_RECENT) keepWhole(token, caller, entry.until, time);
    entry.foundAt = searches;
    return caller;
  }

  return {
    get(token) {
      const time = now();
      const entry = recent.get(token.slice(-TAIL), time);
      if (entry !== undefined && entry.token === token) return entry.caller;
      return isPlausible(token) ? search(token, time) : undefined;
    },

    add(token, unshared, since) {
      const digest = digestOf(token);
      if (since !== generation) return callerOf(token, digest, unshared);
      const time = now();
      const until = Math.min(time + maxAgeMs, unshared.expiresAt);
      const { principal, bytes } = claims.share(unshared);
      const caller = callerOf(token, digest, principal);
      known.put(
        { key: digest, until, bytes: KNOWN_BYTES + bytes, next: undefined, principal, foundAt: searches },
        time,
      );
      keepWhole(token, caller, until, time);
      return caller;
    },

    generation: () => generation,
    size: known.size,
    bytes: () => known.bytes() + recent.bytes(),

    clear() {
      generation += 1;
      recent.clear();
      known.clear();
      claims.clear();
    },
  };
}

function digestOf(token: string): string {
  return hash("sha256", token, "base64url");
}

/** Whether a digest is worth its time. The base64url of every JSON object that starts with a member starts like this. */
function isPlausible(token: string): boolean {
  return (
    token.startsWith("ey") &&
    token.length <= MAX_TOKEN_BYTES &&
    isCanonical(token.slice(token.lastIndexOf(".") + 1))
  );
}

function callerOf(token: string, digest: string, principal: Principal): VerifiedCaller {
  const { tenantId, objectId, expiresAt } = principal;
  return Object.freeze<VerifiedCaller>({
    principal,
    assertion: Object.freeze({ token: new Secret(token), digest, tenantId, objectId, expiresAt }),
  });
}
