/** Delegated tokens by exchange key: bounded in entries and bytes, every operation independent of how many there are. */

import type { Secret } from "../secret.ts";
import type { DownstreamToken, ExchangeResult } from "./exchange.ts";

export interface TokenCacheOptions {
  /** Most tokens held. */
  readonly maxEntries: number;
  /** Most memory held, bytes, as estimated from the lengths of keys and tokens. Default 512 MiB. */
  readonly maxBytes?: number;
  /** How long before its own expiry a token stops being served, ms: time for the request that carries it. */
  readonly expiryMarginMs: number;
}

export type EvictionCause = "full" | "expired";

export interface TokenCachePorts {
  readonly now: () => number;
  readonly onEvicted: (cause: EvictionCause) => void;
}

export interface NewEntry {
  readonly key: string;
  /** Key of the user for `purgeUser`. */
  readonly user: string;
  readonly token: DownstreamToken;
  /** The token's own expiry, ms since the epoch. */
  readonly tokenExpiresAt: number;
  /** Position of the exchange in time: an older answer never overwrites a newer one. */
  readonly order: number;
}

/** A token that may be served, in the form in which it is: a hit makes nothing anew. */
export interface CachedToken extends ExchangeResult {
  /** The token's own expiry, ms since the epoch. */
  readonly tokenExpiresAt: number;
  /** From when on a successor should be sought while this one serves, ms since the epoch; infinite when none could serve longer. */
  readonly refreshAt: number;
}

export interface TokenCache {
  /** The token under this key, if at this time (ms since the epoch) it may still be served. */
  get(key: string, time?: number): CachedToken | undefined;
  put(entry: NewEntry): void;
  /** Lets some time pass until the token is due for a successor again: half of what is left of its life. */
  postpone(cached: CachedToken, time: number): void;
  /** Drops what is under this key; when a token is given, only if it is that one. */
  delete(key: string, token?: Secret): void;
  /** Drops whatever is held for a user, in time proportional to that user's tokens. Returns their number. */
  purgeUser(user: string): number;
  size(): number;
  bytes(): number;
  /** Users of whom at least one token is held. */
  users(): number;
}

interface Entry extends CachedToken {
  readonly key: string;
  readonly user: string;
  /** First instant at which it may not be served any more, ms since the epoch. */
  readonly until: number;
  readonly bytes: number;
  readonly order: number;
  /** Read since the eviction hand last passed. */
  used: boolean;
  refreshAt: number;
}

const DEFAULT_MAX_BYTES = 512 * 1024 * 1024;
/** Objects, map slots and the user index around one token; measured, rounded up. */
const ENTRY_OVERHEAD_BYTES = 800;
/** Entries that one eviction may spare. A bound, so that no single insertion ever walks the whole cache. */
const MOST_SECOND_CHANCES = 16;
/** Part of a token's served life after which a successor is sought. */
const REFRESH_AFTER = 0.8;
/** Entries looked at for expiry with each insertion. */
const SWEEP_STEPS = 2;

/**
 * Eviction is CLOCK rather than exact LRU: a hit sets one flag, where LRU would delete and insert again and so,
 * in a Map of a million entries, make the runtime rehash it every so often in the middle of somebody's request.
 */
export function createTokenCache(options: TokenCacheOptions, ports: TokenCachePorts): TokenCache {
  const { maxEntries, maxBytes = DEFAULT_MAX_BYTES, expiryMarginMs } = options;
  const { now, onEvicted } = ports;
  const entries = new Map<string, Entry>();
  const byUser = new Map<string, Set<Entry>>();
  let bytes = 0;

  // Both live on while the map changes, which a Map's iterator is specified to bear.
  const hand = circle(entries);
  const sweeper = circle(entries);

  function add(entry: Entry): void {
    entries.set(entry.key, entry);
    bytes += entry.bytes;
    const ofUser = byUser.get(entry.user);
    if (ofUser === undefined) byUser.set(entry.user, new Set([entry]));
    else ofUser.add(entry);
  }

  function remove(entry: Entry): void {
    entries.delete(entry.key);
    bytes -= entry.bytes;
    const ofUser = byUser.get(entry.user);
    ofUser?.delete(entry);
    if (ofUser?.size === 0) byUser.delete(entry.user);
  }

  function evict(entry: Entry, cause: EvictionCause): void {
    remove(entry);
    onEvicted(cause);
  }

  function evictOne(time: number): void {
    for (let spared = 0; ; spared += 1) {
      const entry = hand();
      if (entry === undefined) return;
      const expired = entry.until <= time;
      if (expired || !entry.used || spared === MOST_SECOND_CHANCES) {
        evict(entry, expired ? "expired" : "full");
        return;
      }
      entry.used = false;
    }
  }

  // Nobody asks again for a token whose assertion has gone, so expired entries must be looked for.
  function sweep(time: number): void {
    for (let step = 0; step < SWEEP_STEPS; step += 1) {
      const entry = sweeper();
      if (entry !== undefined && entry.until <= time) evict(entry, "expired");
    }
  }

  return {
    get(key, time = now()) {
      const entry = entries.get(key);
      if (entry === undefined) return undefined;
      if (entry.until <= time) {
        evict(entry, "expired");
        return undefined;
      }
      entry.used = true;
      return entry;
    },

    put({ key, user, token, tokenExpiresAt, order }) {
      const time = now();
      sweep(time);
      const previous = entries.get(key);
      if (previous !== undefined) {
        if (previous.order > order) return;
        remove(previous);
      }
      // The margin is for the token alone. Taking it off the assertion's life too would leave its last minutes
      // uncached, with an exchange for every single request.
      const until = Math.min(tokenExpiresAt - expiryMarginMs, token.expiresAt);
      const size = ENTRY_OVERHEAD_BYTES + key.length + user.length + token.accessToken.reveal().length;
      if (until <= time || size > maxBytes) return;
      while (entries.size > 0 && (entries.size >= maxEntries || bytes + size > maxBytes)) evictOne(time);
      // Where the assertion ends first, no successor could be asked for, or would serve longer.
      const assertionEndsFirst =
        token.expiresAt < tokenExpiresAt && token.expiresAt <= tokenExpiresAt - expiryMarginMs;
      const refreshAt = assertionEndsFirst ? Number.POSITIVE_INFINITY : time + (until - time) * REFRESH_AFTER;
      add({
        key,
        user,
        token,
        origin: "cache",
        until,
        tokenExpiresAt,
        refreshAt,
        bytes: size,
        order,
        used: false,
      });
    },

    postpone(cached, time) {
      const entry = cached as Entry;
      entry.refreshAt = time + (entry.until - time) / 2;
    },

    delete(key, token) {
      const entry = entries.get(key);
      if (entry === undefined) return;
      if (token === undefined || token.reveal() === entry.token.accessToken.reveal()) remove(entry);
    },

    purgeUser(user) {
      const doomed = [...(byUser.get(user) ?? [])];
      doomed.forEach(remove);
      return doomed.length;
    },

    size: () => entries.size,
    bytes: () => bytes,
    users: () => byUser.size,
  };
}

/** Yields the map's values round and round, in the order of insertion; undefined only when there are none. */
function circle(entries: ReadonlyMap<string, Entry>): () => Entry | undefined {
  let position: Iterator<Entry> | undefined;
  return () => {
    const next = position?.next();
    if (next !== undefined && next.done !== true) return next.value;
    position = entries.values();
    const first = position.next();
    return first.done === true ? undefined : first.value;
  };
}
