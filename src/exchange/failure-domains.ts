/** Remembers refusals for exactly those whom they speak for, so that nobody else waits. */

import { GatewayError } from "../errors.ts";
import type { RefusalCode } from "./entra/codes.ts";
import type { Refusal } from "./entra/refusals.ts";

/** An exchange as the domains that it belongs to; `createExchangeKeys` makes the strings. */
export interface ExchangeSubject {
  /** Tenant, assertion, scopes; undefined where a refusal must not be remembered, as with claims. */
  readonly request: string | undefined;
  readonly user: string;
  readonly userAndScopes: string;
  readonly tenantId: string;
}

export interface FailureDomainOptions {
  /** How long a user-level refusal stands for the same assertion, ms; 0 asks anew each time. */
  readonly refusalMs: number;
  readonly now: () => number;
}

export interface FailureDomains {
  /** The refusal that would meet this exchange again right now, if there is one. */
  recall(subject: ExchangeSubject): GatewayError | undefined;
  /** The same for a proof of the gateway's own, by its fingerprint. */
  recallCredential(subject: ExchangeSubject, fingerprint: string): GatewayError | undefined;
  learn(refusal: Refusal, subject: ExchangeSubject, fingerprint: string): void;
}

interface Memory {
  readonly until: number;
  readonly error: GatewayError<RefusalCode>;
  readonly user: string;
}

/** Longest time that anybody is held back, ms, whatever the authority asked for. */
const LONGEST_HOLD_MS = 300_000;
/** A refused credential is tried again soon: a federated credential works seconds after it was registered. */
const CREDENTIAL_HOLD_MS = 1_000;
/** Oldest memories go first; forgetting one costs a request to the authority and no more. */
const MOST_MEMORIES = 10_000;

export function createFailureDomains({ refusalMs, now }: FailureDomainOptions): FailureDomains {
  const memories = new Map<string, Memory>();

  function remember(key: string, error: GatewayError<RefusalCode>, ms: number, user: string): void {
    if (ms <= 0) return;
    memories.delete(key);
    memories.set(key, { until: now() + Math.min(ms, LONGEST_HOLD_MS), error, user });
    for (const oldest of memories.keys()) {
      if (memories.size <= MOST_MEMORIES) break;
      memories.delete(oldest);
    }
  }

  function memoryOf(key: string): Memory | undefined {
    const memory = memories.get(key);
    if (memory === undefined || memory.until > now()) return memory;
    memories.delete(key);
    return undefined;
  }

  return {
    recall({ request, userAndScopes, tenantId }) {
      const keys = [
        `tenant ${tenantId}`,
        `scopes ${userAndScopes}`,
        ...(request === undefined ? [] : [`request ${request}`]),
      ];
      for (const key of keys) {
        const memory = memoryOf(key);
        if (memory !== undefined) return again(memory, now());
      }
      return undefined;
    },

    recallCredential({ tenantId }, fingerprint) {
      const memory = memoryOf(`credential ${fingerprint} ${tenantId}`);
      return memory === undefined ? undefined : again(memory, now());
    },

    learn({ error, domain }, { request, user, userAndScopes, tenantId }, fingerprint) {
      const holdMs = (error.retryAfterSeconds ?? 0) * 1000;
      switch (domain) {
        case "request":
          if (request !== undefined) remember(`request ${request}`, error, refusalMs, user);
          break;
        case "user_and_scopes":
          remember(`scopes ${userAndScopes}`, error, holdMs, user);
          break;
        case "tenant":
          remember(`tenant ${tenantId}`, error, holdMs, user);
          break;
        case "tenant_if_repeated": {
          // A 429 does not say whose limit was reached. It is taken for this user's until a second user of the
          // tenant meets one as well: so one busy client cannot shut out its whole organisation.
          const earlier = memoryOf(`throttled ${tenantId}`);
          if (earlier !== undefined && earlier.user !== user)
            remember(`tenant ${tenantId}`, error, holdMs, user);
          remember(`throttled ${tenantId}`, error, holdMs, user);
          remember(`scopes ${userAndScopes}`, error, holdMs, user);
          break;
        }
        case "credential":
          remember(`credential ${fingerprint} ${tenantId}`, error, CREDENTIAL_HOLD_MS, user);
          break;
        case "nobody":
          break;
      }
    },
  };
}

/** The remembered refusal with what is left of its time. */
function again({ error, until }: Memory, now: number): GatewayError {
  if (error.retryAfterSeconds === undefined) return error;
  return new GatewayError(error.code, {
    detail: error.detail,
    reason: "held_back",
    retryAfterSeconds: Math.max(1, Math.ceil((until - now) / 1000)),
    ...(error.diagnostics === undefined ? {} : { diagnostics: error.diagnostics }),
  });
}
