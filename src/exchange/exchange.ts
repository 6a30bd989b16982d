/** Exchanges a user assertion for a delegated token of a downstream API, by way of the token cache. */

import type { ClientCredential } from "../credential/contract.ts";
import { GatewayError } from "../errors.ts";
import type { Fetch } from "../foundation/bounded-fetch.ts";
import { type BudgetOptions, createBudget, type Exhausted, type Owner } from "../foundation/budget.ts";
import type { OpenRedis } from "../redis/contract.ts";
import { canonicalClaims, createKeyMaker, type KeyMaker } from "./cache/keys.ts";
import { createSharedTokens } from "./cache/shared-tokens.ts";
import { createTokenCache, type TokenCacheOptions } from "./cache/token-cache.ts";
import type {
  ClockDrift,
  ExchangeEvent,
  ExchangeRequest,
  ExchangeResult,
  ForgetRequest,
  OpenTokenExchange,
} from "./contract.ts";
import { createAcquire, createTokenResponses } from "./entra/acquire.ts";
import { type ConsentOptions, createConsentUris } from "./entra/consent.ts";
import { createMsalWire, loadMsal, type SendGrant } from "./entra/msal.ts";
import { createFailureDomains, type FailureDomains } from "./failure-domains.ts";
import { createFlight, createSingleFlight } from "./flight.ts";
import { createRefreshAhead } from "./refresh.ts";

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
  /** Milliseconds for one request to Entra; left out, all that is left of `timeoutMs`. */
  readonly attemptTimeoutMs?: number;
  readonly cache: TokenCacheOptions;
  /** The Redis that processes share; without it each caches for itself. Its opener closes it. */
  readonly redis?: OpenRedis | undefined;
  /** How long a refusal that concerns the user is answered from memory, ms; 0 asks each time. */
  readonly refusalMemoryMs: number;
  /** Exchanges under way at once, and the parts of them that one user and one client may hold. */
  readonly budget: BudgetOptions;
  /** Azure region whose own token endpoint is to be used: `westeurope`. */
  readonly regionalAuthority?: string;
  readonly consent?: ConsentOptions;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  readonly onEvent?: (event: ExchangeEvent) => void;
}

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
): OpenTokenExchange {
  const { now = Date.now, onEvent = () => {}, redis, timeoutMs, attemptTimeoutMs = timeoutMs } = options;
  const keyMaker = createKeyMaker(options.authorityHost, options.clientId);
  const cache = createTokenCache(options.cache, {
    now,
    onEvicted: (cause) => onEvent({ type: "evicted", cause }),
  });
  const shared =
    redis &&
    createSharedTokens({
      ...redis,
      expiryMarginMs: options.cache.expiryMarginMs,
      exchangeTimeoutMs: timeoutMs,
      now,
      onEvent,
    });
  const domains = createFailureDomains({ refusalMs: options.refusalMemoryMs, now });
  const clockDrift = createClockDrift({ now, onEvent });
  const acquire = createAcquire(
    { ...options, timeoutMs, attemptTimeoutMs },
    {
      send,
      responses: createTokenResponses({
        homeTenantId: options.homeTenantId,
        ...createConsentUris(options),
        now,
      }),
      domains,
      clockDrift,
      now,
      onEvent,
      forgetUser: ({ keys, tenantId }, { assertion, scopes }) => {
        onEvent({ type: "purged", tenantId, tokens: cache.purgeUser(keys.user) });
        shared?.purgeUser(keyMaker.shared(assertion, scopes));
      },
    },
  );
  const fly = createFlight({ keyMaker, cache, shared, domains, acquire, now, onEvent });
  const board = createBoarding(options, { keyMaker, domains, fly, onEvent });
  const refreshAhead = createRefreshAhead(
    { maxConcurrent: Math.max(1, Math.floor(options.budget.total * REFRESH_SHARE)) },
    { exchange: async (request, endingAfter) => board(request, undefined, endingAfter).result, onEvent },
  );

  function recall(request: ExchangeRequest): ExchangeResult | undefined {
    const { assertion, scopes, claims } = request;
    if (claims !== undefined) return undefined;
    const place = { group: keyMaker.group(assertion, scopes), digest: assertion.digest };
    const time = now();
    const cached = cache.get(place, time);
    if (cached === undefined) return undefined;
    onEvent(HIT);
    if (cached.due) {
      const endingAfter = cache.postpone(place, time);
      if (endingAfter !== undefined) refreshAhead(request, endingAfter);
    }
    return cached;
  }

  function forget({ assertion, scopes, refused }: ForgetRequest): void {
    cache.delete({ group: keyMaker.group(assertion, scopes), digest: assertion.digest }, refused);
    if (refused !== undefined && assertion.token !== undefined)
      shared?.forget(assertion.token, keyMaker.shared(assertion, scopes), refused);
  }

  return {
    recall,

    async exchange(request) {
      const cached = request.recalled === true ? undefined : recall(request);
      if (cached !== undefined) return cached;
      onEvent(MISS);
      request.signal?.throwIfAborted();
      assertExchangeable(request, options, now());
      const claims = request.claims === undefined ? undefined : canonicalClaims(request.claims);
      const { joined, result } = board(request, claims);
      if (joined) onEvent(JOINED);
      const { token, origin, tokenRequest } = await result;
      return { token, origin: joined ? "flight" : origin, tokenRequest };
    },

    async grantOffline(request) {
      assertExchangeable(request, options, now());
      const { result } = board({ ...request, isOffline: true }, undefined);
      const { refreshToken } = await result;
      if (refreshToken === undefined) throw notOffline();
      return refreshToken;
    },

    forget,

    clockDriftMs: clockDrift.ms,
    cached: { entries: cache.size, bytes: cache.bytes, users: cache.users },
    async warmUp() {
      await loadMsal();
    },
    close: async () => shared?.settled(),
  };
}

