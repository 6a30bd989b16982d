/** Types of the exchange room: its port, what it is asked and answers, and the events that telemetry receives. */

import type { CredentialSource } from "../credential/contract.ts";
import type { GatewayError, GatewayErrorCode } from "../errors.ts";
import type { FetchedHeaders } from "../foundation/bounded-fetch.ts";
import type { Secret } from "../foundation/secret.ts";
import type { UserAssertion } from "../identity/contract.ts";
import type { RedisEvent } from "../redis/contract.ts";

/**
 * The gateway itself, where no user is acted for: the grant is RFC 6749 §4.4, and the token holds the gateway's own
 * permissions in the tenant.
 */
export interface ApplicationSubject extends Omit<UserAssertion, "token"> {
  readonly token: undefined;
}

/**
 * A user in whose absence a job acts: the delegation's handle stands in the place of the token, so that tokens are cached
 * and sealed under it, and refresh tokens are redeemed instead (RFC 6749 §6).
 */
export interface DelegatedSubject extends UserAssertion {
  readonly renewal: Renewal;
}

/** How a delegation gets a token in its user's absence. */
export interface Renewal {
  /**
   * Redeems the refresh tokens that the delegation holds until one serves, and keeps the one that Entra returns with it.
   *
   * @param redeem Rejects with `delegation_ended` where Entra says that this refresh token is over.
   */
  renew<Granted extends RenewedGrant>(redeem: (refreshToken: Secret) => Promise<Granted>): Promise<Granted>;
}

/** A grant, as far as a renewal looks at it. */
export interface RenewedGrant {
  readonly refreshToken?: Secret | undefined;
}

/** For whom a token is requested. */
export type TokenSubject = UserAssertion | ApplicationSubject | DelegatedSubject;

export interface ExchangeRequest {
  readonly assertion: TokenSubject;
  /** Fully qualified scopes of one resource, from configuration; never from a request. */
  readonly scopes: readonly string[];
  /** Claims request as decoded JSON text. When given, no cached token is good enough. */
  readonly claims?: string;
  /** Sent to Entra as `client-request-id`. */
  readonly correlationId: string;
  /** By which interface other than the public one the token was asked for: an audit has to tell who holds it. */
  readonly via?: string;
  /** Application id of the client that the user calls with; an exchange counts against its share. */
  readonly clientId?: string | undefined;
  /** `recall` has just found nothing for this request, so the cache is not read again. */
  readonly recalled?: boolean;
  /** Ends this caller's wait. The exchange itself goes on for others who share it. */
  readonly signal?: AbortSignal;
  /** Redeemed in the place of the assertion. */
  readonly refreshToken?: Secret;
  /** Entra's refresh token is wanted besides, so no token that is at hand is good enough. */
  readonly isOffline?: boolean;
  /** Where the requests to Entra that this exchange leads to become spans. */
  readonly trace?: AuthorityTrace;
}

/** A delegated access token. Opaque to the gateway: only its resource may look inside. */
export interface DownstreamToken {
  readonly accessToken: Secret;
  /** End of use, ms since the epoch: the earlier of the token's own expiry and the user assertion's. */
  readonly expiresAt: number;
  /** Scopes that Entra says it granted; absent where it did not say, or where the list is too long to keep. */
  readonly grantedScopes?: readonly string[] | undefined;
}

/** Where a token came from: this process's cache, the tier shared with others, another caller's flight, or Entra. */
export type TokenOrigin = "cache" | "shared" | "flight" | "authority";

export interface ExchangeResult {
  readonly token: DownstreamToken;
  readonly origin: TokenOrigin;
  /** The token request, where there was one. */
  readonly tokenRequest?: TokenRequestFacts | undefined;
  /** Only where `isOffline` asked for it. */
  readonly refreshToken?: Secret | undefined;
}

export interface ForgetRequest extends Pick<ExchangeRequest, "assertion" | "scopes"> {
  /**
   * The token that was refused. Given, a fresher one that took its place meanwhile stays, and the shared tier drops
   * it too.
   */
  readonly refused?: Secret;
}

export interface TokenExchange {
  /**
   * The token that is cached for this request, at once: most requests need no more, and no promise. `undefined` where
   * an exchange is called for.
   */
  recall(request: ExchangeRequest): ExchangeResult | undefined;
  /** Rejects with a GatewayError whose code says who must act; never with an error of MSAL's. */
  exchange(request: ExchangeRequest): Promise<ExchangeResult>;
  /** Drops the cached token of this assertion and these scopes, after the downstream API refused it. */
  forget(request: ForgetRequest): void;
  /**
   * How far this host's clock is ahead of Entra's, ms (negative: behind), by the `Date` of its latest answers;
   * undefined until there was one.
   */
  clockDriftMs(): number | undefined;
}

/** The difference between this host's clock and Entra's. */
export interface ClockDrift {
  /** @param sentAt When the request was sent, by this host's clock; ms since the epoch. */
  observe(headers: FetchedHeaders, sentAt: number): void;
  /** Ms that this host's clock is ahead (negative: behind); undefined before the first answer. */
  ms(): number | undefined;
}

