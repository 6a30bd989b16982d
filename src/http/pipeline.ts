/** The walk through the rooms, as Express middleware: authenticate, permit, then exchange and forward. */

import type { Request, RequestHandler } from "express";
import { compileTarget, type DownstreamApiOptions, type TargetRules } from "../downstream/downstream-api.ts";
import type { Forward } from "../downstream/forward.ts";
import type { ForwardBatch } from "../downstream/forward-batch.ts";
import { createLinkRewrite, isBatchTarget, isGraph } from "../downstream/graph.ts";
import type { ForwardedHop } from "../downstream/headers.ts";
import { GatewayError } from "../errors.ts";
import type { DownstreamToken, TokenExchange } from "../exchange/exchange.ts";
import { type AnyAssertion, noAssertion } from "../exchange/no-assertion.ts";
import { authorize, type RoutePolicy } from "../identity/claims-policy.ts";
import type { VerifiedCaller } from "../identity/principal.ts";
import type { TokenVerifier } from "../identity/token-verifier.ts";
import type { Secret } from "../secret.ts";
import { publicAddress } from "./public-address.ts";
import { type RequestRecord, recordOf } from "./request-record.ts";
import { challengedAgain, inTermsOf, notTheUsers } from "./user-challenge.ts";

/** Validates the bearer token of the `Authorization` header; nothing else of the request is looked at. */
export function authenticate(verifier: TokenVerifier): RequestHandler {
  return async (request, _response, next) => {
    const record = recordOf(request);
    const span = record.trace?.room("verify");
    const began = performance.now();
    const verification = await verifier.verify(authorizationOf(request));
    record.verifyMs = performance.now() - began;
    if (verification.outcome !== "verified") {
      span?.refused(verification.error);
      throw verification.error;
    }
    span?.granted();
    record.caller = verification.caller;
    next();
  };
}

/** Lets pass whom the route's policy admits. */
export function permit(policy: RoutePolicy): RequestHandler {
  return (request, _response, next) => {
    const refusal = authorize(callerOf(recordOf(request)).principal, policy);
    if (refusal !== undefined) throw refusal;
    next();
  };
}

/**
 * Whose permissions a route uses: the caller's, by exchange, or the gateway's own in the caller's tenant. The latter
 * only for callers whom the route's policy names.
 */
export type ActsAs = "user" | "app";

export interface ProxyRoute {
  /** Default `user`. */
  readonly as?: ActsAs;
  readonly target: TargetRules;
  readonly api: DownstreamApiOptions;
}

export interface ProxyPorts {
  /** Application (client) id of the gateway. */
  readonly clientId: string;
  readonly exchange: TokenExchange;
  readonly forward: Forward;
  readonly forwardBatch: ForwardBatch;
  /** How callers reach the gateway; see `publicAddress`. */
  readonly publicUrl: string | undefined;
  /** `WWW-Authenticate` of a 401 that passes through: the downstream's own would speak of a token that is not the caller's. */
  readonly challenge: string;
}

/** Exchanges the caller's token and forwards the request; answers a claims challenge of the API once. */
export function proxyTo(route: ProxyRoute, ports: ProxyPorts): RequestHandler {
  const { clientId, exchange, forward, forwardBatch, challenge } = ports;
  const targetOf = compileTarget(route.api, route.target);
  const graph = isGraph(route.api);
  const tellsHop = route.api.headers?.sendForwarded === true;
  const rewriteFor = (request: Request) => {
    const address = graph ? publicAddress(request, ports.publicUrl) : undefined;
    return address === undefined ? undefined : createLinkRewrite(route.api, address + route.target.path);
  };
  const allowedMethods = route.target.methods.join(", ");
  const rephrase = (record: RequestRecord, error: unknown) =>
    route.as === "app" ? notTheUsers(error) : inTermsOf(callerOf(record).principal, error);

  return async (request, response) => {
    const record = recordOf(request);
    // RFC 9110 §15.5.6: a 405 names what would have been allowed.
    if (!route.target.methods.includes(request.method)) response.setHeader("allow", allowedMethods);
    const target = targetOf(request.method, request.originalUrl);
    const source = route.as === "app" ? applicationTokenSource(clientId) : tokenSource;
    const obtainToken = source(record, route.api.scopes, exchange);
    const { correlationId } = record;
    const rewrite = rewriteFor(request);
    const forwarded = tellsHop ? hopOf(request) : undefined;

    if (graph && request.method === "POST" && isBatchTarget(target)) {
      const batch = {
        route: route.target,
        judge: targetOf,
        obtainToken,
        correlationId,
        challenge,
        rewrite,
        forwarded,
      };
      const answered = await forwardBatch({
        incoming: request,
        outgoing: response,
        target,
        record,
        ...batch,
      }).catch((error: unknown) => {
        throw rephrase(record, error);
      });
      record.downstreamStatus = answered?.status;
      record.cut = answered?.isWhole === false ? "downstream_failed" : undefined;
      return;
    }

    let token = await obtainToken();
    for (let attempt = 1; ; attempt++) {
      const outcome = await forward({
        incoming: request,
        outgoing: response,
        target,
        token: token.accessToken,
        correlationId,
        challenge,
        rewrite,
        forwarded,
        record,
      });
      if (outcome.kind === "abandoned") return;
      record.downstreamStatus = outcome.status;
      if (outcome.kind === "answered") {
        record.cut = outcome.cut;
        return;
      }
      if (attempt === 2) throw rephrase(record, challengedAgain(callerOf(record).principal, outcome.claims));
      token = await obtainToken({ claims: outcome.claims, refused: token.accessToken });
      if (!outcome.replayable) throw repeatRequest();
    }
  };
}

