/** Compact JWT: what its text alone tells, read strictly, before a key is looked up or a signature computed. */

import { type RejectionReason, tokenRejected } from "./rejection.ts";

/** Decoded claims. Untrusted until the signature over them has been verified. */
export type TokenClaims = Readonly<Record<string, unknown>>;

/** Header and claims of a token, before anything is known of them but that they are JSON objects. */
export interface DecodedJwt {
  readonly header: TokenClaims;
  readonly claims: TokenClaims;
}

export interface CompactJwt {
  /** Key id of the header. */
  readonly keyId: string;
  readonly claims: TokenClaims;
}

const COMPACT = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)$/;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Takes a token apart and refuses what Entra never issues, so that the library that verifies it later sees nothing that
 * it could read differently.
 *
 * Repeated JSON members are read as every library here reads them: the last one counts. They are covered by the
 * signature, so only the authority could have written them.
 *
 * @throws {GatewayError} `token_rejected`.
 */
export function readCompactJwt(token: string): CompactJwt {
  const { header, claims } = decodeCompactJwt(token);
  const refusal = headerRefusal(header);
  if (refusal !== undefined) throw tokenRejected(refusal);
  return { keyId: header.kid as string, claims };
}

/**
 * Header and claims of a token that is spelt as it has to be; nothing of them is checked.
 *
 * @throws {GatewayError} `token_rejected`, `malformed`.
 */
export function decodeCompactJwt(token: string): DecodedJwt {
  const [, headerPart, payloadPart, signaturePart] = COMPACT.exec(token) ?? [];
  if (headerPart === undefined || payloadPart === undefined || signaturePart === undefined)
    throw tokenRejected("malformed");
  if (![signaturePart, headerPart, payloadPart].every(isCanonical)) throw tokenRejected("malformed");
  return { header: decodeObject(headerPart), claims: decodeObject(payloadPart) };
}

/** Last characters whose unused bits, four or two of them, are zero. */
const ENDS_OF_TWO = /[AQgw]$/;
const ENDS_OF_THREE = /[AEIMQUYcgkosw048]$/;

/**
 * RFC 4648 §3.5: one value, one spelling. The bits of the last character that belong to no byte are zero; otherwise one
 * token could be sent in sixteen spellings, and each would be another token to caches and to places that are counted.
 * A last group of one character carries less than a byte, so no encoder writes it.
 */
export function isCanonical(part: string): boolean {
  const rest = part.length % 4;
  if (rest === 2) return ENDS_OF_TWO.test(part.slice(-1));
  if (rest === 3) return ENDS_OF_THREE.test(part.slice(-1));
  return rest === 0;
}

function headerRefusal(header: TokenClaims): RejectionReason | undefined {
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
