/** What can be known of a token that somebody else's issuer signed: that it is one, and when it ends. */

import { type JsonObject, parseJsonObject } from "../foundation/json.ts";
import { Secret } from "../foundation/secret.ts";

export interface FederatedToken {
  readonly clientAssertion: Secret;
  /** `exp`, ms since the epoch. */
  readonly expiresAt: number;
  /** `aud`, an array in Kubernetes' tokens. */
  readonly audiences: readonly unknown[];
  /** `nbf` or `iat`, ms since the epoch. */
  readonly startsAt: number | undefined;
  /** Issuer, subject and audience, which together a federated credential is matched by. Not secret. */
  readonly identity: string;
}

/** What is wrong with the text, as the end of a sentence that begins with where it came from; never quotes it. */
export type NotAToken = { readonly problem: string };

/**
 * Reads a JWT in compact form (RFC 7515 §7.1). Does NOT verify it: the key is the issuer's, the audience is Entra,
 * and the only use made of `exp` here is to stop sending a token that is sure to be refused.
 */
export function readFederatedToken(text: string): FederatedToken | NotAToken {
  const token = text.trim();
  if (token === "") return { problem: "is empty" };
  const [header, payload, signature, ...more] = token.split(".");
  if (!isBase64url(header) || !isBase64url(payload) || !isBase64url(signature) || more.length > 0) {
    return { problem: "does not hold a JWT (three base64url parts joined by dots)" };
  }
  const alg = decode(header)?.alg;
  const { exp, nbf, iat, iss, sub, aud } = decode(payload) ?? {};
  const start = nbf ?? iat;
  if (typeof alg !== "string") return { problem: "does not hold a JWT (its header cannot be read)" };
  if (typeof exp !== "number") return { problem: "holds a JWT without a readable exp claim" };
  // A writer that does not replace the file in one step can be caught between two writes. The signature comes
  // last, and an RSA signature (RFC 8017 §8.2.1) is as long as the modulus: 128-byte steps from 2048 bits on.
  if (/^[RP]S/.test(alg) && Buffer.from(signature, "base64url").length % 128 !== 0) {
    return { problem: "holds a JWT that is cut short" };
  }
  return {
    clientAssertion: new Secret(token),
    expiresAt: exp * 1000,
    audiences: [aud].flat(),
    startsAt: typeof start === "number" ? start * 1000 : undefined,
    identity: JSON.stringify([iss, sub, aud]),
  };
}

function isBase64url(part: string | undefined): part is string {
  return part !== undefined && /^[A-Za-z0-9_-]+$/.test(part);
}

function decode(part: string): JsonObject | undefined {
  return parseJsonObject(Buffer.from(part, "base64url").toString());
}
