/** Remembers refusals for exactly those exchanges that they speak for, so that no other user waits. */

import { GatewayError } from "../errors.ts";
import { createBoundedMap } from "../foundation/bounded-map.ts";
import type { ExchangeKeys } from "./cache/keys.ts";
import type { RefusalCode } from "./entra/codes.ts";
import type { Refusal } from "./entra/refusals.ts";

/** An exchange as the domains that it belongs to. */
export interface ExchangeSubject {
  readonly keys: ExchangeKeys;
  readonly tenantId: string;
  /** Claims request in its canonical spelling. */
  readonly claims: string | undefined;
  /** End of the assertion, ms since the epoch. */
  readonly assertionExpiresAt: number;
}

export interface FailureDomainOptions {
  /** How long a user-level refusal stands for the same assertion, ms; 0 asks anew each time. */
  readonly refusalMs: number;
  readonly now: () => number;
}

export interface FailureDomains {
  /** The refusal that stands until the user signs in again, because the session behind the assertion has ended. */
  recallEnded(subject: Pick<ExchangeSubject, "keys">): GatewayError | undefined;
  /** The refusal that would meet this exchange again right now, if there is one. */
  recall(subject: ExchangeSubject): GatewayError | undefined;
  /** The same for a proof of the gateway's own, by its fingerprint. */
  recallCredential(subject: ExchangeSubject, fingerprint: string): GatewayError | undefined;
  learn(refusal: Refusal, subject: ExchangeSubject, fingerprint: string): void;
  /** The time by which refusals stand; unlike the host's clock it never goes back. */
  time(): number;
  /** Entra answered a request that was sent at that `time()`, and limited nothing. */
  answered(subject: ExchangeSubject, sentAt: number): void;
}

interface Memory {
  readonly until: number;
  readonly error: GatewayError;
}

/** Longest time that a user is held back, ms, whatever the authority asked for. */
const LONGEST_HOLD_MS = 300_000;
/** A refused credential is tried again soon: a federated credential works seconds after it was registered. */
const CREDENTIAL_HOLD_MS = 1_000;
/**
 * Memories of each kind. The oldest go first; forgetting one costs a request to the authority and no more. Apart, so
 * that the refusals of one user's many assertions do not push out the holds of others.
 */
const MOST_MEMORIES = 10_000;

export function createFailureDomains({ refusalMs, now: hostNow }: FailureDomainOptions): FailureDomains {
  // A host's clock that is set back must not make a hold of seconds one of minutes.
  const now = createSteadyClock(hostNow);
  const bound = { maxEntries: MOST_MEMORIES };
  const ended = createBoundedMap<Memory>(bound);
  const requests = createBoundedMap<Memory>(bound);
  const holds = createBoundedMap<Memory>(bound);
  const tenants = createTenantThrottle(now);

  function remember(memories: typeof holds, key: string, error: GatewayError, ms: number): void {
    if (ms <= 0) return;
    const until = now() + ms;
    memories.set(key, { until, error }, until);
  }
  const hold = (key: string, error: GatewayError, ms: number) =>
    remember(holds, key, error, Math.min(ms, LONGEST_HOLD_MS));

  return {
    recallEnded: ({ keys }) => ended.get(keys.assertion, now())?.error,

    recall(subject) {
      const { keys, tenantId, claims } = subject;
      const time = now();
      const memory =
        holds.get(`user ${keys.user}`, time) ??
        holds.get(`scopes ${keys.userAndScopes}`, time) ??
        (claims === undefined ? requests.get(keys.token, time) : undefined);
      if (memory !== undefined) return again(memory, time);
      const heldUntil = tenants.heldUntil(tenantId);
      return heldUntil === undefined ? undefined : tenantHeld(heldUntil - time);
    },

    recallCredential({ tenantId }, fingerprint) {
      const time = now();
      const memory = holds.get(`credential ${fingerprint} ${tenantId}`, time);
      return memory === undefined ? undefined : again(memory, time);
    },

    learn({ error, domain }, subject, fingerprint) {
      const { keys, tenantId, claims, assertionExpiresAt } = subject;
      const holdMs = (error.retryAfterSeconds ?? 0) * 1000;
      // Nothing is kept of "none": the next exchange may well succeed.
      switch (domain) {
        case "request":
          if (claims === undefined) remember(requests, keys.token, error, refusalMs);
          break;
        case "session":
          // What ended stays ended for this assertion; a newer one has another key.
          if (refusalMs > 0 && Number.isFinite(assertionExpiresAt))
            remember(ended, keys.assertion, withClaims(error, claims), assertionExpiresAt - hostNow());
          break;
        case "scopes":
          hold(`scopes ${keys.userAndScopes}`, error, holdMs);
          break;
        case "user":
        case "tenant":
          hold(`user ${keys.user}`, error, holdMs);
          tenants.throttled(tenantId, keys.user, Math.min(holdMs, LONGEST_HOLD_MS), domain === "tenant");
          break;
        case "credential":
          hold(`credential ${fingerprint} ${tenantId}`, error, CREDENTIAL_HOLD_MS);
      }
    },

    time: now,

    answered({ keys, tenantId }, sentAt) {
      tenants.answered(tenantId, keys.user, sentAt);
    },
  };
}

/** The claims of the API, where Entra named none: the caller needs some for its next sign-in. */
function withClaims(error: GatewayError<RefusalCode>, claims: string | undefined): GatewayError {
  if (claims === undefined || error.claims !== undefined) return error;
  const { detail, reason, diagnostics } = error;
  return new GatewayError("claims_challenged", {
    detail,
    claims,
    ...(reason !== undefined && { reason }),
    ...(diagnostics !== undefined && { diagnostics }),
    cause: error,
  });
}

