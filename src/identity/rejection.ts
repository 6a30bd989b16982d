/** Why a caller's token is not accepted: a closed list of labels, each with the sentence that the caller sees. */

import { GatewayError } from "../errors.ts";

/**
 * One sentence per label. None repeats anything of the token, so that a refusal can be logged and sent as it is, and
 * none tells an attacker which key, tenant or client would have been accepted.
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
  unknown_key: "The access token is signed with a key that its issuer does not publish.",
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
  proof_of_possession: "The access token is bound to a key, and this API accepts bearer tokens only.",
  client: "The application that sent the access token may not call this API.",
  // Ours, failing closed.
  internal: "The access token could not be validated.",
} as const;

export type RejectionReason = keyof typeof SENTENCES;

/** The refusal that a reason stands for. `cause` is for our own faults; it is never built from token content. */
export function tokenRejected(reason: RejectionReason, cause?: unknown): GatewayError<"token_rejected"> {
  return new GatewayError("token_rejected", {
    detail: SENTENCES[reason],
    reason,
    ...(cause !== undefined && { cause }),
  });
}
