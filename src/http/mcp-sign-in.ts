/** Sign-in of MCP clients as the public side shows it: its endpoints, and refusals that carry demands on the user through the client's next sign-in. */

import type { OwnFields } from "../downstream/contract.ts";
import { GatewayError } from "../errors.ts";
import type { Bridge, Demand, RouteChallenge } from "../mcp/contract.ts";
import type { CarriedError, McpSignIn, RequestRecord } from "./contract.ts";
import { mcpEndpoints } from "./mcp-endpoints.ts";
import { TOOL_SCOPE } from "./mcp-gate.ts";

export function createMcpSignIn(bridge: Bridge, own: OwnFields): McpSignIn {
  return {
    documents: mcpEndpoints(bridge, own, { anyOrigin: true }),
    endpoints: mcpEndpoints(bridge, own, { anyOrigin: false }),
    challengeOf: (route) => bridge.routes.get(route),
    carry: (error, record, route) => carryDemand(error, record, route, bridge),
  };
}

async function carryDemand(
  error: GatewayError,
  { caller, delegation }: RequestRecord,
  route: RouteChallenge,
  bridge: Pick<Bridge, "clientId" | "carry">,
): Promise<CarriedError> {
  const plain = { error, carriedScope: undefined };
  const demand = demandOf(error);
  if (demand === undefined || caller === undefined || caller.principal.kind !== "user") return plain;
  // A job that acts for an absent user has no browser to sign in with.
  if (delegation !== undefined) return plain;
  const { tenantId, objectId, clientId, acceptsClaimsChallenge } = caller.principal;
  // A client that declared cp1 and signs in by itself reads the claims challenge that every other route answers, and one
  // that signs in at Entra asks there for the scope that it lacks.
  const isOurs = clientId.toLowerCase() === bridge.clientId.toLowerCase();
  if ((acceptsClaimsChallenge || demand.kind === "scope") && !isOurs) return plain;
  const tokenDigest = caller.assertion.digest;
  const carried = await bridge.carry({ tenantId, objectId, clientId, tokenDigest }, demand);
  if (carried.kind === "carried") return { error, carriedScope: `${scopeOf(error, route)} ${carried.scope}` };
  return carried.kind === "plain" ? plain : { error: unmet(error), carriedScope: undefined };
}

/** Scopes that the client is to sign in for: the route's, or those that the refusal names. */
function scopeOf({ code, requiredScopes = [] }: GatewayError, route: RouteChallenge): string {
  return code === "scope_insufficient" ? requiredScopes.map(route.qualified).join(" ") : route.scope;
}

/**
 * Demands that a sign-in of the user can meet; an administrator's consent is not one. A scope of the route itself is asked
 * for by every client at once, and a tool's when its call was refused: a silent renewal in between would bring back the
 * same scopes.
 */
function demandOf({ code, reason, claims, requiredScopes = [] }: GatewayError): Demand | undefined {
  const scope = requiredScopes.at(-1);
  if (code === "scope_insufficient" && reason === TOOL_SCOPE && scope !== undefined)
    return { kind: "scope", scope };
  if (code === "consent_required") return { kind: "consent" };
  if (code !== "claims_challenged" && code !== "interaction_required") return undefined;
  return claims === undefined ? { kind: "login" } : { kind: "claims", claims };
}

/** The user has just signed in because of this demand, and it stands: one more sign-in would lead here again. */
function unmet(error: GatewayError): GatewayError {
  return new GatewayError("blocked_by_policy", {
    detail:
      "The user has signed in again as it was asked for, and the access is refused all the same. Another sign-in will not help.",
    reason: "challenge_unmet",
    ...(error.diagnostics !== undefined && { diagnostics: error.diagnostics }),
    cause: error,
  });
}
