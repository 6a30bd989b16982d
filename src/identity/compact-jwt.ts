/** Compact JWT: what its text alone tells, read strictly, before a key is looked up or a signature computed. */

import { type RejectionReason, tokenRejected } from "./rejection.ts";

/** Decoded claims. Untrusted until the signature over them has been verified. */
export type TokenClaims = Readonly<Record<string, unknown>>;

export interface CompactJwt {
  /** Key id of the header. */
  readonly keyId: string;
  readonly claims: TokenClaims;
}

const COMPACT = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)$/;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Takes a token apart and refuses what Entra never issues, so that whatever library verifies it later sees nothing
 * that it could read differently from us.
 *
 * Repeated JSON members are read as every library here reads them: the last one counts. They are covered by the
 * signature, so only the authority could have written them.
 *
 * @throws {GatewayError} `token_rejected`.
 */
export function readCompactJwt(token: string): CompactJwt {
  const [, headerPart, payloadPart, signaturePart] = COMPACT.exec(token) ?? [];
  if (headerPart === undefined || payloadPart === undefined || signaturePart === undefined)
    throw tokenRejected("malformed");
  // A last group of one character carries six bits: less than a byte, so no encoder writes it (RFC 4648 §4).
  if ([headerPart, payloadPart, signaturePart].some((part) => part.length % 4 === 1))
    throw tokenRejected("malformed");

  const header = decodeObject(headerPart);
  const refusal = judgeHeader(header);
  if (refusal !== undefined) throw tokenRejected(refusal);
  return { keyId: header.kid as string, claims: decodeObject(payloadPart) };
}

function judgeHeader(header: Readonly<Record<string, unknown>>): RejectionReason | undefined {
  // The list is ours, never the metadata's: a key must not be usable with an algorithm that it was not made for.
  if (header.alg !== "RS256") return "algorithm";
  if (header.typ !== "JWT") return "type";
  // crit and b64 change what the signature means (RFC 7515 §4.1.11, RFC 7797); zip and enc belong to encrypted
  // tokens; Graph's own tokens carry a nonce that makes their signature uncheckable by anybody but Graph.
  if (["crit", "b64", "nonce", "enc", "zip"].some((name) => Object.hasOwn(header, name))) return "header";
  // jku, jwk, x5u, x5c and x5t are not looked at: keys come from the key set, by kid, and from nowhere else.
  if (typeof header.kid !== "string" || header.kid === "") return "unknown_key";
  return undefined;
}

function decodeObject(part: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(utf8.decode(Buffer.from(part, "base64url")));
  } catch {
    // Without the cause: the parser's message quotes what it could not parse.
    throw tokenRejected("malformed");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw tokenRejected("malformed");
  return value as Readonly<Record<string, unknown>>;
}
