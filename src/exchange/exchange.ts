/** The port of this room: a user assertion and scopes go in, a delegated token for a downstream API comes out. */

import type { Fetch } from "../bounded-fetch.ts";
import type { ClientCredential } from "../credential/credential.ts";
import { GatewayError } from "../errors.ts";
import type { Secret } from "../secret.ts";
import { createAcquire } from "./acquire.ts";
import { type ConsentOptions, createConsentUris } from "./consent.ts";
import type { ExchangeEvent } from "./events.ts";
import { createFailureDomains } from "./failure-domains.ts";
import { createJudge } from "./judge.ts";
import { createExchangeKeys } from "./keys.ts";
import { createMsalWire, type SendGrant } from "./msal.ts";
import type { AnyAssertion } from "./no-assertion.ts";
import { assertExchangeable } from "./request-policy.ts";
import { createSingleFlight } from "./single-flight.ts";
import { createTokenCache, type TokenCacheOptions } from "./token-cache.ts";

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

/**
 * Cache, then single flight, then failure domains, then the wire. A caller whose signal fires stops waiting with
 * `signal.reason`, as `fetch` does; every other rejection is a GatewayError.
 *
 * @param send The wire; another one than MSAL's only where there is no network to be had.
 */
export function createTokenExchange(
  options: TokenExchangeOptions,
  send: SendGrant = createMsalWire(options),
): CachingTokenExchange {
  const { now = Date.now, onEvent = () => {}, maxConcurrent = DEFAULT_MAX_CONCURRENT } = options;
  const { timeoutMs, attemptTimeoutMs = timeoutMs, refusalMemoryMs = DEFAULT_REFUSAL_MEMORY_MS } = options;
  const keys = createExchangeKeys(options.authorityHost, options.clientId);
  const cache = createTokenCache(options.cache, {
    now,
    onEvicted: (cause) => onEvent({ type: "evicted", cause }),
  });
  const flights = createSingleFlight<DownstreamToken>();
  const domains = createFailureDomains({ refusalMs: refusalMemoryMs, now });
  const acquire = createAcquire(
    { ...options, timeoutMs, attemptTimeoutMs },
    {
      send,
      judge: createJudge({ homeTenantId: options.homeTenantId, ...createConsentUris(options), now }),
      domains,
      now,
      onEvent,
      forgetUser: ({ user, tenantId }) =>
        onEvent({ type: "purged", tenantId, tokens: cache.purgeUser(user) }),
    },
  );
  let departures = 0;

  // Runs once for all who wait, in the first one's asynchronous context. Here a tier shared between processes would
  // be asked, and told.
  async function fly(key: string, asked: ExchangeRequest): Promise<DownstreamToken> {
    // The key stands for the scopes as they are now, so what is sent may not follow later changes of the array.
    const request = { ...asked, scopes: [...asked.scopes] };
    const { assertion, scopes, claims } = request;
    const { tenantId } = assertion;
    const user = keys.user(assertion);
    const userAndScopes = keys.userAndScopes(assertion, scopes);
    const order = ++departures;
    const startedAt = now();
    const subject = { request: claims === undefined ? key : undefined, user, userAndScopes, tenantId };
    const held = domains.recall(subject);
    if (held !== undefined) {
      onEvent({ type: "held_back", tenantId, code: held.code });
      throw held;
    }
    try {
      const { accessToken, expiresAt } = await acquire(request, subject);
      const token = { accessToken, expiresAt: Math.min(expiresAt, assertion.expiresAt) };
      cache.put({ key, user, token, tokenExpiresAt: expiresAt, order });
      onEvent({ type: "exchanged", tenantId, durationMs: now() - startedAt });
      return token;
    } catch (error) {
      if (error instanceof GatewayError) onEvent(refusedEvent(error, tenantId, now() - startedAt));
      throw error;
    }
  }

  return {
    async exchange(request) {
      const { assertion, scopes, claims, signal } = request;
      const key = keys.token(assertion, scopes);
      const cached = claims === undefined ? cache.get(key) : undefined;
      if (cached !== undefined) {
        onEvent(HIT);
        return { token: cached, origin: "cache" };
      }
      onEvent(MISS);
      signal?.throwIfAborted();
      assertExchangeable(request, options, now());
      const flightKey = claims === undefined ? key : `${key}\n${claims}`;
      if (flights.size() >= maxConcurrent && !flights.has(flightKey)) throw overloaded();
      const { joined, result } = flights.board(flightKey, () => fly(key, request), signal);
      if (joined) onEvent(JOINED);
      return { token: await result, origin: joined ? "flight" : "authority" };
    },

    forget({ assertion, scopes }) {
      cache.delete(keys.token(assertion, scopes));
    },

    cached: { entries: cache.size, bytes: cache.bytes, users: cache.users },
  };
}

function refusedEvent(error: GatewayError, tenantId: string, durationMs: number): ExchangeEvent {
  const { error_codes: numbers } = error.diagnostics ?? {};
  const aadsts = Array.isArray(numbers) ? numbers : [];
  return { type: "refused", tenantId, durationMs, code: error.code, reason: error.reason, aadsts };
}

function overloaded(): GatewayError<"overloaded"> {
  return new GatewayError("overloaded", {
    detail: "The gateway has too many token exchanges under way.",
    reason: "exchanges",
    retryAfterSeconds: 1,
  });
}