/** The tenant becomes a path segment of the address that gets the assertion and the gateway's proof. */
const TENANT_ID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i;
/**
 * Refuses an exchange that must not be requested at all.
 *
 * @throws {GatewayError} `tenant_not_onboarded`, or `token_rejected` for an assertion that is over.
 */
export function assertExchangeable(
  { assertion: { tenantId, expiresAt } }: Pick<ExchangeRequest, "assertion">,
  { allowedTenants }: Pick<TokenExchangeOptions, "allowedTenants">,
  now: number,
): void {
  if (!TENANT_ID.test(tenantId) || !isAllowed(tenantId, allowedTenants)) {
    throw new GatewayError("tenant_not_onboarded", {
      detail: "The user's organisation has not been set up for this application.",
      reason: "tenant_not_allowed",
    });
  }
  // Entra grants no leeway on `exp`, and a token that it granted could not be used past it.
  if (expiresAt <= now) {
    throw new GatewayError("token_rejected", {
      detail: "The access token has expired; acquire a new one.",
      reason: "assertion_expired",
    });
  }
}

function isAllowed(tenantId: string, allowed: readonly string[] | "*"): boolean {
  return allowed === "*" || allowed.some((tenant) => tenant.toLowerCase() === tenantId.toLowerCase());
}

interface BoardingPorts {
  readonly keyMaker: KeyMaker;
  readonly domains: Pick<FailureDomains, "recallEnded">;
  readonly fly: ReturnType<typeof createFlight>;
  readonly onEvent: (event: ExchangeEvent) => void;
}

