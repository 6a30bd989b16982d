/** A bearer token as a caller sends it: one Authorization field, a size that is accepted, three parts in canonical base64url. */

import { GatewayError } from "../errors.ts";
import { type JsonObject, parseJsonObject } from "../foundation/json.ts";
import { type RejectionReason, tokenRejected } from "./rejection.ts";

/**
 * Largest token, bytes. Genuine tokens of users with 200 groups are 12 to 16 KB; all request headers together may
 * take 32 KiB.
 */
export const MAX_TOKEN_BYTES = 24 * 1024;

/** The scheme, then nothing (a bare scheme), or a character that ends a scheme name. */
const BEARER = /^bearer(?![!#$%&'*+.^_`|~0-9a-z-])/i;

/**
 * RFC 6750 §2.1: `1*SP b64token`, here without the padding that no JWT carries. One run of characters, so that a second
 * word or a comma ends it; blanks alone separate, since a tab is another reader's end of the scheme or none.
 */
const CREDENTIALS = /^ +([A-Za-z0-9._~+/-]+)$/;

/**
 * The token of a request's one `Authorization` field. Fields of another scheme hold no bearer token, so they read as
 * none: the refusal then says how to authenticate, not that the token is bad.
 *
 * @throws {GatewayError} `token_missing` or `token_rejected`.
 */
export function readBearerToken(authorization: readonly string[]): string {
  // RFC 9110 §5.3: Authorization is not a list, so two of them are an attempt to make two readers disagree.
  if (authorization.length > 1) throw tokenRejected("several_headers");
  const value = trimWhitespace(authorization[0] ?? "");
  if (!BEARER.test(value))
    throw new GatewayError("token_missing", { detail: "Send an access token as Authorization: Bearer." });
  const credentials = value.slice("bearer".length);
  const [, token] = CREDENTIALS.exec(credentials) ?? [];
  if ((token?.length ?? credentials.length - 1) > MAX_TOKEN_BYTES) throw tokenRejected("too_large");
  if (token === undefined) throw tokenRejected("malformed");
  return token;
}

/** Optional whitespace around a field value is not part of it (RFC 9110 §5.5); `trim` would take more than that. */
function trimWhitespace(value: string): string {
  let start = 0;
  let end = value.length;
  // Past either end of the text there is no character, so that blanks alone end the search, too.
  while (isBlank(value.charCodeAt(start))) start += 1;
  while (isBlank(value.charCodeAt(end - 1))) end -= 1;
  return value.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

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
  const parts = COMPACT.exec(token)?.slice(1);
  if (parts?.every(isCanonical) !== true) throw tokenRejected("malformed");
  const [header, claims] = parts as [string, string, string];
  return { header: decodeObject(header), claims: decodeObject(claims) };
}

/** Last characters whose unused bits, four or two of them, are zero. */
const ENDS_OF_TWO = "AQgw";
const ENDS_OF_THREE = "AEIMQUYcgkosw048";

/**
 * RFC 4648 §3.5: one value, one spelling. The bits of the last character that belong to no byte are zero; otherwise one
 * token could be sent in sixteen spellings, and each would be another token to caches and to places that are counted.
 * A last group of one character carries less than a byte, so no encoder writes it.
 */
export function isCanonical(part: string): boolean {
  const rest = part.length % 4;
  if (rest === 2) return ENDS_OF_TWO.includes(part.slice(-1));
  if (rest === 3) return ENDS_OF_THREE.includes(part.slice(-1));
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

function decodeObject(part: string): JsonObject {
  let value: JsonObject | undefined;
  try {
    value = parseJsonObject(utf8.decode(Buffer.from(part, "base64url")));
  } catch {
    // Bytes that are no UTF-8 hold no object either.
  }
  if (value === undefined) throw tokenRejected("malformed");
  return value;
}

/** A tenant's or object's id, wherever in the text of the claims. */
const CLAIMED = [/"tid":"([0-9A-Fa-f-]{1,36})"/, /"oid":"([0-9A-Fa-f-]{1,36})"/] as const;

/**
 * Tenant and object id of whom a token speaks, before anything of it is checked. Found in the text of its claims, which costs
 * a tenth of parsing them: of tokens that nothing is known of, there may be thousands.
 */
export function readClaimedUser(token: string): string | undefined {
  if (token.length > MAX_TOKEN_BYTES) return undefined;
  const begin = token.indexOf(".") + 1;
  const end = token.indexOf(".", begin);
  if (begin === 0 || end < 0) return undefined;
  const claims = Buffer.from(token.slice(begin, end), "base64url").toString("latin1");
  const [tenant, user] = CLAIMED.map((claim) => claim.exec(claims)?.[1]);
  return tenant === undefined || user === undefined ? undefined : `${tenant} ${user}`;
}
