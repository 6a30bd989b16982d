/** What an exchange tells telemetry. Tenants and codes only: no token, no user. */

import type { GatewayErrorCode } from "../errors.ts";
import type { EvictionCause } from "./token-cache.ts";

export type ExchangeEvent =
  /** Answered from the cache. */
  | { readonly type: "hit" }
  /** Not in the cache, or asked for with claims. */
  | { readonly type: "miss" }
  /** Waits for an exchange that another caller started. */
  | { readonly type: "joined" }
  /** Entra granted a token; the time covers every attempt, ms. */
  | { readonly type: "exchanged"; readonly tenantId: string; readonly durationMs: number }
  /** The exchange failed on the way to Entra, there or on the way back; `aadsts` are Entra's own numbers. */
  | {
      readonly type: "refused";
      readonly tenantId: string;
      readonly durationMs: number;
      readonly code: GatewayErrorCode;
      readonly reason: string | undefined;
      readonly aadsts: readonly number[];
    }
  /** Answered without asking Entra, because of an earlier refusal that speaks for this exchange too. */
  | { readonly type: "held_back"; readonly tenantId: string; readonly code: GatewayErrorCode }
  /** One more attempt inside the same exchange. */
  | { readonly type: "retried"; readonly tenantId: string; readonly cause: "transient" | "credential" }
  | { readonly type: "evicted"; readonly cause: EvictionCause }
  /** A user's sessions ended, or the account did: this many of the user's tokens were dropped. */
  | { readonly type: "purged"; readonly tenantId: string; readonly tokens: number };
