/** What a client assertion says of itself, for the operator who has to register exactly that. */

import type { ClientAuthentication } from "../../credential/contract.ts";
import { parseJsonObject } from "../../foundation/json.ts";

/** Printable ASCII of a length that a log can bear. */
const CLAIM = /^[\x20-\x7E]{1,256}$/;

/**
 * Issuer, subject and audience of our own proof, unverified: Entra compares them letter by letter with the
 * registered credential and its answer does not always say which one differs. None of them is secret.
 */
export function describeClientAssertion(authentication: ClientAuthentication): Record<string, string> {
  if (authentication.method !== "client_assertion") return {};
  const payload = authentication.clientAssertion.reveal().split(".")[1] ?? "";
  const { iss, sub, aud } = parseJsonObject(Buffer.from(payload, "base64url").toString()) ?? {};
  const audience = Array.isArray(aud) ? aud.join(" ") : aud;
  const claims = Object.entries({ assertion_iss: iss, assertion_sub: sub, assertion_aud: audience });
  return Object.fromEntries(
    claims.filter((claim): claim is [string, string] => typeof claim[1] === "string" && CLAIM.test(claim[1])),
  );
}
