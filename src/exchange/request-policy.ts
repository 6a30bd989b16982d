/** What is refused before anybody is asked. */

import { GatewayError } from "../errors.ts";
import { isJsonObject, parseJsonObject } from "../foundation/json.ts";
import type { ExchangeRequest } from "./exchange.ts";

export interface ExchangePolicy {
  readonly allowedTenants: readonly string[] | "*";
}

/** The tenant becomes a path segment of the address that gets the assertion and the gateway's proof. */
const TENANT_ID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i;
const MAX_CLAIMS_LENGTH = 8192;

/**
 * @throws {GatewayError} `tenant_not_onboarded`, `token_rejected` for an assertion that is over, or `internal` for
 * claims that are no claims request.
 */
export function assertExchangeable(request: ExchangeRequest, policy: ExchangePolicy, now: number): void {
  const { tenantId, expiresAt } = request.assertion;
  if (!TENANT_ID.test(tenantId) || !isAllowed(tenantId, policy.allowedTenants)) {
    throw new GatewayError("tenant_not_onboarded", {
      detail: "The user's organisation has not been set up for this application.",
      reason: "tenant_not_allowed",
    });
  }
  // Entra grants no leeway on `exp`, and whatever it granted could not be used past it.
  if (expiresAt <= now) {
    throw new GatewayError("token_rejected", {
      detail: "The access token has expired; acquire a new one.",
      reason: "assertion_expired",
    });
  }
  if (request.claims !== undefined && !isClaimsRequest(request.claims)) {
    throw new GatewayError("internal", {
      detail: "The gateway could not form its token request.",
      reason: "claims_malformed",
    });
  }
}

function isAllowed(tenantId: string, allowed: readonly string[] | "*"): boolean {
  return allowed === "*" || allowed.some((tenant) => tenant.toLowerCase() === tenantId.toLowerCase());
}

/** OpenID Connect Core §5.5: an object of objects. MSAL sends anything else as if no claims had been asked for. */
function isClaimsRequest(claims: string): boolean {
  if (claims.length > MAX_CLAIMS_LENGTH) return false;
  const members = parseJsonObject(claims);
  return members !== undefined && Object.values(members).every(isJsonObject);
}
