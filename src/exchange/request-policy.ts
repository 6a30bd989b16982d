/** Refuses exchanges that must not be requested at all, and brings claims requests into one spelling. */

import { GatewayError } from "../errors.ts";
import { isJsonObject, type JsonObject, parseJsonObject } from "../foundation/json.ts";
import type { ExchangeRequest } from "./contract.ts";

export interface ExchangePolicy {
  readonly allowedTenants: readonly string[] | "*";
}

/** The tenant becomes a path segment of the address that gets the assertion and the gateway's proof. */
const TENANT_ID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i;
const MAX_CLAIMS_LENGTH = 8192;
/** Claims requests are three levels deep (OpenID Connect Core §5.5); an array of values makes it four. */
const DEEPEST_CLAIMS = 8;

/**
 * @throws {GatewayError} `tenant_not_onboarded`, or `token_rejected` for an assertion that is over.
 */
export function assertExchangeable(
  { assertion: { tenantId, expiresAt } }: Pick<ExchangeRequest, "assertion">,
  policy: ExchangePolicy,
  now: number,
): void {
  if (!TENANT_ID.test(tenantId) || !isAllowed(tenantId, policy.allowedTenants)) {
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

/**
 * The claims request with its members in order and without blanks: an API that spells the same request anew each time
 * must not make each of them an exchange of its own.
 *
 * @throws {GatewayError} `internal` for text that is no claims request (OpenID Connect Core §5.5: an object of
 * objects). MSAL sends anything else as if no claims had been requested.
 */
export function canonicalClaims(claims: string): string {
  const members = claims.length > MAX_CLAIMS_LENGTH ? undefined : parseJsonObject(claims);
  if (
    members === undefined ||
    !Object.values(members).every(isJsonObject) ||
    depthOf(claims) > DEEPEST_CLAIMS
  ) {
    throw new GatewayError("internal", {
      detail: "The gateway could not form its token request.",
      reason: "claims_malformed",
    });
  }
  return JSON.stringify(ordered(members));
}

/** Brackets that are open at once, those inside of strings included: an upper bound of how deep the value is. */
function depthOf(json: string): number {
  let open = 0;
  let deepest = 0;
  for (const character of json) {
    if (character === "{" || character === "[") deepest = Math.max(deepest, ++open);
    else if (character === "}" || character === "]") open -= 1;
  }
  return deepest;
}

function ordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ordered);
  if (!isJsonObject(value)) return value;
  const members: JsonObject = value;
  return Object.fromEntries(
    Object.keys(members)
      .sort()
      .map((name) => [name, ordered(members[name])]),
  );
}
