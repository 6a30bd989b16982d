/** Key set: when signing keys are read, for how long they are trusted, and what a caller gets meanwhile. */

import { GatewayError } from "../errors.ts";
import type { Fetch } from "../foundation/bounded-fetch.ts";
import type { Discovered, KeySetEvent } from "./contract.ts";
import { createRefetchBudget, type RefetchTimings } from "./refetch-budget.ts";
import {
  fetchSigningKeys,
  type PublishedKeys,
  type SigningKey,
  type SigningKeySource,
  type SigningKeys,
} from "./signing-keys.ts";

/** All in ms. */
export interface KeySetTimings extends RefetchTimings {
  /** Metadata and JWKS together, connecting and bodies included. */
  readonly fetchTimeoutMs: number;
  /** Between two reads in the background while all is well. */
  readonly refreshIntervalMs: number;
  /** After a read failed, until the next in the background. */
  readonly refreshRetryMs: number;
  /** For how long keys that could not be read again are still trusted. */
  readonly lastKnownGoodMs: number;
  /** Least time from a failed read to the next. Requests meanwhile wait for that next read. */
  readonly failureBackoffMs: number;
}

/** Refresh and last known good as Entra's page on signing key rollover recommends. */
export const DEFAULT_KEY_SET_TIMINGS: KeySetTimings = {
  fetchTimeoutMs: 5_000,
  refreshIntervalMs: 3_600_000,
  refreshRetryMs: 60_000,
  unknownKeySpacingMs: 2_000,
  unknownKeyCooldownMs: 60_000,
  unknownKeyReads: 4,
  lastKnownGoodMs: 24 * 3_600_000,
  failureBackoffMs: 500,
};

/** Calls back once, `delayMs` from now, without keeping the process alive for it. Returns the cancellation. */
export type Schedule = (callback: () => void, delayMs: number) => () => void;

export interface KeySetOptions extends SigningKeySource {
  /** Label of this set in events. */
  readonly name: string;
  readonly fetch: Fetch;
  readonly now: () => number;
  readonly schedule: Schedule;
  readonly timings: KeySetTimings;
  /** Called when other keys were published than before, before anybody is served from the new ones. */
  readonly onChange: () => void;
  /** Called with what the discovery document states, before a key of that read is handed out. */
  readonly onDiscovered: (discovered: Discovered) => void;
  readonly onEvent: (event: KeySetEvent) => void;
}

export interface KeySet {
  /**
   * The keys published under this id; empty when the authority publishes none. `sender` tells clients and users apart.
   *
   * @throws {GatewayError} `key_set_unavailable` when that cannot be known.
   */
  find(keyId: string, sender: string): Promise<readonly SigningKey[]>;
  /** Reads the keys now, or joins the read that is under way. */
  refresh(): Promise<void>;
  /** Whether there are keys that may still be trusted. */
  ready(): boolean;
  /** Stops background refresh and ends a read that is under way. What is there stays usable. */
  close(): void;
}

export const scheduleTimeout: Schedule = (callback, delayMs) => {
  const timer = setTimeout(callback, delayMs).unref();
  return () => clearTimeout(timer);
};

/** Tokens with an unknown key that wait for a read which another one began: what waits is held. */
const MOST_JOINED = 256;

interface Snapshot {
  readonly keys: SigningKeys;
  readonly fingerprint: string;
  readonly readAt: number;
}

