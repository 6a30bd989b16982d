/** Continuous-integration platforms that issue a federated token on request: GitHub Actions, Azure Pipelines. */

import { ConfigurationError } from "../errors.ts";
import {
  type BoundedRequest,
  boundedFetch,
  type Fetch,
  type FetchFailure,
} from "../foundation/bounded-fetch.ts";
import { parseJsonObject } from "../foundation/json.ts";
import type { Secret } from "../foundation/secret.ts";
import type { CredentialSource } from "./contract.ts";
import { openIssuedToken } from "./issued-token.ts";
import type { SourceCredential, SourcePorts } from "./source.ts";

/** A token with less than this left is renewed before it is used. */
const RENEW_MS = 60_000;
const MAX_BYTES = 64 * 1024;

export interface GitHubActionsOptions {
  /** ACTIONS_ID_TOKEN_REQUEST_URL */
  readonly requestUrl: string;
  /** ACTIONS_ID_TOKEN_REQUEST_TOKEN */
  readonly requestToken: Secret;
  /** `aud` of the token, as the federated credential has it: `api://AzureADTokenExchange` in the public cloud. */
  readonly audience: string;
  /** Milliseconds for one answer. */
  readonly timeoutMs: number;
}

/**
 * GitHub, "OpenID Connect reference": GET with the job's own token, answered by `{"value": "<jwt>"}`.
 *
 * @throws {ConfigurationError} when GitHub gives no token now.
 */
export async function openGitHubActions(
  { requestUrl, requestToken, audience, timeoutMs }: GitHubActionsOptions,
  fetch: Fetch,
  ports: SourcePorts,
): Promise<SourceCredential> {
  const setting = "ACTIONS_ID_TOKEN_REQUEST_URL";
  const url = httpsUrl(requestUrl, setting);
  url.searchParams.set("audience", audience);
  const headers = { accept: "application/json", authorization: `Bearer ${requestToken.reveal()}` };
  return openPlatform(
    {
      source: "github-actions",
      setting,
      url,
      request: { headers },
      member: "value",
      hint: "does the job have `permissions: id-token: write`?",
      timeoutMs,
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
  /** Milliseconds for one answer. */
  readonly timeoutMs: number;
}

/**
 * Azure DevOps, "Oidctoken - Create" 7.1: POST with the job's token, answered by `{"oidcToken": "<jwt>"}`.
 *
 * @throws {ConfigurationError} when Azure Pipelines gives no token now.
 */
export async function openAzurePipelines(
  { requestUri, accessToken, serviceConnectionId, timeoutMs }: AzurePipelinesOptions,
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
  return openPlatform(
    {
      source: "azure-pipelines",
      setting,
      url,
      request: { method: "POST", headers },
      member: "oidcToken",
      hint: "is SYSTEM_ACCESSTOKEN mapped into the step, and may the pipeline use the service connection?",
      timeoutMs,
    },
    fetch,
    ports,
  );
}

interface Platform {
  readonly source: CredentialSource;
  readonly setting: string;
  readonly url: URL;
  readonly request: Pick<BoundedRequest, "method" | "headers">;
  /** Member of the JSON answer that holds the token. */
  readonly member: string;
  /** What to check when the platform refuses. */
  readonly hint: string;
  readonly timeoutMs: number;
}

function openPlatform(platform: Platform, fetch: Fetch, ports: SourcePorts): Promise<SourceCredential> {
  const { source, setting, url } = platform;
  return openIssuedToken(
    {
      source,
      setting,
      origin: url.origin,
      renewMs: RENEW_MS,
      // These tokens live for minutes, so there is no time in which an old one would do.
      inBackground: false,
      obtain: () => obtain(platform, fetch),
    },
    ports,
  );
}

async function obtain(
  { setting, url, request, member, hint, timeoutMs }: Platform,
  fetch: Fetch,
): Promise<string> {
  const answer = await boundedFetch(fetch, url.href, {
    ...request,
    timeoutMs,
    maxBytes: MAX_BYTES,
  }).catch((cause: FetchFailure) => {
    const problem = `${url.origin} gave no answer (${cause.kind})`;
    throw new ConfigurationError([{ path: setting, problem }], { cause });
  });
  if (answer.status === 200) return memberOf(answer.text, member);
  const problem = `${url.origin} answered ${answer.status}; ${hint}`;
  throw new ConfigurationError([{ path: setting, problem }]);
}

/** Empty when there is no such member: then there is no token either. */
function memberOf(text: string, member: string): string {
  const value = parseJsonObject(text)?.[member];
  return typeof value === "string" ? value : "";
}

/** The token of the job travels to this address, so nothing but TLS will do. */
function httpsUrl(text: string, setting: string): URL {
  if (!URL.canParse(text) || new URL(text).protocol !== "https:") {
    throw new ConfigurationError([{ path: setting, problem: "is not an https URL" }]);
  }
  return new URL(text);
}
