/** Delegated tokens shared between the gateway's processes, sealed, and one exchange for all of them at a time. */

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { parseJsonObject } from "../../foundation/json.ts";
import { Secret } from "../../foundation/secret.ts";
import type { SharedCache } from "../../redis/connection.ts";
import { MOST_SEALED_BYTES, type SealedPlace, type Sealing } from "../../redis/sealing.ts";
import type { AcquiredToken } from "../entra/acquire.ts";
import type { SharedCacheEvent } from "../events.ts";

export interface SharedTokensOptions {
  readonly sealing: Sealing;
  readonly cache: SharedCache;
  /** How long before its own expiry a token stops being served, ms. */
  readonly expiryMarginMs: number;
  /** Longest wait for another process' exchange, ms; then this one makes its own. Default 2000. */
  readonly waitMs?: number;
  /** Life of the lock that its owner does not release, ms: longer than exchanges take. Default 3000. */
  readonly lockMs?: number;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  readonly onEvent?: (event: SharedCacheEvent) => void;
}

/** An exchange as the shared tier knows it. */
export interface SharedSubject {
  readonly assertion: Secret;
  /** End of the assertion, ms since the epoch: nobody can ask for the token after it. */
  readonly assertionExpiresAt: number;
  /** Authority, client, tenant and scopes, unambiguously. */
  readonly binding: string;
  /** The user, across assertions and scopes. */
  readonly user: string;
}

/** One exchange's place in the shared tier. Nothing here rejects for the tier's own sake, or takes long. */
export interface SharedToken {
  find(): Promise<AcquiredToken | undefined>;
  /** Runs the exchange, unless another process is at it and its token comes in time. */
  obtain(exchange: () => Promise<AcquiredToken>): Promise<AcquiredToken & { readonly shared: boolean }>;
  /** Runs the exchange whatever there is, and leaves its token in place of what was there. */
  replace(exchange: () => Promise<AcquiredToken>): Promise<AcquiredToken & { readonly shared: false }>;
}

export interface SharedTokens {
  /** @param endingAfter A token that ends at or before this does not do. Ms since the epoch. */
  of(subject: SharedSubject, endingAfter?: number): SharedToken;
  /** Drops the token of this place if it is the refused one. Best effort, in the background. */
  forget(subject: SharedSubject, refused: Secret): void;
  /** From now on no process takes a token of this user from here that was asked for before. Best effort. */
  purgeUser(subject: SharedSubject): void;
  available(): boolean;
  /** Waits for what is being written, then disconnects. */
  close(): Promise<void>;
}

interface Kept {
  readonly token: AcquiredToken;
  /** When its exchange began, ms since the epoch. */
  readonly askedAt: number;
  readonly place: SealedPlace;
  readonly sealed: Buffer;
}

const DEFAULT_WAIT_MS = 2_000;
const DEFAULT_LOCK_MS = 3_000;
const FIRST_POLL_MS = 15;
const LONGEST_POLL_MS = 120;
/** Past the longest life of a token that Entra issues, which is 28 hours. */
const PURGE_MEMORY_MS = 29 * 3_600_000;

/** The braces make a cluster keep what belongs together on one node, and so in order. */
const valueName = (place: SealedPlace) => `obo:{${place.name}}:token`;
const lockName = (place: SealedPlace) => `obo:{${place.name}}:lock`;
const purgeName = (user: string) => `obo:{${user}}:purged`;

