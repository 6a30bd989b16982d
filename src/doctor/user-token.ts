/** Checks a user's token, where one is given: whether the gateway accepts it, and what it shows of the registrations behind it. */

import type { GatewayConfig } from "../config/load.ts";
import { authorize } from "../identity/claims-policy.ts";
import { readCompactJwt, type TokenClaims } from "../identity/compact-jwt.ts";
import type { Verification, VerifiedCaller } from "../identity/contract.ts";
import type { RejectionReason } from "../identity/rejection.ts";
import { createTokenVerifier } from "../identity/token-verifier.ts";
import { patchApplication, type Registration, showApplication } from "./commands.ts";
import type { Examination } from "./examination.ts";
import { fault, ok, skipped, type Verdict, warning } from "./verdict.ts";

const XMS_CC = { optionalClaims: { accessToken: [{ name: "xms_cc", essential: false }] } };

const TOKEN_VERSION_2 = { api: { requestedAccessTokenVersion: 2 } };

/** The result of the gateway's own verifier; undefined when no token was given. */
export async function verifyUserToken(examination: Examination): Promise<Verification | undefined> {
  const { config, authority, fetch, now, userToken } = examination;
  if (userToken === undefined) return undefined;
  const verifier = await createTokenVerifier({ ...config.identity, authority, fetch, now });
  try {
    return await verifier.verify([`Bearer ${userToken.reveal()}`]);
  } finally {
    verifier.close();
  }
}

export function checkUserToken(verification: Verification | undefined, examination: Examination): Verdict {
  const { registration, userToken } = examination;
  if (verification === undefined || userToken === undefined)
    return skipped("give one with --token-file FILE to check whether the gateway and Entra accept it");
  const claims = claimsOf(userToken.reveal());
  const facts = factsOf(claims);
  if (verification.outcome === "unavailable") return skipped("needs the signing keys");
  if (verification.outcome === "rejected") {
    const reason = (verification.error.reason ?? "malformed") as RejectionReason;
    const [fix, commands] = FIXES[reason] ?? ["get a new token for the gateway"];
    return fault(`the gateway refuses the token (${reason}): ${verification.error.detail}`, fix, {
      facts,
      commands: commands?.(registration) ?? [],
    });
  }
  return checkCaller(verification.caller, examination.config, registration, facts);
}

function checkCaller(
  { principal }: VerifiedCaller,
  { routes }: GatewayConfig,
  registration: Registration,
  facts: Record<string, string>,
): Verdict {
  const refused = routes.flatMap(({ target, policy }) => {
    const error = authorize(principal, policy);
    return error === undefined ? [] : [`${target.path} (${error.reason ?? error.code})`];
  });
  if (refused.length === routes.length)
    return fault(
      `the token is genuine, but no route admits it: ${refused.join(", ")}`,
      "let the front end ask for a scope that the routes' requiredScopes name, and expose it in the registration",
      { facts, commands: [showApplication(registration)] },
    );
  if (!principal.acceptsClaimsChallenge)
    return warning(
      "the token has no xms_cc with cp1: a claims challenge cannot be handed to this front end",
      "add the optional claim xms_cc to the gateway's registration (the command replaces other optional claims of access tokens), and set clientCapabilities: [\"cp1\"] in the front end's MSAL",
      { facts, commands: [patchApplication(registration, XMS_CC)] },
    );
  if (principal.tokenVersion === "1.0")
    return warning(
      "the token is of version 1.0, whose aud follows the spelling that the client used",
      "let the registration issue v2 tokens, whose aud is always the client id",
      { facts, commands: [patchApplication(registration, TOKEN_VERSION_2)] },
    );
  const but = refused.length === 0 ? "" : `; not admitted by ${refused.join(", ")}`;
  return ok(`the gateway accepts the token${but}`, { facts });
}

type Fix = readonly [fix: string, commands?: (registration: Registration) => readonly string[]];

const FIXES: Partial<Record<RejectionReason, Fix>> = {
  malformed: ["give a whole access token, nothing around it"],
  header: ["give the token that the front end sends to the gateway, unchanged"],
  graph_token: [
    "it is a token for Microsoft Graph; ask for the gateway's scope, api://<client id>/access_as_user",
    (registration) => [showApplication(registration)],
  ],
  id_token: ["give an access token for the gateway, not an ID token"],
  audience_form: [
    "add the token's aud to identity.audiences, or let the registration issue v2 tokens, whose aud is the client id",
    (registration) => [patchApplication(registration, TOKEN_VERSION_2)],
  ],
  other_cloud: ["set AZURE_AUTHORITY_HOST to the cloud that the token comes from, or sign in to this one"],
  personal_account: ["sign in with a work or school account"],
  proof_of_possession: ["let the front end ask for a bearer token, without proof of possession"],
  audience: [
    "ask for the gateway's scope (api://<client id>/access_as_user), or add the token's aud to identity.audiences if it is a spelling of this gateway's id",
    (registration) => [showApplication(registration)],
  ],
  tenant: ["add the token's tid to identity.tenants, or sign in to the right tenant"],
  issuer: ["sign in at the authority that AZURE_AUTHORITY_HOST names"],
  version: [
    "let the registration issue v2 tokens",
    (registration) => [patchApplication(registration, TOKEN_VERSION_2)],
  ],
  expired: ["get a new token; they live for about an hour"],
  not_yet_valid: ["synchronise this machine's clock"],
  client: ["add the front end's client id (azp, appid) to identity.allowedClients"],
  kind: ["give an access token for the gateway, not an ID token"],
  signature: ["give the token unchanged; a token for Microsoft Graph can be verified by Graph alone"],
  unknown_key: [
    "get the token from the authority that AZURE_AUTHORITY_HOST names; where the gateway's enterprise application has a custom signing key (claims mapping, SAML sign-on), remove it",
  ],
};

function claimsOf(token: string): TokenClaims {
  try {
    return readCompactJwt(token).claims;
  } catch {
    return {};
  }
}

/** Claims that speak of applications. None that names a person is shown. */
function factsOf(claims: TokenClaims): Record<string, string> {
  const shown = ["ver", "iss", "aud", "tid", "scp", "azp", "appid", "xms_cc"].flatMap((name) => {
    const value = claims[name];
    const text = Array.isArray(value) ? value.join(" ") : value;
    return typeof text === "string" && /^[\x20-\x7E]{1,256}$/.test(text) ? [[name, text]] : [];
  });
  return Object.fromEntries(shown);
}
