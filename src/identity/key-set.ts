/** Key set: when signing keys are read, for how long they are trusted, and what a caller gets meanwhile. */

import type { KeyObject } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { GatewayError } from "../errors.ts";
import type { Fetch } from "../foundation/bounded-fetch.ts";
import type { Authority, Discovered, KeySetEvent, Principal } from "./contract.ts";
import { createRefetchBudget, type RefetchTimings } from "./refetch-budget.ts";
import { tokenRejected } from "./rejection.ts";
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
    return snapshot !== undefined && now() - snapshot.readAt < timings.lastKnownGoodMs
      ? snapshot.keys
      : undefined;
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
    bindings.map(({ key, issuer }) => JSON.stringify([keyId, issuer, key.export({ format: "jwk" })])),
  );
  return lines.sort().join("\n");
}

/** Pause between two rounds of warm-up, ms. */
const WARM_UP_PAUSE_MS = 1_000;

type TokenOrigin = Pick<Principal, "tenantId" | "tokenVersion" | "clientId" | "objectId">;

export interface TenantKeysOptions
  extends Pick<KeySetOptions, "fetch" | "now" | "schedule" | "timings" | "onChange" | "onEvent"> {
  readonly authority: Authority;
  /** Tenant ids, or `*` alone for any. */
  readonly tenants: readonly string[];
}

export interface TenantKeys {
  /**
   * The key with this id, if the authority lets it sign tokens of this tenant and version.
   *
   * @throws {GatewayError} `token_rejected`, or `key_set_unavailable` when that cannot be known.
   */
  find(keyId: string, origin: TokenOrigin): Promise<KeyObject>;
  ready(): boolean;
  warmUp(signal?: AbortSignal): Promise<void>;
  close(): void;
}

/**
 * One key set for each listed tenant and token version, made when a token first needs it: an API's registration
 * decides which version its tokens have, so the other one's keys are usually never read. With `*` the documents of
 * `common` serve every tenant. Either way configuration bounds the number of sets; tokens cannot raise it.
 */
export function createTenantKeys(options: TenantKeysOptions): TenantKeys {
  const { authority } = options;
  const anyTenant = options.tenants.includes("*");
  const closing = new AbortController();
  const keySets = new Map<string, KeySet>();

  function keySetFor({ tenantId, tokenVersion }: Pick<TokenOrigin, "tenantId" | "tokenVersion">): KeySet {
    const tenant = anyTenant ? "common" : tenantId;
    const name = `${tenant} v${tokenVersion}`;
    const existing = keySets.get(name);
    if (existing !== undefined) return existing;
    const { fetch, now, schedule, timings, onChange, onEvent, authority } = options;
    const created = createKeySet({
      name,
      metadataUrl: authority.metadataUrl(tenant, tokenVersion),
      issuers: authority.issuers(anyTenant ? "{tenantid}" : tenantId, tokenVersion),
      isTrusted: (url) => authority.isTrusted(url, tenant),
      onDiscovered: (discovered) => authority.learn(tenant, tokenVersion, discovered),
      cloudInstanceName: authority.cloudInstanceName,
      fetch,
      now,
      schedule,
      timings,
      onChange,
      onEvent,
    });
    keySets.set(name, created);
    return created;
  }

  /** Version 2.0 sets of all tenants: those that there is no reason to wait with. */
  const initial = options.tenants.map((tenant) =>
    keySetFor({ tenantId: tenant.toLowerCase(), tokenVersion: "2.0" }),
  );

  // One is enough: a tenant that has been deleted must not keep the gateway from serving the others.
  const ready = () => [...keySets.values()].some((keySet) => keySet.ready());

  return {
    async find(keyId, origin) {
      // Unproven, as everything is before the signature: it only tells one sender from another.
      const sender = `${origin.clientId} ${origin.objectId}`;
      const candidates = await keySetFor(origin).find(keyId, sender);
      if (candidates.length === 0) throw tokenRejected("unknown_key");
      const allowed = candidates.find(
        ({ issuer }) => issuer === undefined || binds(authority, issuer, origin),
      );
      if (allowed === undefined) throw tokenRejected("issuer");
      return allowed.key;
    },
    ready,
    async warmUp(signal) {
      const ended = signal === undefined ? closing.signal : AbortSignal.any([signal, closing.signal]);
      for (;;) {
        ended.throwIfAborted();
        const reads = initial.map((keySet) => keySet.refresh());
        // The failures are reported as events of the key sets; what counts here is whether any read succeeded.
        await Promise.any(reads).catch(() => {});
        if (ready()) return;
        await delay(WARM_UP_PAUSE_MS, undefined, { signal: ended });
      }
    },
    close() {
      closing.abort();
      for (const keySet of keySets.values()) keySet.close();
    },
  };
}

/**
 * Keys that state an issuer may sign for that issuer alone, `{tenantid}` standing for any tenant (Entra, signing key
 * issuer). They state it in the v2 form even where they sign v1 tokens.
 */
function binds(
  authority: Authority,
  keyIssuer: string,
  { tenantId, tokenVersion }: Pick<TokenOrigin, "tenantId" | "tokenVersion">,
): boolean {
  const issuer = keyIssuer.replaceAll("{tenantid}", tenantId);
  return [...authority.issuers(tenantId, "2.0"), ...authority.issuers(tenantId, tokenVersion)].includes(
    issuer,
  );
}
