/** Verified-token cache: callers whose token was verified a moment ago, found by that token. */

import { hash } from "node:crypto";
import { ownerOf } from "../foundation/budget.ts";
import { Secret } from "../foundation/secret.ts";
import { isCanonical, MAX_TOKEN_BYTES } from "./compact-jwt.ts";
import type { Groups, Principal, VerifiedCaller } from "./contract.ts";

export interface VerifiedTokensOptions {
  readonly maxEntries: number;
  /** Bound of what is held in memory, bytes, by estimate. */
  readonly maxBytes: number;
  /** Longest time for which a verification is believed, ms. */
  readonly maxAgeMs: number;
  /** Ms since the epoch. */
  readonly now: () => number;
}

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
    // With the caller, so that a known one brings texts that V8 has hashed already.
    owner: ownerOf(principal),
  });
}

/** An entry links to the next younger one itself: of a hundred thousand, each separate object would cost megabytes. */
export interface Aged<Entry> {
  readonly key: string;
  /** Ms since the epoch at which it is too old. */
  readonly until: number;
  /** What it takes in memory, by estimate. */
  readonly bytes: number;
  next: Entry | undefined;
}

export interface AgingMap<Entry> {
  get(key: string, time: number): Entry | undefined;
  /** Keeps the entry, unless it is larger than everything may be or another lives under its key. */
  put(entry: Entry, time: number): void;
  clear(): void;
  size(): number;
  bytes(): number;
}

/** Entries too old that one insertion removes, so that none has to clear away a whole crowd. */
const SWEEP_STEPS = 64;

/**
 * A Map alone keeps the order, too. But what is deleted at its beginning leaves a gap there until the Map is copied,
 * and finding the oldest walks over thousands of them.
 */
export function createAgingMap<Entry extends Aged<Entry>>(bounds: {
  readonly maxEntries: number;
  readonly maxBytes: number;
}): AgingMap<Entry> {
  const { maxEntries, maxBytes } = bounds;
  const entries = new Map<string, Entry>();
  let oldest: Entry | undefined;
  let newest: Entry | undefined;
  // Of all in the chain, those included whose key a younger one has taken over.
  let size = 0;
  let bytes = 0;

  function drop(entry: Entry): void {
    oldest = entry.next;
    if (oldest === undefined) newest = undefined;
    // V8 takes a link from an old object, although that one is out of reach, for a reason to keep a young one.
    entry.next = undefined;
    if (entries.get(entry.key) === entry) entries.delete(entry.key);
    size -= 1;
    bytes -= entry.bytes;
  }

  return {
    get(key, time) {
      const entry = entries.get(key);
      return entry !== undefined && time < entry.until ? entry : undefined;
    },

    put(entry, time) {
      for (let step = 0; step < SWEEP_STEPS && oldest !== undefined && oldest.until <= time; step += 1)
        drop(oldest);
      const earlier = entries.get(entry.key);
      if (maxEntries < 1 || entry.bytes > maxBytes || (earlier !== undefined && time < earlier.until)) return;
      while (oldest !== undefined && (size >= maxEntries || bytes + entry.bytes > maxBytes)) drop(oldest);
      // Deleted first: a Map that has a key keeps that string, and with it whatever text it is a part of.
      entries.delete(entry.key);
      entries.set(entry.key, entry);
      if (newest === undefined) oldest = entry;
      else newest.next = entry;
      newest = entry;
      size += 1;
      bytes += entry.bytes;
    },

    clear() {
      entries.clear();
      oldest = undefined;
      newest = undefined;
      size = 0;
      bytes = 0;
    },

    size: () => size,
    bytes: () => bytes,
  };
}

export interface SharedClaims {
  /** An equal principal that shares with those before it, and what it adds to what they hold, bytes, by estimate. */
  share(principal: Principal): { readonly principal: Principal; readonly bytes: number };
  clear(): void;
}

/** Texts and lists to find again, and characters of one that is worth it: two or three megabytes when all are long. */
const MOST_TEXTS = 8_192;
const LONGEST_TEXT = 128;
const MOST_LISTS = 1_024;
const LONGEST_LIST = 1_024;
/** What texts and lists take beside their characters and members, and a principal beside those; measured, rounded up. */
const PRINCIPAL_BYTES = 160;
const TEXT_BYTES = 24;
const LIST_BYTES = 48;
const REFERENCE_BYTES = 8;

const UNLISTED = {
  absent: Object.freeze({ kind: "absent" }),
  overage: Object.freeze({ kind: "overage" }),
} as const satisfies Record<string, Groups>;

/**
 * The principal that brings something first is charged for it. It also leaves first, as principals are forgotten in the order in which
 * they came, so what is still shared and no longer paid for is never more than one filling of the tables.
 */
export function createSharedClaims(): SharedClaims {
  const texts = new Map<string, string>();
  const lists = new Map<string, readonly string[]>();
  let added = 0;

  function own(text: string): string {
    added += TEXT_BYTES + text.length;
    return text;
  }

  function shareText(text: string): string {
    if (text.length > LONGEST_TEXT) return own(text);
    const known = texts.get(text);
    if (known !== undefined) return known;
    // Emptied rather than thinned out: those who share go on sharing, and who is common is soon there again.
    if (texts.size >= MOST_TEXTS) texts.clear();
    texts.set(text, text);
    return own(text);
  }

  function shareList(list: readonly string[]): readonly string[] {
    const key = JSON.stringify(list);
    const known = lists.get(key);
    if (known !== undefined) return known;
    added += LIST_BYTES + list.length * REFERENCE_BYTES;
    const shared = Object.freeze(list.map(shareText));
    if (key.length > LONGEST_LIST) return shared;
    if (lists.size >= MOST_LISTS) lists.clear();
    lists.set(key, shared);
    return shared;
  }

  function shareGroups(groups: Groups): Groups {
    if (groups.kind !== "listed") return UNLISTED[groups.kind];
    added += LIST_BYTES;
    return Object.freeze({ kind: groups.kind, ids: shareList(groups.ids) });
  }

  return {
    share(principal) {
      added = PRINCIPAL_BYTES;
      const shared = Object.freeze<Principal>({
        kind: principal.kind,
        tenantId: shareText(principal.tenantId),
        objectId: own(principal.objectId),
        subject: own(principal.subject),
        clientId: shareText(principal.clientId),
        tokenVersion: principal.tokenVersion === "1.0" ? "1.0" : "2.0",
        scopes: shareList(principal.scopes),
        roles: shareList(principal.roles),
        groups: shareGroups(principal.groups),
        authContexts: shareList(principal.authContexts),
        acceptsClaimsChallenge: principal.acceptsClaimsChallenge,
        expiresAt: principal.expiresAt,
      });
      return { principal: shared, bytes: added };
    },
    clear() {
      texts.clear();
      lists.clear();
    },
  };
}