/** The remembered refusal with the rest of its time. */
function again({ error, until }: Memory, now: number): GatewayError {
  if (error.retryAfterSeconds === undefined) return error;
  return new GatewayError(error.code, {
    detail: error.detail,
    reason: "held_back",
    retryAfterSeconds: Math.max(1, Math.ceil((until - now) / 1000)),
    ...(error.diagnostics === undefined ? {} : { diagnostics: error.diagnostics }),
  });
}

function tenantHeld(ms: number): GatewayError<"authority_throttled"> {
  return new GatewayError("authority_throttled", {
    detail: "The identity provider is limiting requests of the user's organisation at the moment.",
    reason: "held_back",
    retryAfterSeconds: Math.max(1, Math.ceil(ms / 1000)),
  });
}

export interface TenantThrottle {
  /** When an exchange of this tenant may be tried, ms since the epoch; undefined for now. Lets a probe pass. */
  heldUntil(tenantId: string): number | undefined;
  /** Entra limited a request of this user. `wholeTenant` when it said that the tenant's limit was reached. */
  throttled(tenantId: string, user: string, holdMs: number, wholeTenant: boolean): void;
  /** Entra answered a request of this user that was sent at that time, and did not limit it. */
  answered(tenantId: string, user: string, sentAt: number): void;
}

interface Tenant {
  /** Users whom Entra limits, with the end of that; and users whom it answered, with the end of that memory. */
  readonly limited: Map<string, number>;
  readonly served: Map<string, number>;
  heldSince: number;
  heldUntil: number;
  nextProbe: number;
  probePauseMs: number;
}

/** Distinct users who must be limited at the same time before their number says anything about the tenant. */
const FEWEST_LIMITED = 3;
/** Share of the limited ones among the users who asked of late. */
const LIMITED_SHARE = 0.5;
/** How long a user who was answered counts as one. */
const SERVED_MS = 60_000;
/** Users who count, of each kind. */
const MOST_USERS = 64;
const FIRST_PROBE_MS = 1_000;
const LONGEST_PROBE_MS = 30_000;
const MOST_TENANTS = 1_000;

export function createTenantThrottle(now: () => number): TenantThrottle {
  const tenants = createBoundedMap<Tenant>({ maxEntries: MOST_TENANTS });

  function tenantOf(tenantId: string): Tenant {
    const known = tenants.get(tenantId, 0);
    if (known !== undefined) return known;
    const made: Tenant = {
      limited: new Map(),
      served: new Map(),
      heldSince: 0,
      heldUntil: 0,
      nextProbe: 0,
      probePauseMs: FIRST_PROBE_MS,
    };
    tenants.set(tenantId, made);
    return made;
  }

  return {
    heldUntil(tenantId) {
      const tenant = tenants.get(tenantId, 0);
      const time = now();
      if (tenant === undefined || time >= tenant.heldUntil) return undefined;
      if (time < tenant.nextProbe) return Math.min(tenant.nextProbe, tenant.heldUntil);
      tenant.nextProbe = time + tenant.probePauseMs;
      tenant.probePauseMs = Math.min(tenant.probePauseMs * 2, LONGEST_PROBE_MS);
      return undefined;
    },

    throttled(tenantId, user, holdMs, wholeTenant) {
      const tenant = tenantOf(tenantId);
      const time = now();
      note(tenant.limited, user, time + holdMs, time);
      tenant.served.delete(user);
      const limited = live(tenant.limited, time);
      const share = limited / (limited + live(tenant.served, time));
      if (!wholeTenant && (limited < FEWEST_LIMITED || share < LIMITED_SHARE)) return;
      if (time >= tenant.heldUntil) {
        tenant.heldSince = time;
        tenant.probePauseMs = FIRST_PROBE_MS * 2;
        tenant.nextProbe = time + FIRST_PROBE_MS;
      }
      tenant.heldUntil = Math.max(tenant.heldUntil, time + holdMs);
    },

    answered(tenantId, user, sentAt) {
      const time = now();
      const tenant = tenantOf(tenantId);
      note(tenant.served, user, time + SERVED_MS, time);
      tenant.limited.delete(user);
      // An answer to a request from before the hold says nothing about it.
      if (time >= tenant.heldUntil || sentAt < tenant.heldSince) return;
      tenant.heldUntil = 0;
      tenant.limited.clear();
    },
  };
}

/** Keeps a user as the latest one; those whose time is over, and past the bound the earliest, go. */
function note(users: Map<string, number>, user: string, until: number, time: number): void {
  users.delete(user);
  for (const [other, end] of users) if (end <= time) users.delete(other);
  for (const oldest of users.keys()) {
    if (users.size < MOST_USERS) break;
    users.delete(oldest);
  }
  users.set(user, until);
}

function live(users: ReadonlyMap<string, number>, time: number): number {
  let count = 0;
  for (const end of users.values()) if (end > time) count += 1;
  return count;
}

/**
 * A clock that never goes back, made of one that may be set.
 *
 * Goes on from where it was when the other clock is set back, so that what was to last for seconds does not begin anew and
 * last for as long as the clock was set back.
 *
 * @param now Milliseconds since the epoch, as the host has it.
 */
export function createSteadyClock(now: () => number): () => number {
  let latest = Number.NEGATIVE_INFINITY;
  let setBackMs = 0;
  return () => {
    const time = now() + setBackMs;
    if (time < latest) setBackMs += latest - time;
    latest = Math.max(latest, time);
    return latest;
  };
}