/** Concurrent requests for one token share one exchange, and a caller holds a share of those that are under way. */
function createBoarding(
  { clientId: gateway, budget: bounds }: Pick<TokenExchangeOptions, "clientId" | "budget">,
  { keyMaker, domains, fly, onEvent }: BoardingPorts,
) {
  const flights = createSingleFlight<ExchangeResult>();
  const budget = createBudget(bounds);
  /** Two delegations never begin with the same refresh token, so each request for one is a flight of its own. */
  let offline = 0;

  function take(owner: Owner): void {
    const bound = budget.take(owner);
    if (bound === undefined) return;
    onEvent({ type: "share_exhausted", bound });
    throw exhausted(bound);
  }

  /**
   * Joins the exchange that is under way, or starts it, if its user, its client and the process may hold one more.
   *
   * @param claims The request's claims in canonical spelling, for keys. Entra gets them as the API wrote them.
   */
  return (asked: ExchangeRequest, claims: string | undefined, endingAfter?: number) => {
    // The keys stand for the scopes as they are now, so later changes of the array must not reach Entra.
    const { clientId = gateway, assertion, signal } = asked;
    const request = { ...asked, scopes: [...asked.scopes] };
    const keys = keyMaker.of(assertion, asked.scopes);
    const subject = {
      keys,
      tenantId: assertion.tenantId,
      claims,
      assertionExpiresAt: assertion.expiresAt,
    };
    const ended = domains.recallEnded(subject);
    if (ended !== undefined) {
      onEvent({ type: "held_back", tenantId: assertion.tenantId, code: ended.code });
      throw ended;
    }
    const flightKey = `${keys.token}${asked.isOffline === true ? `\noffline ${++offline}` : ""}${claims === undefined ? "" : `\n${claims}`}`;
    const start = () => {
      const owner = { user: keys.user, client: `${assertion.tenantId} ${clientId}` };
      take(owner);
      return fly(request, subject, endingAfter).finally(() => budget.give(owner));
    };
    return flights.board(flightKey, start, signal);
  };
}

/** Entra leaves it out where the registration may not have `offline_access`. */
function notOffline(): GatewayError<"downstream_misconfigured"> {
  return new GatewayError("downstream_misconfigured", {
    detail: "The identity provider gives the gateway no refresh token, which a delegation needs.",
    reason: "refresh_token_absent",
  });
}

function exhausted(bound: Exhausted): GatewayError<"overloaded" | "rate_limited"> {
  if (bound === "process")
    return new GatewayError("overloaded", {
      detail: "The gateway has too many token exchanges under way.",
      reason: "exchanges",
      retryAfterSeconds: 1,
    });
  return new GatewayError("rate_limited", {
    detail: `This ${bound === "user" ? "user" : "client"} has too many token exchanges under way.`,
    reason: bound === "user" ? "exchanges_of_user" : "exchanges_of_client",
    retryAfterSeconds: 1,
  });
}

/** Answers of which the middle one counts, so that one odd Date, as of a cache on the way, changes nothing. */
const SAMPLES = 5;
/** A change that is worth an event. The field counts whole seconds, so less means nothing. */
const NOTABLE_CHANGE_MS = 1_000;

/** By the Date field of Entra's answers (RFC 9110 §6.6.1). */
export function createClockDrift({
  now,
  onEvent,
}: {
  readonly now: () => number;
  readonly onEvent: (event: ExchangeEvent) => void;
}): ClockDrift {
  const samples: number[] = [];
  let drift: number | undefined;
  let reported = 0;

  return {
    observe(headers, sentAt) {
      const date = Date.parse(headers.get("date") ?? "");
      if (Number.isNaN(date)) return;
      // Half of a second was cut off on average, and the answer was under way for half of the time, or so.
      samples.push(Math.round((sentAt + now()) / 2 - (date + 500)));
      if (samples.length > SAMPLES) samples.shift();
      drift = samples.toSorted((one, other) => one - other)[samples.length >> 1] ?? 0;
      if (Math.abs(drift - reported) < NOTABLE_CHANGE_MS) return;
      reported = drift;
      onEvent({ type: "clock_drift", driftMs: drift });
    },
    ms: () => drift,
  };
}
