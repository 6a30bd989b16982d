/** Delegated tokens shared between the gateway's processes, sealed, and one exchange for all of them at a time. */

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { parseJsonObject } from "../../foundation/json.ts";
import { Secret } from "../../foundation/secret.ts";
import type { OpenRedis, RedisStore, SealedPlace } from "../../redis/contract.ts";
import { MOST_SEALED_BYTES } from "../../redis/sealing.ts";
import type { SharedCacheEvent } from "../contract.ts";
import type { AcquiredToken } from "../entra/acquire.ts";
import type { SharedKeys } from "./keys.ts";

export interface SharedTokensOptions extends Pick<OpenRedis, "store" | "sealing"> {
  /** How long before its own expiry a token stops being served, ms. */
  readonly expiryMarginMs: number;
  /** Milliseconds for one exchange as a whole; waiting for another process takes at most a quarter of it. */
  readonly exchangeTimeoutMs: number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly onEvent: (event: SharedCacheEvent) => void;
}

/** An exchange as the shared tier knows it. */
export interface SharedSubject extends SharedKeys {
  readonly assertion: Secret;
  /** End of the assertion, ms since the epoch: no caller can ask for the token after it. */
  readonly assertionExpiresAt: number;
  /** A token that ends at or before this does not do. Ms since the epoch. */
  readonly endingAfter?: number | undefined;
}

/**
 * One exchange's place in the shared tier. It never rejects for the tier's sake, and asks Redis no further before Entra
 * once an answer did not come in time. Beyond that it takes the bounded wait for another process' exchange.
 */
export interface SharedToken {
  find(): Promise<AcquiredToken | undefined>;
  /** Runs the exchange, unless another process is at it and its token comes in time. */
  obtain(exchange: () => Promise<AcquiredToken>): Promise<AcquiredToken & { readonly shared: boolean }>;
  /** Runs the exchange whatever the tier holds, and leaves its token in place of that. */
  replace(exchange: () => Promise<AcquiredToken>): Promise<AcquiredToken & { readonly shared: false }>;
}

export interface SharedTokens {
  of(subject: SharedSubject): SharedToken;
  /** Drops the token of this place if it is the refused one. Best effort, in the background. */
  forget(assertion: Secret, keys: SharedKeys, refused: Secret): void;
  /** From now on no process takes a token of this user from here that was requested before. Best effort. */
  purgeUser(keys: SharedKeys): void;
  /** Resolves when what is being written has been. */
  settled(): Promise<void>;
}

interface Kept {
  readonly token: AcquiredToken;
  /** When its exchange began, ms since the epoch. */
  readonly askedAt: number;
  readonly place: SealedPlace;
  readonly sealed: Buffer;
}

/** Longest wait for another process' exchange; then this one makes its own. */
const LONGEST_WAIT_MS = 2_000;
/** Life of a lock that its owner does not release: longer than exchanges take. */
const LOCK_MS = 3_000;
const FIRST_POLL_MS = 15;
const LONGEST_POLL_MS = 120;
/** Past the longest life of a token that Entra issues, which is 28 hours. */
const PURGE_MEMORY_MS = 29 * 3_600_000;

/** The braces make a cluster keep what belongs together on one node, and so in order. */
const valueName = (place: SealedPlace) => `obo:{${place.name}}:token`;
const lockName = (place: SealedPlace) => `obo:{${place.name}}:lock`;
const purgeName = (user: string) => `obo:{${user}}:purged`;

export function createSharedTokens(options: SharedTokensOptions): SharedTokens {
  const { sealing, store, now, onEvent } = options;
  const pending = new Set<Promise<unknown>>();

  /** Only `settled` waits for these. */
  function inBackground(work: Promise<unknown>): void {
    const settled: Promise<unknown> = work
      .catch(() => onEvent({ type: "shared_failed", reason: "unexpected" }))
      .finally(() => pending.delete(settled));
    pending.add(settled);
  }

  async function purgedAt(user: string, read: RedisStore["read"]): Promise<number> {
    const marks = await Promise.all(sealing.userNames(user).map((name) => read(purgeName(name))));
    // A mark that cannot be read might forbid. It is no number, after which no token counts as requested.
    return Math.max(...marks.map((mark) => (mark === null ? 0 : Number(mark))));
  }

  async function keptAt(place: SealedPlace, read: RedisStore["read"]): Promise<Kept | undefined> {
    const sealed = await read(valueName(place));
    if (sealed === undefined || sealed === null) return undefined;
    const content = parseContent(place.open(sealed));
    if (content === undefined) onEvent({ type: "shared_unreadable" });
    return content && { ...content, place, sealed };
  }

  const tier: Tier = { ...options, inBackground, purgedAt, keptAt };

  async function forget(assertion: Secret, { binding }: SharedKeys, refused: Secret): Promise<void> {
    const kept = await Promise.all(
      sealing.places(assertion, binding).map((place) => keptAt(place, store.read)),
    );
    for (const one of kept) {
      if (one?.token.accessToken.reveal() === refused.reveal())
        await store.removeIf(valueName(one.place), one.sealed);
    }
  }

  return {
    of: (subject) => sharedTokenOf(subject, tier),
    forget: (assertion, keys, refused) => inBackground(forget(assertion, keys, refused)),
    purgeUser({ user }) {
      const [name] = sealing.userNames(user);
      inBackground(store.write(purgeName(name), String(now()), PURGE_MEMORY_MS));
    },
    async settled() {
      await Promise.all(pending);
    },
  };
}

