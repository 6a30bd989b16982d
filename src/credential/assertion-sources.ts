/** Continuous-integration platforms that issue a federated token on request: GitHub Actions, Azure Pipelines. */

import { type BoundedRequest, boundedFetch, type Fetch, FetchFailure } from "../bounded-fetch.ts";
import { ConfigurationError } from "../errors.ts";
import type { Secret } from "../secret.ts";
import type { CredentialSource, SourceCredential, SourcePorts } from "./credential.ts";
import { type FederatedToken, readFederatedToken } from "./federated-token.ts";
import { openReloadingValue } from "./reloading-value.ts";

/** A token request that is under way has to arrive before the token ends. */
const MARGIN_MS = 10_000;
/** A token with less than this left is renewed before it is used. */
const RENEW_MS = 60_000;
/** Shortest time between two requests to an issuer that gave nothing. */
const RETRY_MS = 5_000;
/** Another token of an issuer that gave one this recently would be refused for the same reason. */
const YOUNG_MS = 60_000;
const TIMEOUT_MS = 10_000;
const MAX_BYTES = 64 * 1024;

export interface GitHubActionsOptions {
  /** ACTIONS_ID_TOKEN_REQUEST_URL */
  readonly requestUrl: string;
  /** ACTIONS_ID_TOKEN_REQUEST_TOKEN */
  readonly requestToken: Secret;
  /** `aud` of the token, as the federated credential has it: `api://AzureADTokenExchange` in the public cloud. */
  readonly audience: string;
}

/**
 * GitHub, "OpenID Connect reference": GET with the job's own token, answered by `{"value": "<jwt>"}`.
 *
 * @throws {ConfigurationError} when GitHub gives no token now.
 */
export async function openGitHubActions(
  { requestUrl, requestToken, audience }: GitHubActionsOptions,
  fetch: Fetch,
  ports: SourcePorts,
): Promise<SourceCredential> {
  const setting = "ACTIONS_ID_TOKEN_REQUEST_URL";
  const url = httpsUrl(requestUrl, setting);
  url.searchParams.set("audience", audience);
  const headers = { accept: "application/json", authorization: `Bearer ${requestToken.reveal()}` };
  return openIssuer(
    {
      source: "github-actions",
      setting,
      url,
      request: { headers },
      member: "value",
      hint: "does the job have `permissions: id-token: write`?",
    },
    fetch,
    ports,
  );
}

export interface AzurePipelinesOptions {
  /** SYSTEM_OIDCREQUESTURI */
  readonly requestUri: string;
  /** SYSTEM_ACCESSTOKEN, which a pipeline has to map into the environment of the step. */
  readonly accessToken: Secret;
  readonly serviceConnectionId: string;
}

/**
 * Azure DevOps, "Oidctoken - Create" 7.1: POST with the job's token, answered by `{"oidcToken": "<jwt>"}`.
 *
 * @throws {ConfigurationError} when Azure Pipelines gives no token now.
 */
export async function openAzurePipelines(
  { requestUri, accessToken, serviceConnectionId }: AzurePipelinesOptions,
  fetch: Fetch,
  ports: SourcePorts,
): Promise<SourceCredential> {
  const setting = "SYSTEM_OIDCREQUESTURI";
  const url = httpsUrl(requestUri, setting);
  url.searchParams.set("api-version", "7.1");
  url.searchParams.set("serviceConnectionId", serviceConnectionId);
  const headers = {
    accept: "application/json",
    authorization: `Bearer ${accessToken.reveal()}`,
    "content-type": "application/json",
    // Without it a refusal is a redirect to a sign-in page.
    "x-tfs-fedauthredirect": "Suppress",
  };
  return openIssuer(
    {
      source: "azure-pipelines",
      setting,
      url,
      request: { method: "POST", headers },
      member: "oidcToken",
      hint: "is SYSTEM_ACCESSTOKEN mapped into the step, and may the pipeline use the service connection?",
    },
    fetch,
    ports,
  );
}

interface Issuer {
  readonly source: CredentialSource;
  readonly setting: string;
  readonly url: URL;
  readonly request: Pick<BoundedRequest, "method" | "headers">;
  /** Member of the JSON answer that holds the token. */
  readonly member: string;
  /** What to check when the issuer refuses. */
  readonly hint: string;
}

async function openIssuer(issuer: Issuer, fetch: Fetch, ports: SourcePorts): Promise<SourceCredential> {
  const value = await openReloadingValue(
    {
      source: issuer.source,
      origin: issuer.url.origin,
      marginMs: MARGIN_MS,
      isDue: ({ force, at, previousAt, expiresAt }) => {
        const sinceLast = at < previousAt ? Number.POSITIVE_INFINITY : at - previousAt;
        return force ? sinceLast >= YOUNG_MS : expiresAt - at < RENEW_MS && sinceLast >= RETRY_MS;
      },
      load: () => fetchToken(issuer, fetch, ports.now),
    },
    ports,
  );
  return {
    source: issuer.source,
    async prove() {
      const { value: token, generation } = await value.read();
      const { clientAssertion } = token;
      return { authentication: { method: "client_assertion", clientAssertion }, generation };
    },
    look: value.look,
    status: value.status,
  };
}

async function fetchToken(issuer: Issuer, fetch: Fetch, now: () => number): Promise<FederatedToken> {
  const { url, request, member } = issuer;
  const answer = await boundedFetch(fetch, url.href, {
    ...request,
    timeoutMs: TIMEOUT_MS,
    maxBytes: MAX_BYTES,
  }).catch((cause: unknown) => {
    if (!(cause instanceof FetchFailure)) throw cause;
    throw faultOf(issuer, `${url.origin} gave no answer (${cause.kind})`, cause);
  });
  if (answer.status !== 200) {
    throw faultOf(issuer, `${url.origin} answered ${answer.status}; ${issuer.hint}`);
  }
  const token = readFederatedToken(memberOf(answer.text, member));
  if ("problem" in token) throw faultOf(issuer, `${member} in the answer of ${url.origin} ${token.problem}`);
  if (token.expiresAt - MARGIN_MS <= now()) {
    throw faultOf(issuer, `the token that ${url.origin} gave has ended already; is the clock right?`);
  }
  return token;
}

/** Empty when there is no such member: then there is no token either. */
function memberOf(text: string, member: string): string {
  try {
    const answer: unknown = JSON.parse(text);
    const value = typeof answer === "object" && answer !== null ? Reflect.get(answer, member) : undefined;
    return typeof value === "string" ? value : "";
  } catch {
    // The parser's message quotes the text, which may hold the token.
    return "";
  }
}

/** The token of the job travels to this address, so nothing but TLS will do. */
function httpsUrl(text: string, setting: string): URL {
  if (!URL.canParse(text) || new URL(text).protocol !== "https:") {
    throw new ConfigurationError([{ path: setting, problem: "is not an https URL" }]);
  }
  return new URL(text);
}

function faultOf({ setting }: Issuer, problem: string, cause?: unknown): ConfigurationError {
  return new ConfigurationError([{ path: setting, problem }], { cause });
}