/** The nearest caller that is no trusted proxy; Express looks at `X-Forwarded-*` of those alone. */
function hopOf(request: Request): ForwardedHop {
  const { ip = "", protocol, host } = request;
  return { for: ip, proto: protocol, host };
}

export type ObtainToken = (options?: {
  readonly claims?: string;
  /** The token that the API refused with those claims. */
  readonly refused?: Secret;
  readonly signal?: AbortSignal;
}) => Promise<DownstreamToken>;

/** The exchange bound to one caller and one API's scopes, noting in the record where the token came from. */
export function tokenSource(
  record: RequestRecord,
  scopes: readonly string[],
  exchange: TokenExchange,
): ObtainToken {
  const { assertion, principal } = callerOf(record);
  return obtainWith(record, assertion, scopes, exchange, (error, claims) =>
    inTermsOf(principal, error, claims),
  );
}

/** The same for the gateway's own token. What Entra says of it is the operator's to mend, never the caller's. */
export function applicationTokenSource(clientId: string): typeof tokenSource {
  return (record, scopes, exchange) => {
    const assertion = noAssertion(callerOf(record).principal.tenantId, clientId);
    return obtainWith(record, assertion, scopes, exchange, notTheUsers);
  };
}

function obtainWith(
  record: RequestRecord,
  assertion: AnyAssertion,
  scopes: readonly string[],
  exchange: TokenExchange,
  rephrase: (error: unknown, claims: string | undefined) => unknown,
): ObtainToken {
  return async ({ claims, refused, signal } = {}) => {
    const span = record.trace?.room("exchange");
    const began = performance.now();
    if (claims !== undefined)
      exchange.forget({ assertion, scopes, ...(refused !== undefined && { refused }) });
    try {
      const { token, origin, evidence } = await exchange.exchange({
        assertion,
        scopes,
        correlationId: record.correlationId,
        ...(claims !== undefined && { claims }),
        ...(signal !== undefined && { signal }),
        ...(span !== undefined && { trace: span }),
      });
      record.tokenOrigin = origin;
      if (evidence !== undefined) record.evidence = evidence;
      span?.granted(origin);
      return token;
    } catch (error) {
      span?.refused(error);
      throw rephrase(error, claims);
    } finally {
      record.exchangeMs = (record.exchangeMs ?? 0) + performance.now() - began;
    }
  };
}

export function callerOf(record: RequestRecord): VerifiedCaller {
  if (record.caller === undefined) throw new Error("route without authenticate() in front of it");
  return record.caller;
}

/** Every value of the `Authorization` field: Node keeps only the first of several, so the raw list is read. */
function authorizationOf(request: Request): string[] {
  const values: string[] = [];
  const { rawHeaders } = request;
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = rawHeaders[index];
    if (name?.length === 13 && name.toLowerCase() === "authorization")
      values.push(rawHeaders[index + 1] ?? "");
  }
  return values;
}

/** The body has gone with the first attempt, so it cannot be sent again; the token that it lacked is here now. */
function repeatRequest(): GatewayError {
  return new GatewayError("overloaded", {
    detail: "The downstream API asked for a new token while the body was under way. Send the request again.",
    reason: "body_not_replayable",
    retryAfterSeconds: 1,
  });
}
