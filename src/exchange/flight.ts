/** One exchange on behalf of all who wait for it: the shared tier, then remembered refusals, then Entra. */

import { GatewayError } from "../errors.ts";
import type { ExchangeKeys } from "./cache/keys.ts";
import { notShared, type SharedTokens } from "./cache/shared-tokens.ts";
import type { TokenCache } from "./cache/token-cache.ts";
import type { Acquire, AcquiredToken } from "./entra/acquire.ts";
import type { ExchangeEvent, ExchangeFacts } from "./events.ts";
import type { ExchangeEvidence } from "./evidence.ts";
import type { DownstreamToken, ExchangeRequest, ExchangeResult } from "./exchange.ts";
import type { FailureDomains } from "./failure-domains.ts";

export interface FlightPorts {
  readonly keys: ExchangeKeys;
  readonly cache: TokenCache;
  readonly shared: SharedTokens | undefined;
  readonly domains: FailureDomains;
  readonly acquire: Acquire;
  readonly now: () => number;
  readonly onEvent: (event: ExchangeEvent) => void;
}

/**
 * @param key The exchange's own, by which refusals are remembered.
 * @param endingAfter A token that ends at or before this does not do: it is what is to be replaced. Ms since the epoch.
 */
export type Fly = (key: string, request: ExchangeRequest, endingAfter?: number) => Promise<ExchangeResult>;

const SHARED_HIT: ExchangeEvent = { type: "shared_hit" };
const SHARED_MISS: ExchangeEvent = { type: "shared_miss" };

export function createFlight(ports: FlightPorts): Fly {
  const { keys, cache, shared, domains, acquire, now, onEvent } = ports;
  let departures = 0;

  return async (key, asked, endingAfter) => {
    // The key stands for the scopes as they are now, so what is sent may not follow later changes of the array.
    const request = { ...asked, scopes: [...asked.scopes] };
    const { assertion, scopes, claims } = request;
    const { tenantId } = assertion;
    const group = keys.group(assertion, scopes);
    const user = keys.user(assertion);
    const userAndScopes = keys.userAndScopes(assertion, scopes);
    const departure = ++departures;
    const startedAt = now();
    const subject = {
      request: claims === undefined ? key : undefined,
      user,
      userAndScopes,
      tenantId,
    };
    const subjectToShare = shared && keys.shared(assertion, scopes);
    const place = (subjectToShare && shared?.of(subjectToShare, endingAfter)) ?? notShared;

    function keep({ accessToken, expiresAt }: AcquiredToken, order: number): DownstreamToken {
      const token = { accessToken, expiresAt: Math.min(expiresAt, assertion.expiresAt) };
      cache.put({ group, digest: assertion.digest, user, token, tokenExpiresAt: expiresAt, order });
      return token;
    }

    function takeOver(token: AcquiredToken): ExchangeResult {
      onEvent(SHARED_HIT);
      // What others left behind displaces nothing that this process obtained, unless it was asked to outlive that.
      return { token: keep(token, endingAfter === undefined ? 0 : departure), origin: "shared" };
    }

    if (claims === undefined && place !== notShared) {
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
    let evidence: ExchangeEvidence | undefined;
    const facts = (): ExchangeFacts => ({
      correlationId: request.correlationId,
      grant: assertion.token === undefined ? "client_credentials" : "on_behalf_of",
      tenantId,
      objectId: assertion.token === undefined ? undefined : assertion.objectId,
      assertion: assertion.token?.fingerprint(),
      scopes,
      challenged: claims !== undefined,
      ahead: endingAfter !== undefined,
      evidence,
    });
    try {
      const ask = () =>
        acquire(request, subject, startedAt, (latest) => {
          evidence = latest;
        });
      // No token from before a claims challenge can meet it.
      const obtained = await (claims === undefined ? place.obtain(ask) : place.replace(ask));
      if (obtained.shared) return takeOver(obtained);
      const { accessToken, expiresAt } = obtained;
      const granted = { ...facts(), token: accessToken.fingerprint(), expiresAt };
      onEvent({ type: "exchanged", tenantId, durationMs: now() - startedAt, facts: granted });
      return { token: keep(obtained, departure), origin: "authority", evidence };
    } catch (error) {
      if (error instanceof GatewayError) onEvent(refusedEvent(error, facts(), now() - startedAt));
      throw error;
    }
  };
}

function refusedEvent(error: GatewayError, facts: ExchangeFacts, durationMs: number): ExchangeEvent {
  const { code, reason, diagnostics } = error;
  const numbers = diagnostics?.error_codes;
  const aadsts = Array.isArray(numbers) ? numbers : [];
  return { type: "refused", tenantId: facts.tenantId, durationMs, code, reason, aadsts, diagnostics, facts };
}
