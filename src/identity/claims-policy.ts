/** Claims policy: which validated claims make a principal, and which principal may use a route. */

import { GatewayError } from "../errors.ts";
import { GUID } from "../foundation/patterns.ts";
import type { TokenClaims } from "./compact-jwt.ts";
import type { Authority, Groups, Principal, RoutePolicy } from "./contract.ts";
import { tokenRejected } from "./rejection.ts";

/** Longest life that Entra gives: 28 hours, for clients that evaluate access continuously; and an hour for doubt. */
const MAX_LIFETIME_SECONDS = 29 * 3600;

export interface ClaimsPolicyOptions {
  readonly authority: Authority;
  /** Tenant ids, or `*` alone for any. */
  readonly tenants: readonly string[];
  /** Accepted `aud` values, compared exactly: Entra would refuse another spelling as OBO assertion. */
  readonly audiences: readonly string[];
  /** Client ids that may call; empty is any. */
  readonly allowedClients: readonly string[];
  /**
   * Forgiven for `nbf` and `iat`. Not for `exp`: Entra refuses an expired assertion within seconds, so tolerance
   * there would only move the refusal to the exchange.
   */
  readonly clockToleranceSeconds: number;
  /** Ms since the epoch. */
  readonly now: () => number;
}

/** Turns claims into a principal. Throws GatewayError `token_rejected`, and nothing else, when they do not allow it. */
export type PrincipalOf = (claims: TokenClaims) => Principal;

/** The policy for tokens, whatever the route. It looks at claims only; the signature over them is the verifier's. */
export function createClaimsPolicy(options: ClaimsPolicyOptions): PrincipalOf {
  const { authority, now, clockToleranceSeconds } = options;
  const anyTenant = options.tenants.includes("*");
  const tenants = new Set(options.tenants.map((tenant) => tenant.toLowerCase()));
  const audiences = new Set(options.audiences);
  const clients = new Set(options.allowedClients.map((client) => client.toLowerCase()));

  return (claims) => {
    const { ver, tid, iss, aud, oid, sub } = claims;
    if (ver !== "1.0" && ver !== "2.0") throw tokenRejected("version");
    if (typeof tid !== "string" || !GUID.test(tid)) throw tokenRejected("tenant");
    const tenantId = tid.toLowerCase();
    if (!anyTenant && !tenants.has(tenantId)) throw tokenRejected("tenant");
    // Which of them the tenant's document states is known with its keys; strategy.ts compares with that one.
    if (typeof iss !== "string" || !authority.issuers(tenantId, ver).includes(iss))
      throw tokenRejected("issuer");
    // A string: Entra names one audience, and with several none of them could tell for whom the token was meant.
    if (typeof aud !== "string" || !audiences.has(aud)) throw tokenRejected("audience");
    const expiresAt = endOfValidity(claims, now() / 1000, clockToleranceSeconds) * 1000;
    // RFC 7800: the sender must prove possession of the key named here, and no proof is looked for.
    if (claims.cnf !== undefined) throw tokenRejected("proof_of_possession");
    const clientId = clientOf(claims, ver);
    const kind = kindOf(claims);
    if (typeof oid !== "string" || oid === "" || typeof sub !== "string" || sub === "")
      throw tokenRejected("claims");
    if (clients.size > 0 && !clients.has(clientId.toLowerCase())) throw tokenRejected("client");

    return Object.freeze<Principal>({
      kind,
      tenantId,
      objectId: oid,
      subject: sub,
      clientId,
      tokenVersion: ver,
      scopes: kind === "user" ? scopesOf(claims) : Object.freeze([]),
      roles: listClaim(claims.roles),
      groups: groupsOf(claims),
      authContexts: authContextsOf(claims),
      acceptsClaimsChallenge: understandsClaimsChallenge(claims),
      expiresAt,
    });
  };
}

/** Returns `exp`. */
function endOfValidity(claims: TokenClaims, now: number, tolerance: number): number {
  const exp = secondsClaim(claims.exp);
  const iat = secondsClaim(claims.iat);
  const nbf = secondsClaim(claims.nbf);
  if (exp <= now) throw tokenRejected("expired");
  if (nbf > now + tolerance || iat > now + tolerance) throw tokenRejected("not_yet_valid");
  if (exp <= nbf || exp <= iat || exp - Math.min(iat, nbf) > MAX_LIFETIME_SECONDS)
    throw tokenRejected("lifetime");
  return exp;
}

/**
 * Compares a principal with a route's policy. Returns the refusal, or undefined when the route may be used.
 *
 * A client or a kind of caller that a route does not admit is answered as `scope_insufficient`: the token is good,
 * RFC 6750 §3.1 has no narrower error for one that reaches too little, and another sign-in would not help.
 */
