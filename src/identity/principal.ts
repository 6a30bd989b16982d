/** Who is calling: what the rest of the gateway may know of a validated token. */

import type { Secret } from "../foundation/secret.ts";

/**
 * Group memberships as the token states them. A token of a user in more than 200 groups names a link instead
 * of the groups (`_claim_names`); that is "unknown", and must never read as "none".
 */
export type Groups =
  | { readonly kind: "listed"; readonly ids: readonly string[] }
  | { readonly kind: "overage" }
  | { readonly kind: "absent" };

/** The caller, copied claim by claim from a token whose signature and claims have been checked. Frozen. */
export interface Principal {
  /** `user` for a delegated token, `app` for an application's own. */
  readonly kind: "user" | "app";
  /** `tid`, lower case. */
  readonly tenantId: string;
  /** `oid`: the user's (or service principal's) object id in that tenant. */
  readonly objectId: string;
  /** `sub`: pairwise, differs per application. */
  readonly subject: string;
  /** `azp` (v2) or `appid` (v1): the client that presented the token. */
  readonly clientId: string;
  /** `ver`. */
  readonly tokenVersion: "1.0" | "2.0";
  /** `scp`, split; empty for an application. */
  readonly scopes: readonly string[];
  /** `roles`. */
  readonly roles: readonly string[];
  readonly groups: Groups;
  /** `acrs`: authentication contexts that the sign-in satisfied. */
  readonly authContexts: readonly string[];
  /** Whether the client declared `cp1` in `xms_cc`, any case, and so understands a claims challenge. */
  readonly acceptsClaimsChallenge: boolean;
  /** `exp`, ms since the epoch. */
  readonly expiresAt: number;
}

/** The caller's validated token in its role as OBO `assertion` (Entra, v2-oauth2-on-behalf-of-flow). */
export interface UserAssertion {
  readonly token: Secret;
  /** Base64url SHA-256 of the token: its identity in caches and logs. */
  readonly digest: string;
  /** Tenant whose authority the exchange must address; always from the validated token, never from a request. */
  readonly tenantId: string;
  /** `oid` of the user the token speaks for. */
  readonly objectId: string;
  /** `exp`, ms since the epoch. No downstream token obtained with this assertion may be served past it. */
  readonly expiresAt: number;
}

/** A validated call: the principal for everyone, the assertion for the exchange alone. */
export interface VerifiedCaller {
  readonly principal: Principal;
  readonly assertion: UserAssertion;
}