export function createSharedTokens(options: SharedTokensOptions): SharedTokens {
  const { sealing, cache, expiryMarginMs, now = Date.now, onEvent = () => {} } = options;
  const { waitMs = DEFAULT_WAIT_MS, lockMs = DEFAULT_LOCK_MS } = options;
  const pending = new Set<Promise<unknown>>();

  /** Nobody waits for these but `close`. */
  function inBackground(work: Promise<unknown>): void {
    const settled: Promise<unknown> = work
      .catch(() => onEvent({ type: "shared_failed", reason: "unexpected" }))
      .finally(() => pending.delete(settled));
    pending.add(settled);
  }

  async function purgedAt(user: string): Promise<number> {
    const marks = await Promise.all(sealing.userNames(user).map((name) => cache.read(purgeName(name))));
    // What cannot be read might forbid: then nothing is taken from here.
    return Math.max(...marks.map((mark) => (mark === null ? 0 : Number(mark ?? Number.POSITIVE_INFINITY))));
  }

  async function keptAt(place: SealedPlace): Promise<Kept | undefined> {
    const sealed = await cache.read(valueName(place));
    if (sealed === undefined || sealed === null) return undefined;
    const content = parseContent(place.open(sealed));
    if (content === undefined) onEvent({ type: "shared_unreadable" });
    return content && { ...content, place, sealed };
  }

  function of(subject: SharedSubject, endingAfter = 0): SharedToken {
    const { assertion, assertionExpiresAt, binding, user } = subject;
    const places = sealing.places(assertion, binding);
    const [home] = places;

    async function find(): Promise<AcquiredToken | undefined> {
      const [purged, ...kept] = await Promise.all([purgedAt(user), ...places.map(keptAt)]);
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
      const text = JSON.stringify({ t: token.accessToken.reveal(), e: token.expiresAt, a: askedAt });
      const sealed = home.seal(text);
      if (lifeMs > 0 && sealed.length <= MOST_SEALED_BYTES)
        await cache.write(valueName(home), sealed, lifeMs);
    }

    const replace: SharedToken["replace"] = async (exchange) => {
      const askedAt = now();
      const token = await exchange();
      inBackground(put(token, askedAt));
      return { ...token, shared: false };
    };

    async function asOwner(owner: string, exchange: () => Promise<AcquiredToken>): Promise<AcquiredToken> {
      const release = () => cache.removeIf(lockName(home), owner);
      const askedAt = now();
      try {
        const token = await exchange();
        // Released after the token is there, so that who finds the lock gone and no token knows that it failed.
        inBackground(put(token, askedAt).then(release));
        return token;
      } catch (error) {
        inBackground(release());
        throw error;
      }
    }

    /** Somebody else's token, or undefined when its owner failed, died or takes too long. */
    async function awaitOther(): Promise<AcquiredToken | undefined> {
      onEvent({ type: "shared_awaited" });
      const deadline = performance.now() + waitMs;
      for (let pauseMs = FIRST_POLL_MS; performance.now() < deadline; pauseMs *= 1.5) {
        await sleep(Math.min(pauseMs, LONGEST_POLL_MS) * (0.5 + Math.random()));
        // Sent in this order, and answered so: a lock seen gone means that its token would be seen.
        const [taken, found] = await Promise.all([cache.isTaken(lockName(home)), find()]);
        if (found !== undefined || taken !== true) return found;
      }
      return undefined;
    }

    return {
      find,
      replace,

      async obtain(exchange) {
        const owner = randomUUID();
        // Asked again with the lock: between the first look and now its former owner may have finished.
        const [taken, found] = await Promise.all([cache.take(lockName(home), owner, lockMs), find()]);
        if (found !== undefined) {
          if (taken === true) inBackground(cache.removeIf(lockName(home), owner));
          return { ...found, shared: true };
        }
        if (taken === true) return { ...(await asOwner(owner, exchange)), shared: false };
        const others = taken === false ? await awaitOther() : undefined;
        if (others !== undefined) return { ...others, shared: true };
        return replace(exchange);
      },
    };
  }

  async function forget({ assertion, binding }: SharedSubject, refused: Secret): Promise<void> {
    const kept = await Promise.all(sealing.places(assertion, binding).map(keptAt));
    for (const one of kept) {
      if (one?.token.accessToken.reveal() === refused.reveal())
        await cache.removeIf(valueName(one.place), one.sealed);
    }
  }

  return {
    of,
    forget: (subject, refused) => inBackground(forget(subject, refused)),
    purgeUser({ user }) {
      const [name] = sealing.userNames(user);
      inBackground(cache.write(purgeName(name), String(now()), PURGE_MEMORY_MS));
    },
    available: () => cache.available(),
    async close() {
      await Promise.all(pending);
      cache.close();
    },
  };
}

/** The place of every exchange where there is no shared tier. */
export const notShared: SharedToken = {
  find: async () => undefined,
  obtain: async (exchange) => ({ ...(await exchange()), shared: false }),
  replace: async (exchange) => ({ ...(await exchange()), shared: false }),
};

function parseContent(text: string | undefined): Pick<Kept, "token" | "askedAt"> | undefined {
  const { t, e, a } = (text === undefined ? undefined : parseJsonObject(text)) ?? {};
  if (typeof t !== "string" || typeof e !== "number" || typeof a !== "number") return undefined;
  return { token: { accessToken: new Secret(t), expiresAt: e }, askedAt: a };
}
