/** Phrases the gateway's own claims challenge for its caller (Entra, "Claims challenges, claims requests"). */

export interface ClaimsChallenge {
  readonly tenantId: string;
  /** Authorization endpoint of that tenant. */
  readonly authorizeEndpoint: string;
  /** Application id of the gateway: the caller needs a new token for the gateway, not for the API behind it. */
  readonly clientId: string;
  /** Decoded JSON text. */
  readonly claims: string;
}

/**
 * The gateway's own challenge, a value of `WWW-Authenticate` for a 401. To be sent only to a caller whose token
 * declares the `cp1` capability.
 */
export function claimsChallenge({ tenantId, authorizeEndpoint, clientId, claims }: ClaimsChallenge): string {
  const parameters = {
    realm: tenantId,
    authorization_uri: authorizeEndpoint,
    client_id: clientId,
    error: "insufficient_claims",
    claims: Buffer.from(claims, "utf8").toString("base64"),
  };
  return `Bearer ${Object.entries(parameters)
    .map(([name, value]) => `${name}=${quoted(value)}`)
    .join(", ")}`;
}

/** RFC 9110 §5.6.4. */
function quoted(value: string): string {
  return `"${value.replace(/["\\]/g, "\\$&")}"`;
}
