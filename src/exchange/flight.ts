/** One exchange on behalf of all callers who wait for it: the shared tier, then remembered refusals, then Entra. */

import { GatewayError } from "../errors.ts";
import type { Secret } from "../foundation/secret.ts";
import { loopTurns } from "../foundation/turns.ts";
import type { KeyMaker } from "./cache/keys.ts";
import type { SharedToken, SharedTokens } from "./cache/shared-tokens.ts";
import type { TokenCache } from "./cache/token-cache.ts";
import type {
  DownstreamToken,
  ExchangeEvent,
  ExchangeFacts,
  ExchangeRequest,
  ExchangeResult,
  TokenRequestFacts,
  TokenSubject,
} from "./contract.ts";
import type { Acquire, AcquiredToken } from "./entra/acquire.ts";
import type { ExchangeSubject, FailureDomains } from "./failure-domains.ts";

export interface FlightPorts {
  readonly keyMaker: KeyMaker;
  readonly cache: TokenCache;
  readonly shared: SharedTokens | undefined;
  readonly domains: FailureDomains;
  readonly acquire: Acquire;
  readonly now: () => number;
  readonly onEvent: (event: ExchangeEvent) => void;
}

/**
 * @param subject The request's keys, by which tokens are cached and refusals remembered.
 * @param endingAfter A token that ends at or before this does not do: it is the one to be replaced. Ms since the epoch.
 */
export type Fly = (
  request: ExchangeRequest,
  subject: ExchangeSubject,
  endingAfter?: number,
) => Promise<ExchangeResult>;

/** The place of every exchange where there is no shared tier. */
const notShared: SharedToken = {
  find: async () => undefined,
  obtain: async (exchange) => ({ ...(await exchange()), shared: false }),
  replace: async (exchange) => ({ ...(await exchange()), shared: false }),
};

const SHARED_HIT: ExchangeEvent = { type: "shared_hit" };
const SHARED_MISS: ExchangeEvent = { type: "shared_miss" };

/**
 * Time that one exchange takes of the event loop, ms, nearly all of it in turns to come: its connection to Entra, and the answer.
 * The turn that begins the exchange gives as much of its own time away. Otherwise one turn begins several, and a hundred of one
 * user's, which began within a few turns, are connected and answered within a few as well.
 */
const EXCHANGE_MS = 1.5;

export function createFlight(ports: FlightPorts): Fly {
  const { cache, domains, acquire, now, onEvent } = ports;
  let departures = 0;

  return async (request, subject, endingAfter) => {
    const { assertion, claims } = request;
    const { tenantId } = assertion;
    const { group, user } = subject.keys;
    const departure = ++departures;
    const startedAt = now();
    const begunAt = performance.now();
    const place = placeOf(request, endingAfter, ports);
    const renewal = "renewal" in assertion ? assertion.renewal : undefined;

    function keep({ accessToken, expiresAt, grantedScopes }: AcquiredToken, order: number): DownstreamToken {
      const token = { accessToken, expiresAt: Math.min(expiresAt, assertion.expiresAt), grantedScopes };
      cache.put({ group, digest: assertion.digest, user, token, tokenExpiresAt: expiresAt, order });
      return token;
    }

    function takeOver(token: AcquiredToken): ExchangeResult {
      onEvent(SHARED_HIT);
      // A token from Redis does not replace one that this process fetched, unless a longer lifetime was requested.
      return { token: keep(token, endingAfter === undefined ? 0 : departure), origin: "shared" };
    }

    if (claims === undefined && place !== notShared && request.isOffline !== true) {
      // Before any refusal is recalled: what is cached serves on while Entra refuses.
      const found = await place.find();
      if (found !== undefined) return takeOver(found);
      onEvent(SHARED_MISS);
    }
    const held = domains.recall(subject);
    if (held !== undefined) {
      onEvent({ type: "held_back", tenantId, code: held.code });
      throw held;
    }
    let tokenRequest: TokenRequestFacts | undefined;
    const facts = () => factsOf(request, { ahead: endingAfter !== undefined, tokenRequest });
    try {
      const redeem = (refreshToken?: Secret) => {
        loopTurns.spend(EXCHANGE_MS);
        return acquire({ ...request, ...(refreshToken && { refreshToken }) }, subject, begunAt, (latest) => {
          tokenRequest = latest;
        });
      };
      const ask = () => (renewal === undefined ? redeem() : renewal.renew(redeem));
      // No token from before a claims challenge can meet it, and none that is at hand brings a refresh token.
      const isAnyGood = claims === undefined && request.isOffline !== true;
      const obtained = await (isAnyGood ? place.obtain(ask) : place.replace(ask));
      if (obtained.shared) return takeOver(obtained);
      const { accessToken, expiresAt, grantedScopes, refreshToken } = obtained;
      onEvent({
        type: "exchanged",
        tenantId,
        durationMs: now() - startedAt,
        grantedScopes,
        facts: { ...facts(), token: accessToken.fingerprint(), expiresAt },
      });
      return {
        token: keep(obtained, departure),
        origin: "authority",
        tokenRequest,
        ...(request.isOffline === true && { refreshToken }),
      };
    } catch (error) {
      if (error instanceof GatewayError) onEvent(refusedEvent(error, facts(), now() - startedAt));
      throw error;
    }
  };
}

