/** The exchange bound to one request: for whom a token is asked, and how a refusal is put to the caller. */

import { GatewayError } from "../errors.ts";
import type { DownstreamToken, TokenExchange, TokenSubject } from "../exchange/contract.ts";
import { applicationSubject } from "../exchange/entra/application.ts";
import type { Secret } from "../foundation/secret.ts";
import type { VerifiedCaller } from "../identity/contract.ts";
import type { RequestRecord } from "./contract.ts";
import { inTermsOf, notTheUsers } from "./user-challenge.ts";

/**
 * Whose permissions a route uses: the caller's, by exchange, or the gateway's own in the caller's tenant. The latter
 * only for callers whom the route's policy names.
 */
export type ActsAs = "user" | "app";

export interface Actor {
  assertionOf(record: RequestRecord): TokenSubject;
  /** The operator has to act on Entra's refusal of the gateway's token, never the caller. */
  rephrase(record: RequestRecord, error: unknown, claims?: string): unknown;
}

export function actorOf(as: ActsAs | undefined, clientId: string): Actor {
  if (as === "app")
    return {
      assertionOf: (record) => applicationSubject(callerOf(record).principal.tenantId, clientId),
      rephrase: (_record, error) => notTheUsers(error),
    };
  return {
    assertionOf: (record) => callerOf(record).assertion,
    rephrase: (record, error, claims) => inTermsOf(callerOf(record).principal, error, claims),
  };
}

/** Where tokens for one API come from. */
export interface TokenSource {
  readonly actor: Actor;
  readonly scopes: readonly string[];
  readonly exchange: TokenExchange;
}

/** The token that is at hand, noting so in the record. */
export function recallToken(
  record: RequestRecord,
  { actor, scopes, exchange }: TokenSource,
): DownstreamToken | undefined {
  const began = performance.now();
  const { correlationId } = record;
  const { clientId } = callerOf(record).principal;
  const held = exchange.recall({ assertion: actor.assertionOf(record), scopes, correlationId, clientId });
  if (held === undefined) return undefined;
  record.trace?.room("exchange").granted(held.origin);
  record.tokenOrigin = held.origin;
  record.exchangeMs = performance.now() - began;
  return held.token;
}

export type ObtainToken = (options?: {
  /** `recallToken` has just found no token. */
  readonly recalled?: boolean;
  readonly claims?: string;
  /** The token that the API refused with those claims. */
  readonly refused?: Secret;
  readonly signal?: AbortSignal;
}) => Promise<DownstreamToken>;

/** Exchanges where no token is at hand, noting in the record where it came from and how long that took. */
export function obtainWith(record: RequestRecord, { actor, scopes, exchange }: TokenSource): ObtainToken {
  const assertion = actor.assertionOf(record);
  return async ({ recalled, claims, refused, signal } = {}) => {
    const span = record.trace?.room("exchange");
    const began = performance.now();
    if (claims !== undefined)
      exchange.forget({ assertion, scopes, ...(refused !== undefined && { refused }) });
    try {
      const { token, origin, tokenRequest } = await exchange.exchange({
        assertion,
        scopes,
        correlationId: record.correlationId,
        clientId: callerOf(record).principal.clientId,
        ...(recalled !== undefined && { recalled }),
        ...(claims !== undefined && { claims }),
        ...(signal !== undefined && { signal }),
        ...(span !== undefined && { trace: span }),
      });
      record.tokenOrigin = origin;
      if (tokenRequest !== undefined) record.tokenRequest = tokenRequest;
      span?.granted(origin);
      return token;
    } catch (error) {
      span?.refused(error);
      throw actor.rephrase(record, error, claims);
    } finally {
      record.exchangeMs = (record.exchangeMs ?? 0) + performance.now() - began;
    }
  };
}

export function callerOf(record: RequestRecord): VerifiedCaller {
  if (record.caller === undefined) throw new Error("route without admit() in front of it");
  return record.caller;
}

/** The body has gone with the first attempt, so it cannot be sent again; the token that it lacked is here now. */
export function repeatRequest(): GatewayError {
  return new GatewayError("overloaded", {
    detail: "The downstream API asked for a new token while the body was under way. Send the request again.",
    reason: "body_not_replayable",
    retryAfterSeconds: 1,
  });
}
