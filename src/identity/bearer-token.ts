/** Authorization header: from its field values to the bearer token, by the grammar of RFC 6750 §2.1. */

import { GatewayError } from "../errors.ts";
import { tokenRejected } from "./rejection.ts";

/**
 * Largest token, bytes. Genuine tokens of users with 200 groups are 12 to 16 KB; all request headers together may
 * take 32 KiB.
 */
export const MAX_TOKEN_BYTES = 24 * 1024;

/** The scheme, then nothing (a bare scheme), or a character that ends a scheme name. */
const BEARER = /^bearer(?![!#$%&'*+.^_`|~0-9a-z-])/i;

/** `b64token` without the padding that no JWT carries: one run of characters, so a second word or a comma ends it. */
const CREDENTIALS = /^ [A-Za-z0-9._~+/-]+$/;

/**
 * The token of a request's one `Authorization` field. Fields of another scheme hold no bearer token, so they read as
 * none: the caller is told how to authenticate, not that its token is bad.
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
  if (credentials.length - 1 > MAX_TOKEN_BYTES) throw tokenRejected("too_large");
  if (!CREDENTIALS.test(credentials)) throw tokenRejected("malformed");
  return credentials.slice(1);
}

/** Optional whitespace around a field value is not part of it (RFC 9110 §5.5); `trim` would take more than that. */
function trimWhitespace(value: string): string {
  let start = 0;
  let end = value.length;
  while (start < end && isBlank(value.charCodeAt(start))) start += 1;
  while (end > start && isBlank(value.charCodeAt(end - 1))) end -= 1;
  return value.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}
