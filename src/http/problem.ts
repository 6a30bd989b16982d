/** GatewayError to HTTP: status, RFC 9457 problem body, and the challenge that tells the caller what to do. */

import type { ServerResponse } from "node:http";
import type { GatewayError, GatewayErrorCode } from "../errors.ts";
import type { RouteChallenge } from "../mcp/contract.ts";
import { claimsChallenge } from "./claims-challenge.ts";
import type { Problem } from "./contract.ts";

/** Exhaustive by type: a new code does not compile until it has a status and a title. */
const PROBLEMS: Readonly<Record<GatewayErrorCode, readonly [status: number, title: string]>> = {
  token_missing: [401, "An access token is required"],
  token_rejected: [401, "The access token was not accepted"],
  scope_insufficient: [403, "The access token lacks a required permission"],
  user_token_required: [403, "A user's token is required"],
  route_unknown: [404, "No such route"],
  method_not_allowed: [405, "The method is not allowed here"],
  target_forbidden: [403, "The path is not allowed here"],
  request_malformed: [400, "The request is malformed"],
  body_too_large: [413, "The request body is too large"],
  rate_limited: [429, "Too many requests"],
  claims_challenged: [401, "The sign-in must meet further requirements"],
  interaction_required: [401, "The user must sign in again"],
  consent_required: [403, "The user has not consented"],
  admin_consent_required: [403, "An administrator must consent"],
  blocked_by_policy: [403, "A policy of the organisation blocks this user"],
  not_assigned: [403, "The user is not assigned to the application"],
  tenant_not_onboarded: [403, "The organisation has not onboarded the application"],
  delegation_ended: [401, "The delegation has ended"],
  credential_unavailable: [503, "The gateway cannot prove its identity"],
  client_rejected: [503, "The gateway was not accepted by the authority"],
  downstream_misconfigured: [502, "The downstream API is misconfigured"],
  key_set_unavailable: [503, "Signing keys are not available"],
  authority_unavailable: [503, "The authority is not available"],
  authority_throttled: [503, "The authority is throttling"],
  authority_timeout: [504, "The authority did not answer in time"],
  downstream_unreachable: [502, "The downstream API cannot be reached"],
  downstream_timeout: [504, "The downstream API did not answer in time"],
  overloaded: [503, "The gateway is overloaded"],
  draining: [503, "The gateway is shutting down"],
  internal: [500, "Something went wrong in the gateway"],
};

/** Where HTTP has a status for one cause of a code. RFC 6585 §5, RFC 9110 §15.5.20. */
const STATUS_OF_REASON: Readonly<Record<string, number>> = { header_fields: 431, foreign_host: 421 };

/** What the gateway's own challenges name. */
export interface ChallengeFacts {
  readonly clientId: string;
  readonly authorizeEndpoint: (tenantId: string) => string;
  /** Mount paths of routes to Microsoft Graph, whose SDKs read an `error` of Graph's own shape. */
  readonly graphMounts?: readonly string[];
  /** URL of the RFC 9728 document, when the gateway publishes one. */
  readonly resourceMetadata: string | undefined;
  /** On the route of an MCP server: its own scopes and document, in place of the gateway's. */
  readonly mcp?: RouteChallenge | undefined;
}

/** Refusals of what the caller wrote: the reason says which rule, so that the caller can write it otherwise. */
const SHOWS_REASON: ReadonlySet<GatewayErrorCode> = new Set(["request_malformed", "target_forbidden"]);

/**
 * Seconds after which to try again, where nothing better is known: about as long as such a failure lasts, or as the
 * gateway itself waits. The gateway looks at its credential's files every minute.
 */
const GUESSED_RETRY_SECONDS: Partial<Readonly<Record<GatewayErrorCode, number>>> = {
  credential_unavailable: 60,
  client_rejected: 60,
  key_set_unavailable: 5,
  authority_unavailable: 5,
  authority_throttled: 10,
  authority_timeout: 5,
  downstream_timeout: 5,
  overloaded: 1,
  draining: 1,
};

/** Status of a refusal, where its reason does not choose another one. */
export function statusOf(code: GatewayErrorCode): number {
  return PROBLEMS[code][0];
}

const PROBLEM_TYPE = "application/problem+json";

