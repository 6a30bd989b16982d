/** Puts a demand on the user into the form that this caller can take: claims challenge or plain problem. */

import { GatewayError } from "../errors.ts";
import type { Principal } from "../identity/contract.ts";

/**
 * Rephrases what Entra or a downstream API wants of the user; returns every other error as it is.
 *
 * - A client without `cp1` would meet a claims challenge as a mystery (Entra, claims-challenge: send one only to
 *   clients that declared the capability), so it gets the same claims inside a problem body.
 * - When an exchange made because of `downstreamClaims` is refused without claims of its own, the downstream
 *   API's are what the caller needs for its next sign-in.
 */
export function inTermsOf(principal: Principal, error: unknown, downstreamClaims?: string): unknown {
  if (!(error instanceof GatewayError)) return error;
  if (error.code !== "claims_challenged" && error.code !== "interaction_required") return error;
  const claims = error.claims ?? downstreamClaims;
  const code =
    claims !== undefined && principal.acceptsClaimsChallenge ? "claims_challenged" : "interaction_required";
  if (code === error.code && claims === error.claims) return error;
  return new GatewayError(code, {
    detail: error.detail,
    ...(claims !== undefined && { claims }),
    ...(error.reason !== undefined && { reason: error.reason }),
    ...(error.diagnostics !== undefined && { diagnostics: error.diagnostics }),
    cause: error,
  });
}

/**
 * A demand on the user, met where the gateway acts for itself: no sign-in of a user can meet it. A tenant that has not
 * been set up for the gateway is that tenant's matter here too, and no reason to page the operator.
 */
export function notTheUsers(error: unknown): unknown {
  if (!(error instanceof GatewayError) || error.code === "tenant_not_onboarded") return error;
  if (error.actor !== "user" && error.code !== "token_rejected") return error;
  return new GatewayError("client_rejected", {
    detail: "The gateway is not accepted by the identity provider at the moment.",
    reason: error.reason ?? error.code,
    ...(error.diagnostics !== undefined && { diagnostics: error.diagnostics }),
    cause: error,
  });
}

/** The downstream API challenged again although the token met its first challenge: only the user can go on. */
export function challengedAgain(principal: Principal, claims: string): unknown {
  const error = new GatewayError("claims_challenged", {
    detail:
      "The downstream API asks for further claims. Acquire a new token with these claims and call again.",
    claims,
    reason: "challenged_again",
  });
  return inTermsOf(principal, error);
}
