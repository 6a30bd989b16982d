/** Delegated tokens by exchange key: bounded in entries and bytes, every operation independent of how many there are. */

import type { Secret } from "../../foundation/secret.ts";
import type { DownstreamToken, EvictionCause, ExchangeResult } from "../contract.ts";
import { createSlots } from "./slots.ts";
import { createUserIndex, type OfUser } from "./user-index.ts";

export interface TokenCacheOptions {
  /** Most tokens held. */
  readonly maxEntries: number;
  /** Most memory held, bytes, as estimated from the lengths of keys and tokens. */
  readonly maxBytes: number;
  /** How long before its own expiry a token stops being served, ms: time for the request that carries it. */
  readonly expiryMarginMs: number;
}

export interface TokenCachePorts {
  readonly now: () => number;
  readonly onEvicted: (cause: EvictionCause) => void;
}

/** The two keys that a token is found by. */
export interface TokenKey {
  /** Everything but the assertion: of all users of a tenant the same for the same API. */
  readonly group: string;
  /** The assertion's. */
  readonly digest: string;
}

export interface NewEntry extends TokenKey {
  /** Key of the user for `purgeUser`. */
  readonly user: string;
  readonly token: DownstreamToken;
  /** The token's own expiry, ms since the epoch. */
  readonly tokenExpiresAt: number;
  /** Position of the exchange in time: an older answer never overwrites a newer one. */
  readonly order: number;
}

/** A token that may be served. */
export interface CachedToken extends ExchangeResult {
  /** Whether a successor should be sought while this one serves; never when none could serve longer. */
  readonly due: boolean;
}

export interface TokenCache {
  /** The token under this key, if at this time (ms since the epoch) it may still be served. */
  get(key: TokenKey, time?: number): CachedToken | undefined;
  put(entry: NewEntry): void;
  /**
   * Lets some time pass until the token is due again: half of what is left of its life. Returns the token's own
   * expiry, ms since the epoch.
   */
  postpone(key: TokenKey, time: number): number | undefined;
  /** Drops the token under this key; when a token is given, only if it is that one. */
  delete(key: TokenKey, token?: Secret): void;
  /** Drops all tokens of a user, in time proportional to that user's tokens. Returns their number. */
  purgeUser(user: string): number;
  size(): number;
  bytes(): number;
  /** Users of whom at least one token is held. */
  users(): number;
}

/** The part of an entry that no hit reads. */
interface Entry extends OfUser<Entry> {
  slot: number;
  readonly group: Group;
  readonly tokenExpiresAt: number;
  readonly bytes: number;
  readonly order: number;
}

interface Group {
  readonly key: string;
  readonly id: number;
  entries: number;
}

/** Objects, record, group and the user index around one token; measured, rounded up. */
const ENTRY_OVERHEAD_BYTES = 480;
/** Entries that one eviction may spare. A bound, so that no single insertion ever walks the whole cache. */
const MOST_SECOND_CHANCES = 16;
/** Part of a token's served life after which a successor is sought. */
const REFRESH_AFTER = 0.8;
/** Entries looked at for expiry with each insertion. */
const SWEEP_STEPS = 2;

/**
 * A hit reads one record and the token; eviction is CLOCK rather than exact LRU, for which a hit sets one flag
 * instead of moving things.
 */
