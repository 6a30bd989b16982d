/** The port of this room: a user assertion and scopes go in, a delegated token for a downstream API comes out. */

import type { UserAssertion } from "../identity/principal.ts";
import type { Secret } from "../secret.ts";

export interface ExchangeRequest {
  readonly assertion: UserAssertion;
  /** Fully qualified scopes of one resource, from configuration; never from a request. */
  readonly scopes: readonly string[];
  /** Claims request as decoded JSON text. When given, no cached token is good enough. */
  readonly claims?: string;
  /** Sent to Entra as `client-request-id`. */
  readonly correlationId: string;
  /** Ends this caller's wait. The exchange itself goes on for others who share it. */
  readonly signal?: AbortSignal;
}

/** A delegated access token. Opaque to the gateway: only its resource may look inside. */
export interface DownstreamToken {
  readonly accessToken: Secret;
  /** End of use, ms since the epoch: the earlier of the token's own expiry and the user assertion's. */
  readonly expiresAt: number;
}

/** Where a token came from: this process's cache, somebody else's flight, or a request of our own to Entra. */
export type TokenOrigin = "cache" | "flight" | "authority";

export interface ExchangeResult {
  readonly token: DownstreamToken;
  readonly origin: TokenOrigin;
}

export interface TokenExchange {
  /** Rejects with a GatewayError whose code says who must act; never with anything of MSAL's. */
  exchange(request: ExchangeRequest): Promise<ExchangeResult>;
  /** Drops the cached token of this assertion and these scopes, after the downstream API refused it. */
  forget(request: Pick<ExchangeRequest, "assertion" | "scopes">): void;
}
