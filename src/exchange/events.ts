/** What an exchange tells telemetry. Ids and codes only: no token, no name. */

import type { GatewayError, GatewayErrorCode } from "../errors.ts";
import type { RedisEvent } from "../redis/contract.ts";
import type { EvictionCause } from "./cache/token-cache.ts";
import type { ExchangeEvidence } from "./evidence.ts";

/** One exchange with Entra, for the audit. */
export interface ExchangeFacts {
  readonly correlationId: string;
  /** On behalf of a user, or for the gateway itself. */
  readonly grant: "on_behalf_of" | "client_credentials";
  readonly tenantId: string;
  /** `oid` of the user; absent where the gateway acts for itself. */
  readonly objectId: string | undefined;
  /** First 8 hex digits of the SHA-256 of the user's token, and of the delegated one. */
  readonly assertion: string | undefined;
  readonly token?: string;
  readonly scopes: readonly string[];
  /** Whether a claims challenge of the API led to it. */
  readonly challenged: boolean;
  /** Whether it replaces a token before its end. */
  readonly ahead: boolean;
  /** End of the delegated token, ms since the epoch. */
  readonly expiresAt?: number;
  /** Absent where Entra was not reached. */
  readonly evidence: ExchangeEvidence | undefined;
}

export type ExchangeEvent =
  /** Answered from the cache. */
  | { readonly type: "hit" }
  /** Not in the cache, or asked for with claims. */
  | { readonly type: "miss" }
  /** Waits for an exchange that another caller started. */
  | { readonly type: "joined" }
  /** Entra granted a token; the time covers every attempt, ms. */
  | {
      readonly type: "exchanged";
      readonly tenantId: string;
      readonly durationMs: number;
      readonly facts: ExchangeFacts;
    }
  /** The exchange failed on the way to Entra, there or on the way back; `aadsts` are Entra's own numbers. */
  | {
      readonly type: "refused";
      readonly tenantId: string;
      readonly durationMs: number;
      readonly code: GatewayErrorCode;
      readonly reason: string | undefined;
      readonly aadsts: readonly number[];
      /** Entra's ids of the refusal, and whatever else it said that may be logged. */
      readonly diagnostics: GatewayError["diagnostics"];
      readonly facts: ExchangeFacts;
    }
  /** Answered without asking Entra, because of an earlier refusal that speaks for this exchange too. */
  | { readonly type: "held_back"; readonly tenantId: string; readonly code: GatewayErrorCode }
  /** One more attempt inside the same exchange. */
  | { readonly type: "retried"; readonly tenantId: string; readonly cause: "transient" | "credential" }
  | { readonly type: "evicted"; readonly cause: EvictionCause }
  /** A user's sessions ended, or the account did: this many of the user's tokens were dropped. */
  | { readonly type: "purged"; readonly tenantId: string; readonly tokens: number }
  /** A cached token in use is being replaced before its end, while callers are served on. */
  | { readonly type: "refreshed_ahead"; readonly tenantId: string }
  | SharedCacheEvent;

/** What the tier that processes share tells. Its loss costs exchanges with Entra and nothing else. */
export type SharedCacheEvent =
  /** Another process' token served. */
  | { readonly type: "shared_hit" }
  | { readonly type: "shared_miss" }
  /** Another process is at the same exchange; this one waits for its token. */
  | { readonly type: "shared_awaited" }
  /** A value that does not open or says nothing: tampered with, or sealed by other keys. Treated as absent. */
  | { readonly type: "shared_unreadable" }
  | RedisEvent;
