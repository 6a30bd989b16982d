/** The port of this room: a user assertion and scopes go in, a delegated token for a downstream API comes out. */

import type { ClientCredential } from "../credential/contract.ts";
import { GatewayError } from "../errors.ts";
import type { Fetch } from "../foundation/bounded-fetch.ts";
import type { Secret } from "../foundation/secret.ts";
import { createExchangeKeys } from "./cache/keys.ts";
import type { SharedTokens } from "./cache/shared-tokens.ts";
import { createTokenCache, type TokenCacheOptions } from "./cache/token-cache.ts";
import { createAcquire } from "./entra/acquire.ts";
import { type ConsentOptions, createConsentUris } from "./entra/consent.ts";
import { createJudge } from "./entra/judge.ts";
import { createMsalWire, type SendGrant } from "./entra/msal.ts";
import type { ExchangeEvent } from "./events.ts";
import type { ExchangeEvidence, ExchangeTrace } from "./evidence.ts";
import { createFailureDomains } from "./failure-domains.ts";
import { createFlight } from "./flight.ts";
import type { AnyAssertion } from "./no-assertion.ts";
import { createRefreshAhead } from "./refresh.ts";
import { assertExchangeable } from "./request-policy.ts";
import { createSingleFlight } from "./single-flight.ts";

export interface ExchangeRequest {
  readonly assertion: AnyAssertion;
  /** Fully qualified scopes of one resource, from configuration; never from a request. */
  readonly scopes: readonly string[];
  /** Claims request as decoded JSON text. When given, no cached token is good enough. */
  readonly claims?: string;
  /** Sent to Entra as `client-request-id`. */
  readonly correlationId: string;
  /** Ends this caller's wait. The exchange itself goes on for others who share it. */
  readonly signal?: AbortSignal;
  /** Where the requests to Entra that this one leads to become spans. */
  readonly trace?: ExchangeTrace;
}

/** A delegated access token. Opaque to the gateway: only its resource may look inside. */
export interface DownstreamToken {
  readonly accessToken: Secret;
  /** End of use, ms since the epoch: the earlier of the token's own expiry and the user assertion's. */
  readonly expiresAt: number;
}

/** Where a token came from: this process's cache, the tier shared with others, somebody's flight, or Entra. */
export type TokenOrigin = "cache" | "shared" | "flight" | "authority";

export interface ExchangeResult {
  readonly token: DownstreamToken;
  readonly origin: TokenOrigin;
  /** Of the token request, where there was one. */
  readonly evidence?: ExchangeEvidence | undefined;
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
  /** Rejects with a GatewayError whose code says who must act; never with anything of MSAL's. */
  exchange(request: ExchangeRequest): Promise<ExchangeResult>;
  /** Drops the cached token of this assertion and these scopes, after the downstream API refused it. */
  forget(request: ForgetRequest): void;
}

export interface TokenExchangeOptions {
  /** Application (client) id of the gateway. */
  readonly clientId: string;
  /** Origin of the authority with a trailing slash: `https://login.microsoftonline.com/`. */
  readonly authorityHost: string;
  readonly tokenEndpoint: (tenantId: string) => string;
  readonly authorizeEndpoint: (tenantId: string) => string;
  /** Tenant of the gateway's own registration. */
  readonly homeTenantId: string;
  /** Tenants, the home tenant included, whose users' tokens may be exchanged; `*` for any. */
  readonly allowedTenants: readonly string[] | "*";
  readonly credential: ClientCredential;
  readonly fetch: Fetch;
  /** Milliseconds for an exchange as a whole: the gateway's proof, every attempt and the pauses between. */
  readonly timeoutMs: number;
  /** Milliseconds for one request to Entra. Default: whatever is left of `timeoutMs`. */
  readonly attemptTimeoutMs?: number;
  readonly cache: TokenCacheOptions;
  /** The tier that processes share; without it each caches for itself. Whoever brings it closes it. */
  readonly shared?: SharedTokens;
  /** How long a refusal that concerns the user is answered from memory, ms. Default 3000; 0 asks each time. */
  readonly refusalMemoryMs?: number;
  /** Most exchanges under way at once; past it, callers get `overloaded`. Default 1000. */
  readonly maxConcurrent?: number;
  /** Azure region whose own token endpoint is to be used: `westeurope`. */
  readonly regionalAuthority?: string;
  readonly consent?: ConsentOptions;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  readonly onEvent?: (event: ExchangeEvent) => void;
}

