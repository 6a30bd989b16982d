/** Claims: how single claims of Entra's access tokens are read. A claim of another type than documented is refused. */

import type { TokenClaims } from "./compact-jwt.ts";
import type { Groups, Principal } from "./contract.ts";
import { tokenRejected } from "./rejection.ts";

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