/** Nothing is read before the first `find` or `refresh`. */
export function createKeySet(options: KeySetOptions): KeySet {
  const { name, now, timings, onEvent } = options;
  const closing = new AbortController();
  let snapshot: Snapshot | undefined;
  let flight: Promise<SigningKeys> | undefined;
  let failure: { readonly error: GatewayError<"key_set_unavailable">; readonly at: number } | undefined;
  const refetches = createRefetchBudget(now, timings);
  let joined = 0;
  let cancelRefresh = () => {};

  function trusted(): SigningKeys | undefined {
    const fresh = snapshot !== undefined && now() - snapshot.readAt < timings.lastKnownGoodMs;
    return fresh ? snapshot?.keys : undefined;
  }

  // One read at a time, shared by all who want one, so an older answer can never overwrite a newer.
  function read(): Promise<SigningKeys> {
    flight ??= attempt().finally(() => {
      flight = undefined;
    });
    return flight;
  }

  async function attempt(): Promise<SigningKeys> {
    cancelRefresh();
    await backOff();
    const readAt = now();
    let published: PublishedKeys;
    try {
      published = await fetchSigningKeys(options, {
        fetch: options.fetch,
        timeoutMs: timings.fetchTimeoutMs,
        signal: closing.signal,
      });
    } catch (cause) {
      const error = unavailable(cause, timings.failureBackoffMs);
      failure = { error, at: now() };
      refreshIn(timings.refreshRetryMs);
      if (!closing.signal.aborted) onEvent({ type: "key_set_failed", keySet: name, error });
      throw error;
    }
    failure = undefined;
    refreshIn(timings.refreshIntervalMs);
    const { keys, discovered } = published;
    options.onDiscovered(discovered);
    publish({ keys, fingerprint: `${discovered.issuer}\n${fingerprintOf(keys)}`, readAt });
    return keys;
  }

  /** Waiting, rather than refusing at once, lets the first request after an outage be the one that ends it. */
  async function backOff(): Promise<void> {
    if (failure === undefined) return;
    const remaining = Math.min(failure.at + timings.failureBackoffMs - now(), timings.failureBackoffMs);
    if (remaining > 0) await new Promise<void>((resolve) => setTimeout(resolve, remaining));
  }

  function publish(next: Snapshot): void {
    const previous = snapshot;
    const changed = next.fingerprint !== previous?.fingerprint;
    snapshot = next;
    // The first keys change nothing: no token has been verified by others.
    if (changed && previous !== undefined) options.onChange();
    onEvent({ type: "key_set_refreshed", keySet: name, keys: next.keys.size, changed });
  }

  function refreshIn(delayMs: number): void {
    if (closing.signal.aborted) return;
    // A failure is kept in `failure` and reported by the event; this call has no caller.
    cancelRefresh = options.schedule(() => void read().catch(() => {}), delayMs);
  }

  async function refetchFor(keyId: string, sender: string): Promise<readonly SigningKey[]> {
    // A read that is under way answers this token, too, as long as not too many wait for it.
    const isJoined = flight !== undefined && joined < MOST_JOINED;
    if (!isJoined && !refetches.allows(keyId, sender)) {
      onEvent({ type: "key_unknown", keySet: name, refetched: false });
      // After a failed read it is not known whether the key exists, so this is not yet the caller's fault.
      if (failure !== undefined) throw unavailable(failure.error, refetches.waitMs());
      return [];
    }
    if (isJoined) joined += 1;
    const keys = await read().finally(() => {
      if (isJoined) joined -= 1;
    });
    const found = keys.get(keyId) ?? [];
    if (found.length === 0) onEvent({ type: "key_unknown", keySet: name, refetched: true });
    else if (!isJoined) refetches.found();
    return found;
  }

  return {
    async find(keyId, sender) {
      const keys = trusted();
      if (keys === undefined) return (await read()).get(keyId) ?? [];
      return keys.get(keyId) ?? (await refetchFor(keyId, sender));
    },
    async refresh() {
      await read();
    },
    ready: () => trusted() !== undefined,
    close() {
      closing.abort();
      cancelRefresh();
    },
  };
}

/** A failed read as refusal, with the time after which asking again makes sense. */
function unavailable(cause: unknown, waitMs: number): GatewayError<"key_set_unavailable"> {
  const { reason, diagnostics } = cause instanceof GatewayError ? cause : { reason: "internal" };
  return new GatewayError("key_set_unavailable", {
    detail: "The keys that access tokens are signed with cannot be read at the moment.",
    retryAfterSeconds: Math.max(1, Math.ceil(waitMs / 1000)),
    cause,
    ...(reason !== undefined && { reason }),
    ...(diagnostics !== undefined && { diagnostics }),
  });
}

/** Two sets with the same fingerprint verify the same tokens. */
function fingerprintOf(keys: SigningKeys): string {
  const lines = [...keys].flatMap(([keyId, bindings]) =>
    bindings.map(({ key, issuer }) => JSON.stringify([keyId, issuer ?? null, key.export({ format: "jwk" })])),
  );
  return lines.sort().join("\n");
}