/** What the places of all exchanges have in common. */
interface Tier extends SharedTokensOptions {
  readonly inBackground: (work: Promise<unknown>) => void;
  readonly purgedAt: (user: string, read: RedisStore["read"]) => Promise<number>;
  readonly keptAt: (place: SealedPlace, read: RedisStore["read"]) => Promise<Kept | undefined>;
}

/** Where one exchange's token is kept: sealed under the first key, found under any. */
function placeOf(subject: SharedSubject, tier: Tier) {
  const { sealing, store, expiryMarginMs, now, purgedAt, keptAt } = tier;
  const { assertion, assertionExpiresAt, binding, user, endingAfter = 0 } = subject;
  const places = sealing.places(assertion, binding);
  const [home] = places;
  /** Redis has let a question of this exchange run out of time: it costs the exchange no second one. */
  let unanswered = false;

  const read: RedisStore["read"] = async (name) => {
    const value = await store.read(name);
    if (value === undefined) unanswered = true;
    return value;
  };

  async function find(): Promise<AcquiredToken | undefined> {
    const [purged, ...kept] = await Promise.all([
      purgedAt(user, read),
      ...places.map((place) => keptAt(place, read)),
    ]);
    const usable = kept.find(
      (one) =>
        one !== undefined &&
        // Not "later than": a mark that is no number compares with nothing.
        one.askedAt > purged &&
        one.token.expiresAt > Math.max(now() + expiryMarginMs, endingAfter),
    );
    return usable?.token;
  }

  async function put(token: AcquiredToken, askedAt: number): Promise<void> {
    const lifeMs = Math.min(token.expiresAt - expiryMarginMs, assertionExpiresAt) - now();
    const { accessToken, expiresAt, grantedScopes: s } = token;
    const text = JSON.stringify({ t: accessToken.reveal(), e: expiresAt, a: askedAt, s });
    const sealed = home.seal(text);
    if (lifeMs > 0 && sealed.length <= MOST_SEALED_BYTES) await store.write(valueName(home), sealed, lifeMs);
  }

  return { find, put, lock: lockName(home), hasFailed: () => unanswered };
}

function sharedTokenOf(subject: SharedSubject, tier: Tier): SharedToken {
  const { store, now, onEvent, inBackground } = tier;
  const waitMs = Math.min(LONGEST_WAIT_MS, tier.exchangeTimeoutMs / 4);
  const { find, put, lock, hasFailed } = placeOf(subject, tier);

  const replace: SharedToken["replace"] = async (exchange) => {
    const askedAt = now();
    const token = await exchange();
    inBackground(put(token, askedAt));
    return { ...token, shared: false };
  };

  async function asOwner(owner: string, exchange: () => Promise<AcquiredToken>): Promise<AcquiredToken> {
    const release = () => store.removeIf(lock, owner);
    const askedAt = now();
    try {
      const token = await exchange();
      // Released after the token is there, so that a lock that is gone without a token means failure.
      inBackground(put(token, askedAt).then(release));
      return token;
    } catch (error) {
      inBackground(release());
      throw error;
    }
  }

  /** The other process' token, or undefined when that process failed, died or takes too long. */
  async function awaitOther(): Promise<AcquiredToken | undefined> {
    onEvent({ type: "shared_awaited" });
    const deadline = performance.now() + waitMs;
    for (let pauseMs = FIRST_POLL_MS; performance.now() < deadline; pauseMs *= 1.5) {
      await sleep(Math.min(pauseMs, LONGEST_POLL_MS) * (0.5 + Math.random()));
      // Sent in this order, and answered so: a lock seen gone means that its token would be seen.
      const [taken, found] = await Promise.all([store.isTaken(lock), find()]);
      if (found !== undefined || taken !== true) return found;
    }
    return undefined;
  }

  return {
    find,
    replace,

    async obtain(exchange) {
      if (hasFailed()) return replace(exchange);
      const owner = randomUUID();
      // Asked again with the lock: between the first look and now its former owner may have finished.
      const [taken, found] = await Promise.all([store.take(lock, owner, LOCK_MS), find()]);
      if (found !== undefined) {
        if (taken === true) inBackground(store.removeIf(lock, owner));
        return { ...found, shared: true };
      }
      if (taken === true) return { ...(await asOwner(owner, exchange)), shared: false };
      const others = taken === false ? await awaitOther() : undefined;
      if (others !== undefined) return { ...others, shared: true };
      return replace(exchange);
    },
  };
}

function parseContent(text: string | undefined): Pick<Kept, "token" | "askedAt"> | undefined {
  const { t, e, a, s } = (text === undefined ? undefined : parseJsonObject(text)) ?? {};
  if (typeof t !== "string" || typeof e !== "number" || typeof a !== "number") return undefined;
  const grantedScopes = Array.isArray(s) && s.every((scope) => typeof scope === "string") ? s : undefined;
  return { token: { accessToken: new Secret(t), expiresAt: e, grantedScopes }, askedAt: a };
}