export function authorize(principal: Principal, policy: RoutePolicy): GatewayError | undefined {
  const { kind, clientId, scopes, roles } = principal;
  const client = clientId.toLowerCase();
  if (kind === "app" && (policy.callers === "user" || policy.authContext !== undefined))
    return new GatewayError("user_token_required", { detail: "This route needs the token of a user." });
  if (kind === "user" && policy.callers === "app")
    return insufficient(policy, "kind", "This route is for applications, not for users.");
  if (policy.allowedClients.length > 0 && !policy.allowedClients.some((one) => one.toLowerCase() === client))
    return insufficient(policy, "client", "The calling application may not use this route.");
  if (kind === "user" && !meetsAny(policy.requiredScopes, scopes))
    return insufficient(
      policy,
      "scope",
      "The access token holds none of the scopes that this route accepts.",
    );
  if (!meetsAny(policy.requiredRoles, roles))
    return insufficient(policy, "role", "The caller holds none of the roles that this route accepts.");
  // Any application of a tenant can get a token for any API of it, without a grant. A route that names neither
  // roles nor clients has therefore admitted none.
  if (kind === "app" && policy.requiredRoles.length + policy.allowedClients.length === 0)
    return insufficient(policy, "role", "This route does not name the applications that may use it.");
  if (policy.authContext !== undefined && !principal.authContexts.includes(policy.authContext))
    return stepUp(policy.authContext, principal.acceptsClaimsChallenge);
  return undefined;
}

function meetsAny(required: readonly string[], held: readonly string[]): boolean {
  return required.length === 0 || required.some((one) => held.includes(one));
}

function insufficient(policy: RoutePolicy, reason: string, detail: string): GatewayError {
  return new GatewayError("scope_insufficient", { detail, reason, requiredScopes: policy.requiredScopes });
}

/** Entra, claims challenge: only a client that declared cp1 knows what to do with one. */
function stepUp(authContext: string, acceptsClaimsChallenge: boolean): GatewayError {
  return new GatewayError(acceptsClaimsChallenge ? "claims_challenged" : "interaction_required", {
    detail: "This route needs a stronger sign-in.",
    reason: "auth_context",
    claims: JSON.stringify({ access_token: { acrs: { essential: true, value: authContext } } }),
  });
}

/** NumericDate (RFC 7519 §2), as Entra writes it: whole seconds. Excludes `1e999` and other ways to say "for ever". */
export function secondsClaim(value: unknown): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value <= 0) throw tokenRejected("claims");
  return value;
}

/** A list of strings; an absent one is empty. */
export function listClaim(value: unknown): readonly string[] {
  if (value === undefined) return Object.freeze([]);
  if (!isListOfStrings(value)) throw tokenRejected("claims");
  return Object.freeze([...value]);
}

/** The client that asked for the token. ID tokens have none, which is the surest way to tell them. */
export function clientOf(claims: TokenClaims, version: Principal["tokenVersion"]): string {
  const client = version === "2.0" ? claims.azp : claims.appid;
  if (client === undefined) throw tokenRejected("kind");
  if (typeof client !== "string" || client === "") throw tokenRejected("claims");
  return client;
}

/**
 * User or application. `idtyp` says it where the registration asks for that optional claim. Otherwise a delegated
 * token has `scp`, and an application's own token has none and is about the application itself: `oid` equals `sub`.
 */
export function kindOf({ idtyp, scp, oid, sub }: TokenClaims): Principal["kind"] {
  if (scp !== undefined && (idtyp === undefined || idtyp === "user")) return "user";
  if (scp === undefined && (idtyp === "app" || (idtyp === undefined && oid === sub))) return "app";
  throw tokenRejected("kind");
}

export function scopesOf({ scp }: TokenClaims): readonly string[] {
  const scopes = typeof scp === "string" ? scp.split(" ").filter((scope) => scope !== "") : [];
  if (scopes.length === 0) throw tokenRejected("claims");
  return Object.freeze(scopes);
}

/**
 * Past 200 groups Entra leaves them out and names a source instead, or says `hasgroups` where a link would be too
 * long. Either sign wins over a list beside it: a list that may be incomplete is not a list.
 */
export function groupsOf({ groups, hasgroups, _claim_names: names }: TokenClaims): Groups {
  const pointsElsewhere = typeof names === "object" && names !== null && Object.hasOwn(names, "groups");
  if (pointsElsewhere || hasgroups === true || hasgroups === "true")
    return Object.freeze({ kind: "overage" });
  return Object.freeze(
    groups === undefined ? { kind: "absent" } : { kind: "listed", ids: listClaim(groups) },
  );
}

export function authContextsOf({ acrs }: TokenClaims): readonly string[] {
  return listClaim(typeof acrs === "string" ? [acrs] : acrs);
}

/** `xms_cc` with cp1. Entra documents the comparison as case-insensitive. */
export function understandsClaimsChallenge({ xms_cc: capabilities }: TokenClaims): boolean {
  return listClaim(typeof capabilities === "string" ? [capabilities] : capabilities).some(
    (capability) => capability.toLowerCase() === "cp1",
  );
}

function isListOfStrings(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}