export function createTokenCache(options: TokenCacheOptions, ports: TokenCachePorts): TokenCache {
  const { maxEntries, maxBytes, expiryMarginMs } = options;
  const { now, onEvicted } = ports;
  const slots = createSlots(Math.max(1, Math.min(maxEntries, Math.floor(maxBytes / ENTRY_OVERHEAD_BYTES))));
  // By slot, apart from each other, so that a hit goes to the token directly.
  const tokens: DownstreamToken[] = [];
  const entries: Entry[] = [];
  const groups = new Map<string, Group>();
  const freeGroupIds: number[] = [];
  const byUser = createUserIndex<Entry>();
  let bytes = 0;
  /** Slots that eviction and the search for expired entries look at next. */
  let hand = 0;
  let sweeper = 0;

  function slotOf({ group, digest }: TokenKey): number {
    const known = groups.get(group);
    return known === undefined ? -1 : slots.find(known.id, digest);
  }

  function groupOf(key: string): Group {
    let group = groups.get(key);
    if (group === undefined) {
      group = { key, id: freeGroupIds.pop() ?? groups.size, entries: 0 };
      groups.set(key, group);
    }
    return group;
  }

  function remove(slot: number): void {
    const entry = entries[slot];
    const lastEntry = entries.pop();
    const lastToken = tokens.pop();
    if (entry === undefined || lastEntry === undefined || lastToken === undefined) return;
    slots.remove(slot);
    if (entry !== lastEntry) {
      lastEntry.slot = slot;
      entries[slot] = lastEntry;
      tokens[slot] = lastToken;
    }
    const { group } = entry;
    bytes -= entry.bytes;
    group.entries -= 1;
    if (group.entries === 0) {
      groups.delete(group.key);
      freeGroupIds.push(group.id);
    }
    byUser.remove(entry);
  }

  function evict(slot: number, cause: EvictionCause): void {
    remove(slot);
    onEvicted(cause);
  }

  function evictOne(time: number): void {
    for (let spared = 0; ; spared += 1) {
      if (hand >= slots.size()) hand = 0;
      // Past the slot in any case: what moves into it came last, and would otherwise be the first to go.
      const slot = hand;
      hand += 1;
      const expired = slots.until(slot) <= time;
      if (expired || !slots.used(slot) || spared === MOST_SECOND_CHANCES) {
        evict(slot, expired ? "expired" : "full");
        return;
      }
      slots.setUsed(slot, false);
    }
  }

  // No caller asks again for a token whose assertion has gone, so expired entries must be looked for.
  function sweep(time: number): void {
    for (let step = 0; step < SWEEP_STEPS && slots.size() > 0; step += 1) {
      if (sweeper >= slots.size()) sweeper = 0;
      if (slots.until(sweeper) <= time) evict(sweeper, "expired");
      else sweeper += 1;
    }
  }

  return {
    get(key, time = now()) {
      const slot = slotOf(key);
      const token = slot < 0 ? undefined : tokens[slot];
      if (token === undefined) return undefined;
      if (slots.until(slot) <= time) {
        evict(slot, "expired");
        return undefined;
      }
      slots.setUsed(slot, true);
      return { token, origin: "cache", due: slots.refreshAt(slot) <= time };
    },

    put({ group: groupKey, digest, user, token, tokenExpiresAt, order }) {
      const time = now();
      sweep(time);
      const slot = slotOf({ group: groupKey, digest });
      const previous = entries[slot];
      if (previous !== undefined) {
        if (previous.order > order) return;
        remove(slot);
      }
      // The margin is for the token alone. Taking it off the assertion's life too would leave its last minutes
      // uncached, with an exchange for every single request.
      const until = Math.min(tokenExpiresAt - expiryMarginMs, token.expiresAt);
      const size = ENTRY_OVERHEAD_BYTES + user.length + token.accessToken.reveal().length;
      if (until <= time || size > maxBytes) return;
      while (slots.size() > 0 && (slots.size() >= maxEntries || bytes + size > maxBytes)) evictOne(time);
      // Where the assertion ends first, no successor could be asked for, or would serve longer.
      const assertionEndsFirst =
        token.expiresAt < tokenExpiresAt && token.expiresAt <= tokenExpiresAt - expiryMarginMs;
      const refreshAt = assertionEndsFirst ? Number.POSITIVE_INFINITY : time + (until - time) * REFRESH_AFTER;
      const group = groupOf(groupKey);
      group.entries += 1;
      const taken = slots.add(group.id, digest, until, refreshAt);
      const entry: Entry = {
        slot: taken,
        group,
        user,
        before: undefined,
        after: undefined,
        tokenExpiresAt,
        bytes: size,
        order,
      };
      byUser.add(entry);
      entries.push(entry);
      tokens.push(token);
      bytes += size;
    },

    postpone(key, time) {
      const slot = slotOf(key);
      if (slot >= 0) slots.setRefreshAt(slot, time + (slots.until(slot) - time) / 2);
      return entries[slot]?.tokenExpiresAt;
    },

    delete(key, token) {
      const slot = slotOf(key);
      const held = tokens[slot];
      if (held === undefined) return;
      if (token === undefined || token.reveal() === held.accessToken.reveal()) remove(slot);
    },

    purgeUser(user) {
      let purged = 0;
      for (let entry = byUser.first(user); entry !== undefined; entry = entry.after, purged += 1)
        remove(entry.slot);
      return purged;
    },

    size: slots.size,
    bytes: () => bytes,
    users: byUser.size,
  };
}
