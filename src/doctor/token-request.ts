/** A real token request with the gateway's own proof, for each resource: what Entra answers, and what that means. */

import type { ClientAuthentication, CredentialRing } from "../credential/contract.ts";
import { ACTOR_OF } from "../errors.ts";
import { aadstsEntry, diagnosticsOf, numbersOf } from "../exchange/entra/answers.ts";
import { type BoundedResponse, boundedFetch } from "../foundation/bounded-fetch.ts";
import { parseJsonObject } from "../foundation/json.ts";
import { explain, type Situation } from "./aadsts.ts";
import { ANSWER_LIMIT_MS, type Examination } from "./examination.ts";
import { identityIn } from "./federated-token.ts";
import { silenceOfError } from "./network.ts";
import { fault, ok, type Verdict, warning } from "./verdict.ts";

const CLIENT_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const GRAPH = "https://graph.microsoft.com";
const MAX_ANSWER_BYTES = 256 * 1024;

/**
 * The resource insists on an assigned role, which an exchange for a user does not need: Entra has accepted the proof,
 * and that is what was asked.
 */
const ROLE_NEEDED = 501051;

/** Client credentials (RFC 6749 §4.4): the only grant that proves the gateway without a user. The token is dropped. */
export async function checkTokenRequest(ring: CredentialRing, examination: Examination): Promise<Verdict> {
  const { config } = examination;
  const apis = Object.values(config.downstreamApis);
  const resources = [...new Set(apis.map(({ scopes }) => resourceOf(scopes[0] ?? "")))];
  for (const resource of resources) {
    const verdict = await askFor(resource, ring, examination);
    if (verdict.outcome !== "ok") return verdict;
  }
  return ok(`Entra accepts the gateway, and knows ${resources.join(", ")}`);
}

async function askFor(resource: string, ring: CredentialRing, examination: Examination): Promise<Verdict> {
  const { config, authority, registration, fetch } = examination;
  const { clientId, tenantId } = config.application;
  const tokenEndpoint = authority.tokenEndpoint(tenantId);
  let answer: BoundedResponse;
  let identity: Situation["identity"];
  try {
    const authentication = await ring.authenticate({ clientId, tokenEndpoint });
    if (ring.source === "workload-identity")
      identity = await identityIn(config.credential.federatedTokenFile);
    answer = await boundedFetch(fetch, tokenEndpoint, {
      method: "POST",
      headers: { accept: "application/json", "content-type": "application/x-www-form-urlencoded" },
      body: formOf(clientId, resource, authentication),
      timeoutMs: ANSWER_LIMIT_MS,
      maxBytes: MAX_ANSWER_BYTES,
    });
  } catch (error) {
    const { finding, fix } = silenceOfError(error);
    return fault(`${tokenEndpoint} gives no answer: ${finding}`, fix);
  }
  return readAnswer(answer, { registration, resource, identity });
}

/** Status, numbers and shape decide; no text of Entra's is read, and none is shown: it may name people. */
function readAnswer({ status, headers, text }: BoundedResponse, situation: Situation): Verdict {
  const { resource } = situation;
  const body = parseJsonObject(text);
  if (status === 200 && typeof body?.access_token === "string") return ok(`a token for ${resource}`);
  const numbers = numbersOf(body);
  if (numbers.includes(ROLE_NEEDED))
    return ok(`accepted; ${resource} assigns roles, which users do not need`);

  const { error_codes: codes, ...diagnostics } = diagnosticsOf({ status, headers, body });
  const facts = {
    ...(diagnostics as Record<string, string | number>),
    ...(Array.isArray(codes) && { aadsts: codes.join(" ") }),
  };
  const code = numbers[0] === undefined ? `status ${status}` : `AADSTS${numbers[0]}`;
  const explained = explain(numbers, situation);
  const entry = aadstsEntry(numbers);
  const later =
    status === 429 || status >= 500 || (entry !== undefined && ACTOR_OF[entry.code] === "authority");
  if (later && entry?.reason !== "issuer_unreachable")
    return warning(
      `Entra could not say (${code}): ${explained?.meaning ?? "it is busy, or something answers in its place"}`,
      "run the doctor again in a minute; if it stays, look for a proxy on the way",
      { facts },
    );
  if (explained !== undefined)
    return fault(
      `Entra refuses the gateway's request for ${resource} (${code}): ${explained.meaning}`,
      explained.fix,
      {
        facts,
        commands: explained.commands,
      },
    );
  if (body === undefined)
    return fault(
      `what answers at the token endpoint is not Entra (status ${status}, no JSON)`,
      "look for a proxy or a captive portal on the way to AZURE_AUTHORITY_HOST",
      { facts },
    );
  return fault(
    `Entra refuses the gateway's request for ${resource} (${code}), for a reason this version does not know`,
    "look the number up at https://login.microsoftonline.com/error, and the trace id in Entra's log of service principal sign-ins",
    { facts },
  );
}

function formOf(clientId: string, resource: string, authentication: ClientAuthentication): string {
  return new URLSearchParams({
    grant_type: "client_credentials",
    client_id: clientId,
    scope: `${resource}/.default`,
    ...(authentication.method === "client_assertion"
      ? {
          client_assertion_type: CLIENT_ASSERTION_TYPE,
          client_assertion: authentication.clientAssertion.reveal(),
        }
      : { client_secret: authentication.clientSecret.reveal() }),
  }).toString();
}

/** `https://graph.microsoft.com/User.Read` is of `https://graph.microsoft.com`; a bare name is of Graph. */
export function resourceOf(scope: string): string {
  const slash = scope.lastIndexOf("/");
  return slash < 0 ? GRAPH : scope.slice(0, slash);
}
