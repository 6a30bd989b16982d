/** Remembers refusals for exactly those exchanges that they speak for, so that no other user waits. */

import { GatewayError } from "../errors.ts";
import { createBoundedMap } from "../foundation/bounded-map.ts";
import type { ExchangeKeys } from "./cache/keys.ts";
import type { RefusalCode } from "./entra/codes.ts";
import type { Refusal } from "./entra/refusals.ts";
import { createTenantThrottle } from "./tenant-throttle.ts";

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
  /** Entra answered a request that was sent at that time (ms since the epoch), and limited nothing. */
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

export function createFailureDomains({ refusalMs, now }: FailureDomainOptions): FailureDomains {
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
      switch (domain) {
        case "request":
          if (claims === undefined) remember(requests, keys.token, error, refusalMs);
          break;
        case "session":
          // What ended stays ended for this assertion; a newer one has another key.
          if (refusalMs > 0 && Number.isFinite(assertionExpiresAt))
            remember(ended, keys.assertion, withClaims(error, claims), assertionExpiresAt - now());
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
          break;
        case "none":
          break;
      }
    },

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
