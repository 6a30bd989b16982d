/** Why a caller's token is not accepted: a closed list of labels, each with the sentence that the caller sees. */

import { GatewayError } from "../errors.ts";

/**
 * One sentence for each label. None repeats anything of the token, so that a refusal can be logged and sent as it is,
 * and none says to an attacker which key, tenant or client would have been accepted.
 */
const SENTENCES = {
  // How it was sent.
  several_headers: "Send exactly one Authorization header.",
  malformed: "The access token is not a well-formed JSON Web Token.",
  too_large: "The access token is too large.",
  // Its header.
  algorithm: "The access token is not signed with RS256.",
  type: "The access token's typ is not JWT.",
  header: "The access token's header asks for something that this API does not support.",
  unknown_key:
    "The access token is signed with a key that its issuer does not publish for this API. Tokens signed with an application's own key (a custom signing key, claims mapping) are not accepted.",
  signature: "The access token's signature is not valid.",
  // Its claims.
  version: "The access token's version is not supported.",
  tenant: "The access token comes from a tenant that may not call this API.",
  issuer: "The access token comes from an issuer that this API does not trust.",
  audience: "The access token was issued for another API.",
  expired: "The access token has expired.",
  not_yet_valid: "The access token is not valid yet.",
  lifetime: "The access token's lifetime is longer than this API accepts.",
  claims: "A claim of the access token is missing or malformed.",
  kind: "The token is not an access token for this API.",
  // Its claims, where they show what was meant.
  graph_token:
    "This looks like a token for Microsoft Graph; ask for this gateway's scope, not for one of Graph.",
  id_token: "This looks like an ID token; send an access token for this gateway's scope.",
  audience_form:
    "The access token names this API by another form of its identifier than this API accepts (client id or App ID URI).",
  other_cloud: "The access token comes from another Microsoft cloud than the one that this API belongs to.",
  personal_account:
    "The access token belongs to a personal Microsoft account; this API accepts work or school accounts.",
  proof_of_possession:
    "The access token is bound to a device or key (cnf), and this API accepts bearer tokens only; ask for one without binding.",
  client: "The application that sent the access token may not call this API.",
  // Ours, failing closed.
  internal: "The access token could not be validated.",
} as const;

export type RejectionReason = keyof typeof SENTENCES;

/** Reasons after which asking for another scope gives a token that is accepted. */
const WRONG_SCOPE: readonly RejectionReason[] = [
  "audience",
  "audience_form",
  "graph_token",
  "id_token",
  "kind",
];

/**
 * The refusal that a reason stands for. `cause` is for the gateway's faults; it is never built from token content.
 * `scopes` are those that the gateway publishes, for the reasons that another scope helps against.
 */
export function tokenRejected(
  reason: RejectionReason,
  { cause, scopes = [] }: { readonly cause?: unknown; readonly scopes?: readonly string[] } = {},
): GatewayError<"token_rejected"> {
  const ask = WRONG_SCOPE.includes(reason) && scopes.length > 0 ? ` Ask for ${scopes.join(" or ")}.` : "";
  return new GatewayError("token_rejected", {
    detail: SENTENCES[reason] + ask,
    reason,
    ...(cause !== undefined && { cause }),
  });
}