/** What a delegation begins with. */
export interface OfflineGrants {
  /** Exchanges a user's token for a refresh token. Rejects with a GatewayError, as `exchange` does. */
  grantOffline(request: ExchangeRequest): Promise<Secret>;
}

/** The exchange as the composition root holds it. */
export interface OpenTokenExchange extends TokenExchange, OfflineGrants {
  readonly cached: { entries(): number; bytes(): number; users(): number };
  /** Loads what the first exchange needs. */
  warmUp(): Promise<void>;
  /** Waits for what is being written to the shared tier. */
  close(): Promise<void>;
}

/** By which a token request can be found again in Entra's logs: the one that Entra answered last. Nothing secret. */
export interface TokenRequestFacts {
  /** Entra's `x-ms-request-id`, its own word for a trace id. */
  readonly requestId: string | undefined;
  /** The credential that authenticated the gateway. */
  readonly source: CredentialSource;
  /** Counts the contents that the source has had since the start, from 1. */
  readonly generation?: number | undefined;
}

/** The span of one token request. */
export interface AuthoritySpan {
  ended(outcome: { readonly status?: number | undefined; readonly code?: string | undefined }): void;
}

/** The trace that token requests are part of. */
export interface AuthorityTrace {
  tokenRequest(endpoint: string): AuthoritySpan;
}

/** One exchange with Entra, for the audit. */
export interface ExchangeFacts {
  readonly correlationId: string;
  /** On behalf of a user who calls, of one who delegated to a job, or for the gateway itself. */
  readonly grant: "on_behalf_of" | "refresh_token" | "client_credentials";
  readonly tenantId: string;
  /** `oid` of the user; absent where the gateway acts for itself. */
  readonly objectId: string | undefined;
  /** First 8 hex digits of the SHA-256 of the user's token, and of the delegated one. */
  readonly assertion: string | undefined;
  readonly token?: string;
  readonly scopes: readonly string[];
  /** By which interface other than the public one it was asked for. */
  readonly via?: string | undefined;
  /** Whether a claims challenge of the API led to it. */
  readonly challenged: boolean;
  /** Whether it replaces a token before its end. */
  readonly ahead: boolean;
  /** End of the delegated token, ms since the epoch. */
  readonly expiresAt?: number;
  /** Absent where Entra was not reached. */
  readonly tokenRequest: TokenRequestFacts | undefined;
}

/** Why a token left the cache before it was replaced. */
export type EvictionCause = "full" | "expired";

/** Ids and codes only: no token, no name. */
export type ExchangeEvent =
  /** Answered from the cache. */
  | { readonly type: "hit" }
  /** Not in the cache, or requested with claims. */
  | { readonly type: "miss" }
  /** Waits for an exchange that another caller started. */
  | { readonly type: "joined" }
  /** Entra granted a token; the time covers every attempt, ms. */
  | {
      readonly type: "exchanged";
      readonly tenantId: string;
      readonly durationMs: number;
      /** Scopes that Entra says it granted: what a route needs may have gone from them since. */
      readonly grantedScopes: readonly string[] | undefined;
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
      /** Entra's ids of the refusal, and what else of it may be logged. */
      readonly diagnostics: GatewayError["diagnostics"];
      readonly facts: ExchangeFacts;
    }
  /** Answered without asking Entra, because of an earlier refusal that speaks for this exchange too. */
  | { readonly type: "held_back"; readonly tenantId: string; readonly code: GatewayErrorCode }
  /** Not begun, since a user, a client or all together hold as many exchanges as they may. */
  | { readonly type: "share_exhausted"; readonly bound: "user" | "client" | "process" }
  /** One more attempt inside the same exchange. */
  | { readonly type: "retried"; readonly tenantId: string; readonly cause: "transient" | "credential" }
  | { readonly type: "evicted"; readonly cause: EvictionCause }
  /** A user's sessions ended, or the account did: this many of the user's tokens were dropped. */
  | { readonly type: "purged"; readonly tenantId: string; readonly tokens: number }
  /** A cached token in use is being replaced before its end, while callers are served on. */
  | { readonly type: "refreshed_ahead"; readonly tenantId: string }
  /** This host's clock and Entra's differ by another amount than last reported; ms, positive when ours is ahead. */
  | { readonly type: "clock_drift"; readonly driftMs: number }
  | SharedCacheEvent;

/** Events of the tier that processes share. Its loss costs exchanges with Entra and nothing else. */
export type SharedCacheEvent =
  /** Another process' token served. */
  | { readonly type: "shared_hit" }
  | { readonly type: "shared_miss" }
  /** Another process is at the same exchange; this one waits for its token. */
  | { readonly type: "shared_awaited" }
  /** A value that does not open: tampered with, or sealed by other keys. Treated as absent. */
  | { readonly type: "shared_unreadable" }
  | RedisEvent;