/** A token exchange that says how full its cache is. */
export interface CachingTokenExchange extends TokenExchange {
  readonly cached: { entries(): number; bytes(): number; users(): number };
}

const DEFAULT_REFUSAL_MEMORY_MS = 3_000;
const DEFAULT_MAX_CONCURRENT = 1_000;
const HIT: ExchangeEvent = { type: "hit" };
const MISS: ExchangeEvent = { type: "miss" };
const JOINED: ExchangeEvent = { type: "joined" };
/** Share of all exchanges that may be refreshes ahead of need. */
const REFRESH_SHARE = 0.1;

/**
 * Cache, then single flight, then the shared tier, then failure domains, then the wire. A caller whose signal fires
 * stops waiting with `signal.reason`, as `fetch` does; every other rejection is a GatewayError.
 *
 * @param send The wire; another one than MSAL's only where there is no network to be had.
 */
export function createTokenExchange(
  options: TokenExchangeOptions,
  send: SendGrant = createMsalWire(options),
): CachingTokenExchange {
  const { now = Date.now, onEvent = () => {}, maxConcurrent = DEFAULT_MAX_CONCURRENT, shared } = options;
  const { timeoutMs, attemptTimeoutMs = timeoutMs, refusalMemoryMs = DEFAULT_REFUSAL_MEMORY_MS } = options;
  const keys = createExchangeKeys(options.authorityHost, options.clientId);
  const cache = createTokenCache(options.cache, {
    now,
    onEvicted: (cause) => onEvent({ type: "evicted", cause }),
  });
  const flights = createSingleFlight<ExchangeResult>();
  const domains = createFailureDomains({ refusalMs: refusalMemoryMs, now });
  const acquire = createAcquire(
    { ...options, timeoutMs, attemptTimeoutMs },
    {
      send,
      judge: createJudge({ homeTenantId: options.homeTenantId, ...createConsentUris(options), now }),
      domains,
      now,
      onEvent,
      forgetUser: ({ user, tenantId }, { assertion, scopes }) => {
        onEvent({ type: "purged", tenantId, tokens: cache.purgeUser(user) });
        const place = keys.shared(assertion, scopes);
        if (place !== undefined) shared?.purgeUser(place);
      },
    },
  );
  const fly = createFlight({ keys, cache, shared, domains, acquire, now, onEvent });
  const refreshAhead = createRefreshAhead(
    { maxConcurrent: Math.max(1, Math.floor(maxConcurrent * REFRESH_SHARE)) },
    {
      exchange: (key, request, endingAfter) =>
        flights.board(key, () => fly(key, request, endingAfter)).result,
      onEvent,
    },
  );

  function recall(request: ExchangeRequest): ExchangeResult | undefined {
    const { assertion, scopes, claims } = request;
    if (claims !== undefined) return undefined;
    const place = { group: keys.group(assertion, scopes), digest: assertion.digest };
    const time = now();
    const cached = cache.get(place, time);
    if (cached === undefined) return undefined;
    onEvent(HIT);
    if (cached.due) {
      const endingAfter = cache.postpone(place, time);
      if (endingAfter !== undefined) refreshAhead(keys.token(assertion, scopes), request, endingAfter);
    }
    return cached;
  }

  return {
    recall,

    async exchange(request) {
      const { assertion, scopes, claims, signal } = request;
      const cached = recall(request);
      if (cached !== undefined) return cached;
      onEvent(MISS);
      signal?.throwIfAborted();
      assertExchangeable(request, options, now());
      const key = keys.token(assertion, scopes);
      const flightKey = claims === undefined ? key : `${key}\n${claims}`;
      if (flights.size() >= maxConcurrent && !flights.has(flightKey)) throw overloaded();
      const { joined, result } = flights.board(flightKey, () => fly(key, request), signal);
      if (joined) onEvent(JOINED);
      const { token, origin, evidence } = await result;
      return { token, origin: joined ? "flight" : origin, evidence };
    },

    forget({ assertion, scopes, refused }) {
      cache.delete({ group: keys.group(assertion, scopes), digest: assertion.digest }, refused);
      const place = keys.shared(assertion, scopes);
      if (refused !== undefined && place !== undefined) shared?.forget(place, refused);
    },

    cached: { entries: cache.size, bytes: cache.bytes, users: cache.users },
  };
}

function overloaded(): GatewayError<"overloaded"> {
  return new GatewayError("overloaded", {
    detail: "The gateway has too many token exchanges under way.",
    reason: "exchanges",
    retryAfterSeconds: 1,
  });
}