function placeOf(
  { assertion, scopes }: ExchangeRequest,
  endingAfter: number | undefined,
  { shared, keyMaker }: FlightPorts,
): SharedToken {
  // Sealed by the master key alone, the gateway's own token would be open to a holder of that key.
  if (shared === undefined || assertion.token === undefined) return notShared;
  return shared.of({
    ...keyMaker.shared(assertion, scopes),
    assertion: assertion.token,
    assertionExpiresAt: assertion.expiresAt,
    endingAfter,
  });
}

function factsOf(
  { assertion, scopes, claims, correlationId, via }: ExchangeRequest,
  { ahead, tokenRequest }: Pick<ExchangeFacts, "ahead" | "tokenRequest">,
): ExchangeFacts {
  return {
    correlationId,
    grant: grantOf(assertion),
    via,
    tenantId: assertion.tenantId,
    objectId: assertion.token === undefined ? undefined : assertion.objectId,
    assertion: fingerprintOf(assertion),
    scopes,
    challenged: claims !== undefined,
    ahead,
    tokenRequest,
  };
}

function grantOf(subject: TokenSubject): ExchangeFacts["grant"] {
  if (subject.token === undefined) return "client_credentials";
  return "renewal" in subject ? "refresh_token" : "on_behalf_of";
}

/** First 8 hex digits of the token's SHA-256, which the digest is. */
function fingerprintOf({ token, digest }: TokenSubject): string | undefined {
  return token && Buffer.from(digest, "base64url").toString("hex", 0, 4);
}

/** An exchange that failed, with what of it may be logged. */
export function refusedEvent(error: GatewayError, facts: ExchangeFacts, durationMs: number): ExchangeEvent {
  const { code, reason, diagnostics } = error;
  const numbers = diagnostics?.error_codes;
  const aadsts = Array.isArray(numbers) ? numbers : [];
  return { type: "refused", tenantId: facts.tenantId, durationMs, code, reason, aadsts, diagnostics, facts };
}

export interface Boarding<T> {
  /** Whether another caller had started the work. */
  readonly joined: boolean;
  readonly result: Promise<T>;
}

export interface SingleFlight<T> {
  /**
   * Joins the flight under `key`, or starts it. A caller whose `signal` fires stops waiting, with `signal.reason` as
   * `fetch` would, while the flight goes on for the others and for the cache. A failure reaches all callers on board
   * and is then forgotten, so the next caller starts afresh. What `start` throws at once is thrown.
   */
  board(key: string, start: () => Promise<T>, signal?: AbortSignal): Boarding<T>;
  has(key: string): boolean;
  size(): number;
}

export function createSingleFlight<T>(): SingleFlight<T> {
  const flights = new Map<string, Promise<T>>();

  function depart(key: string, start: () => Promise<T>): Promise<T> {
    const flight = start().finally(() => flights.delete(key));
    flights.set(key, flight);
    return flight;
  }

  return {
    board(key, start, signal) {
      const underWay = flights.get(key);
      const flight = underWay ?? depart(key, start);
      return {
        joined: underWay !== undefined,
        result: signal === undefined ? flight : until(signal, flight),
      };
    },
    has: (key) => flights.has(key),
    size: () => flights.size,
  };
}

function until<T>(signal: AbortSignal, flight: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const leave = () => reject(signal.reason);
    // A signal may outlive many flights, so the listener goes when the flight is over.
    flight.finally(() => signal.removeEventListener("abort", leave)).then(resolve, reject);
    if (signal.aborted) leave();
    else signal.addEventListener("abort", leave, { once: true });
  });
}
