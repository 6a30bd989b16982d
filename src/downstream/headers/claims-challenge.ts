/** Reads the claims challenges of Entra-protected APIs (Entra, "Claims challenges, claims requests"). */

import { GatewayError } from "../../errors.ts";
import { isJsonObject, parseJsonObject } from "../../foundation/json.ts";
import { parseChallenges } from "./challenges.ts";

/** Bytes of decoded claims. */
const MAX_CLAIMS = 4096;

const BASE64 = /^[A-Za-z0-9+/_-]+={0,2}$/;

/**
 * The claims request in a `WWW-Authenticate` header, as decoded JSON text, or undefined when there is none that can be
 * used. `error` is not consulted: some APIs say `invalid_token` beside genuine claims, others say
 * `insufficient_claims` beside empty ones. The text is the server's own, to be passed on as it is.
 */
export function usableClaims(wwwAuthenticate: string | readonly string[] | undefined): string | undefined {
  for (const { scheme, parameters, wellFormed } of parseChallenges(wwwAuthenticate)) {
    // A proof-of-possession challenge repeats the names of Bearer's parameters; those are not ours to answer.
    if (scheme !== "bearer" || !wellFormed) continue;
    const claims = decodeClaims(parameters.get("claims") ?? "");
    if (claims !== undefined) return claims;
  }
  return undefined;
}

/**
 * Base64 in either alphabet, with or without padding, of a JSON object that asks something of the access token.
 *
 * @throws {GatewayError} `downstream_unreachable` when the object is no claims request (OpenID Connect Core §5.5: an
 * object of objects). The exchange cannot pass it on, and the user's next sign-in could not meet it.
 */
function decodeClaims(encoded: string): string | undefined {
  if (encoded.length > MAX_CLAIMS * 2 || !BASE64.test(encoded)) return undefined;
  const bytes = Buffer.from(encoded, "base64");
  if (bytes.length > MAX_CLAIMS) return undefined;
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    // Not UTF-8: then it is not a challenge, and the status speaks for itself.
    return undefined;
  }
  const parsed = parseJsonObject(text);
  if (parsed === undefined || !isJsonObject(parsed.access_token)) return undefined;
  if (Object.values(parsed).every(isJsonObject)) return text;
  throw new GatewayError("downstream_unreachable", {
    detail: "The downstream API asks for claims that are no claims request.",
    reason: "claims_malformed",
  });
}

/**
 * The claims request of an answer, by `usableClaims`: only these two statuses challenge (Entra, "Claims challenges").
 *
 * @throws {GatewayError} `downstream_unreachable`, as `decodeClaims`.
 */
export function challengeOf(
  status: number,
  wwwAuthenticate: string | readonly string[] | undefined,
): string | undefined {
  return status === 401 || status === 403 ? usableClaims(wwwAuthenticate) : undefined;
}
