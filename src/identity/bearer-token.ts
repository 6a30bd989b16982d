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
  while (start < end && isBlank(value.charCodeAt(start))) start += 1;
  while (end > start && isBlank(value.charCodeAt(end - 1))) end -= 1;
  return value.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}
