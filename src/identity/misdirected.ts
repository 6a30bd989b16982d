/** Misdirected tokens: which everyday mistake a refused token shows, so that the refusal can say what to ask for instead. */

import { GUID } from "../foundation/patterns.ts";
import { cloudOfIssuer } from "./authority.ts";
import type { TokenClaims } from "./compact-jwt.ts";
import type { Authority } from "./contract.ts";
import type { RejectionReason } from "./rejection.ts";

/** Entra, "Microsoft identity platform and OAuth2": Graph's application id, the same in every cloud. */
const GRAPH_ID = "00000003-0000-0000-c000-000000000000";

/** Graph's identifiers in the clouds (Graph, "National cloud deployments"), compared without a trailing slash. */
const GRAPH_HOSTS = [
  "graph.microsoft.com",
  "graph.microsoft.us",
  "dod-graph.microsoft.us",
  "microsoftgraph.chinacloudapi.cn",
];

/** Entra: the tenant of personal Microsoft accounts. */
const PERSONAL_TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad";

export interface RefusedToken {
  readonly reason: RejectionReason;
  readonly header: TokenClaims;
  readonly claims: TokenClaims;
}

export interface Expected {
  readonly authority: Authority;
  readonly audiences: readonly string[];
}

/**
 * The reason that helps the caller most. Nothing of the token has been proven, and nothing needs to be: the token is
 * refused either way.
 */
export function explainRefusal(refused: RefusedToken, expected: Expected): RejectionReason {
  const { reason, header, claims } = refused;
  if (isForGraph(claims.aud)) return "graph_token";
  if (isBoundToKey(header, claims) && KEY_BOUND_SHOWS_IN.includes(reason)) return "proof_of_possession";
  if (reason === "tenant" || reason === "issuer") return explainOrigin(reason, claims, expected.authority);
  if ((reason === "audience" || reason === "kind") && looksLikeIdToken(claims)) return "id_token";
  if (reason === "audience" && isOtherForm(claims.aud, expected.audiences)) return "audience_form";
  return reason;
}

/** A proof-of-possession wrapper is of another type or algorithm, and its claims are its sender's. */
const KEY_BOUND_SHOWS_IN: readonly RejectionReason[] = [
  "algorithm",
  "type",
  "header",
  "version",
  "claims",
  "kind",
];

function isForGraph(audience: unknown): boolean {
  if (typeof audience !== "string") return false;
  const text = audience.toLowerCase().replace(/\/+$/, "");
  return text === GRAPH_ID || GRAPH_HOSTS.some((host) => text === `https://${host}`);
}

/** RFC 7800, or the signed HTTP request that MSAL wraps around such a token (`at` inside, type `pop`). */
function isBoundToKey({ typ }: TokenClaims, { cnf, at }: TokenClaims): boolean {
  return (
    cnf !== undefined || (typeof typ === "string" && /^(?:at\+)?(?:pop|dpop\+jwt)$/i.test(typ)) || isJwt(at)
  );
}

function isJwt(value: unknown): boolean {
  return typeof value === "string" && value.split(".").length === 3;
}

function explainOrigin(
  reason: "tenant" | "issuer",
  { tid, iss }: TokenClaims,
  authority: Authority,
): RejectionReason {
  if (tid === PERSONAL_TENANT) return "personal_account";
  const cloud = cloudOfIssuer(iss);
  return cloud !== undefined && authority.cloud !== "private" && cloud !== authority.cloud
    ? "other_cloud"
    : reason;
}

/** Access tokens name the client that asked for them; ID tokens do not, and grant nothing. */
function looksLikeIdToken({ azp, appid, scp, roles, cnf }: TokenClaims): boolean {
  return [azp, appid, scp, roles, cnf].every((claim) => claim === undefined);
}

/** The client id where the App ID URI is accepted, or the other way round, or another spelling of either. */
function isOtherForm(audience: unknown, accepted: readonly string[]): boolean {
  if (typeof audience !== "string") return false;
  const core = coreOf(audience);
  return accepted.some((one) => coreOf(one) === core);
}

function coreOf(audience: string): string {
  const text = audience.toLowerCase().replace(/\/+$/, "");
  const id = text.replace(/^(?:api|spn):(?:\/\/)?/, "");
  return GUID.test(id) ? id : text;
}