/** Phrases a refusal. `tenantId` is the caller's, where it is known. Pure. */
export function phraseProblem(
  error: GatewayError,
  facts: ChallengeFacts,
  request: {
    readonly correlationId: string;
    readonly tenantId: string | undefined;
    /** As the caller wrote it, query included. */
    readonly target?: string;
    /** The field `Accept`. */
    readonly accept?: string | undefined;
    /** Whether the caller is an SDK of Graph, which each say their version in `SdkVersion`. */
    readonly isGraphSdk?: boolean;
    /** Scope that takes the demand behind the error through an MCP client's next sign-in. */
    readonly carriedScope?: string | undefined;
  },
): Problem {
  const [statusOfCode, title] = PROBLEMS[error.code];
  const { carriedScope } = request;
  // MCP (authorization, scope challenge handling): clients sign in for more scopes after a 403 alone.
  const status = carriedScope === undefined ? (STATUS_OF_REASON[error.reason ?? ""] ?? statusOfCode) : 403;
  const challenge =
    carriedScope === undefined
      ? challengeFor(error, facts, request.tenantId)
      : insufficientScope(facts, carriedScope);
  const isForGraph = isBelow(request.target, facts.graphMounts);
  const retryAfterSeconds = error.retryAfterSeconds ?? GUESSED_RETRY_SECONDS[error.code];
  return {
    status,
    headers: {
      // Graph's SDKs read no other type than JSON's own; one that knows problems says so.
      "content-type":
        isForGraph && request.isGraphSdk === true && !request.accept?.includes(PROBLEM_TYPE)
          ? "application/json"
          : PROBLEM_TYPE,
      "cache-control": "no-store",
      ...(challenge !== undefined && { "www-authenticate": challenge }),
      ...(retryAfterSeconds !== undefined && { "retry-after": String(Math.ceil(retryAfterSeconds)) }),
    },
    body: {
      type: `urn:obo-gateway:problem:${error.code}`,
      title,
      status,
      code: error.code,
      detail: error.detail,
      correlationId: request.correlationId,
      ...(SHOWS_REASON.has(error.code) && error.reason !== undefined && { reason: error.reason }),
      ...(error.requiredScopes !== undefined && { requiredScopes: error.requiredScopes }),
      ...(error.consentUri !== undefined && { consentUri: error.consentUri }),
      ...(error.claims !== undefined && { claims: error.claims }),
      ...authorityIds(error),
      // RFC 9457 §3.2: further members are for the consumers that know them, here Graph's SDKs.
      ...(isForGraph && {
        error: { code: error.code, message: error.detail },
      }),
    },
  };
}

function isBelow(target = "", mounts: readonly string[] = []): boolean {
  return mounts.some((mount) => target.startsWith(mount) && /^(?:[/?]|$)/.test(target.slice(mount.length)));
}

/** What describes the answer that is not given now, and would misdescribe the problem. */
const OF_ANOTHER_BODY = [
  "content-disposition",
  "content-encoding",
  "content-language",
  "content-range",
  "etag",
  "last-modified",
];

/**
 * Writes a problem, unless the answer has begun: then the only honest signal left is a broken connection. An answer
 * that was given whole stands, whatever went wrong after it.
 */
export function sendProblem(response: ServerResponse, problem: Problem): void {
  if (response.headersSent) {
    if (!response.writableEnded) response.destroy();
    return;
  }
  for (const name of OF_ANOTHER_BODY) response.removeHeader(name);
  const body = Buffer.from(JSON.stringify(problem.body));
  response.writeHead(problem.status, { ...problem.headers, "content-length": body.length });
  response.end(body);
}

/** The plain challenge for a 401 that is not a claims challenge (RFC 6750 §3, RFC 9728 §5.1). */
export function bearerChallenge(facts: ChallengeFacts, parameters: readonly string[] = []): string {
  const { mcp } = facts;
  const resourceMetadata = mcp?.resourceMetadata ?? facts.resourceMetadata;
  const hasScope = parameters.some((parameter) => parameter.startsWith("scope="));
  const all = [
    ...parameters,
    // Without a scope, an MCP client asks for every scope that the document lists.
    ...(mcp === undefined || hasScope ? [] : [`scope="${mcp.scope}"`]),
    ...(resourceMetadata === undefined ? [] : [`resource_metadata="${resourceMetadata}"`]),
  ];
  return all.length === 0 ? "Bearer" : `Bearer ${all.join(", ")}`;
}

function insufficientScope(facts: ChallengeFacts, scope: string): string {
  return bearerChallenge(facts, [
    'error="insufficient_scope"',
    ...(scope === "" ? [] : [`scope="${scope}"`]),
  ]);
}

function challengeFor(
  error: GatewayError,
  facts: ChallengeFacts,
  tenantId: string | undefined,
): string | undefined {
  switch (error.code) {
    case "token_missing":
      return bearerChallenge(facts);
    case "token_rejected":
      return bearerChallenge(facts, [
        'error="invalid_token"',
        `error_description="${PROBLEMS.token_rejected[1]}"`,
      ]);
    case "scope_insufficient": {
      const { requiredScopes = [] } = error;
      // Entra takes a bare scope for one of Microsoft Graph's (AADSTS650053), and MCP clients pass it on as it is.
      return insufficientScope(
        facts,
        requiredScopes.map(facts.mcp?.qualified ?? ((scope) => scope)).join(" "),
      );
    }
    case "delegation_ended":
      // RFC 6749 §5.2 has the word for a grant that is over; RFC 9110 §11.6.1 wants a challenge on every 401.
      return bearerChallenge(facts, ['error="invalid_grant"']);
    case "claims_challenged":
    case "interaction_required": {
      const tenant = tenantId ?? "common";
      const authorizeEndpoint = facts.authorizeEndpoint(tenant);
      if (error.code === "claims_challenged" && error.claims !== undefined)
        return claimsChallenge({
          tenantId: tenant,
          authorizeEndpoint,
          clientId: facts.clientId,
          claims: error.claims,
        });
      // OpenID Connect Core §3.1.2.6 names this error; RFC 9110 §11.6.1 wants a challenge on every 401.
      return bearerChallenge(facts, [
        `realm="${tenant}"`,
        `authorization_uri="${authorizeEndpoint}"`,
        'error="interaction_required"',
      ]);
    }
    default:
      return undefined;
  }
}

/** Entra's own ids, which its support asks for. They identify a request, not a person. */
function authorityIds(error: GatewayError): Record<string, unknown> {
  const { trace_id: traceId, correlation_id: authorityCorrelationId } = error.diagnostics ?? {};
  return {
    ...(traceId !== undefined && { authorityTraceId: traceId }),
    ...(authorityCorrelationId !== undefined && { authorityCorrelationId }),
  };
}
