/** The one door to MSAL: it phrases the token request, this module sends it, and the response comes back raw. */

import { createRequire } from "node:module";
import type { INetworkModule } from "@azure/msal-node";
import type { ClientAuthentication } from "../../credential/contract.ts";
import { GatewayError } from "../../errors.ts";
import { type BoundedResponse, boundedFetch, type Fetch } from "../../foundation/bounded-fetch.ts";
import type { Secret } from "../../foundation/secret.ts";
import type { TokenSubject } from "../contract.ts";

export type { INetworkModule, ManagedIdentityApplication, NetworkResponse } from "@azure/msal-node";

export interface WireOptions {
  readonly clientId: string;
  /** Origin of the authority with a trailing slash: `https://login.microsoftonline.com/`. */
  readonly authorityHost: string;
  readonly tokenEndpoint: (tenantId: string) => string;
  readonly authorizeEndpoint: (tenantId: string) => string;
  readonly fetch: Fetch;
  /** Azure region whose own token endpoint is to be used: `westeurope`. */
  readonly regionalAuthority?: string;
}

/**
 * One token request: on behalf of the user that the assertion speaks for (Entra, v2-oauth2-on-behalf-of-flow), by a
 * refresh token of such an exchange, or for the gateway itself (Entra, v2-oauth2-client-creds-grant-flow).
 */
export interface TokenGrant {
  readonly assertion: TokenSubject;
  readonly scopes: readonly string[];
  /** Claims request as JSON text of an object. */
  readonly claims?: string | undefined;
  readonly correlationId: string;
  readonly authentication: ClientAuthentication;
  /** Redeemed in the place of the assertion (RFC 6749 §6; Entra, v2-oauth2-auth-code-flow, "refresh the access token"). */
  readonly refreshToken?: Secret | undefined;
  /** Milliseconds for the whole request and its answer. */
  readonly timeoutMs: number;
}

/**
 * Sends one grant and returns the response, whatever its status; `createTokenResponses` processes it.
 *
 * @throws {FetchFailure} when no whole answer came.
 * @throws {GatewayError} `internal` when MSAL would not phrase the request.
 */
export type SendGrant = (grant: TokenGrant) => Promise<BoundedResponse>;

interface PhrasedRequest {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Genuine answers are a few kilobytes. */
const MAX_ANSWER_BYTES = 1024 * 1024;

export type Msal = typeof import("@azure/msal-node");

const require = createRequire(import.meta.url);
let msal: Msal | undefined;

/**
 * MSAL, loaded when it is first asked for, since no listener has to wait for it. Its CommonJS build is two files; the
 * other one is 120 modules, and takes twice the time and the memory.
 */
export async function loadMsal(): Promise<Msal> {
  msal ??= require("@azure/msal-node") as Msal;
  return msal;
}

export function createMsalWire(options: WireOptions): SendGrant {
  return async (grant) => {
    const { url, headers, body } = await phrase(options, grant);
    const { timeoutMs } = grant;
    return boundedFetch(options.fetch, url, {
      method: "POST",
      headers,
      body,
      timeoutMs,
      maxBytes: MAX_ANSWER_BYTES,
    });
  };
}

/** Made once: MSAL is ended by one of them in each exchange, and none of their stacks is ever read. */
const SENT_BY_OWNER = new Error("the request is sent by its owner");
const NEVER_DISCOVERED = new Error("endpoints are configured, never discovered");

/**
 * Lets MSAL run up to the moment where it would send, and takes the request out of its hands. Nothing of MSAL
 * sees the answer, and each application object serves once: its cache ignores the tenant and scans all users, its
 * throttling holds every user back for the failure of one, its parser takes `500 {}` for success and drops
 * status, `Retry-After` and, for many errors, the claims.
 */
async function phrase(options: WireOptions, grant: TokenGrant): Promise<PhrasedRequest> {
  let phrased: PhrasedRequest | undefined;
  const networkClient: INetworkModule = {
    sendGetRequestAsync: () => Promise.reject(NEVER_DISCOVERED),
    sendPostRequestAsync: (url, { headers = {}, body = "" } = {}) => {
      phrased = { url, headers, body };
      return Promise.reject(SENT_BY_OWNER);
    },
  };
  const { tenantId, token } = grant.assertion;
  const { AuthError, ConfidentialClientApplication } = await loadMsal();
  const unphrased = (cause: unknown) =>
    new GatewayError("internal", {
      detail: "The gateway could not form its token request.",
      reason: "request_not_formed",
      ...(cause instanceof AuthError ? { diagnostics: { error: cause.errorCode } } : {}),
      cause,
    });
  try {
    const application = new ConfidentialClientApplication({
      auth: {
        clientId: options.clientId,
        authority: `${options.authorityHost}${tenantId}`,
        // Known and described, so that MSAL asks no one: for a host that is not in its own list it would otherwise
        // ask the public cloud.
        knownAuthorities: [new URL(options.authorityHost).host],
        authorityMetadata: describeAuthority(options, tenantId),
        // Without cp1 Graph would never send a claims challenge, and a revoked session would live on to its expiry.
        clientCapabilities: ["cp1"],
        ...credentialOf(grant.authentication),
      },
      system: { networkClient },
    });
    const request = {
      scopes: [...grant.scopes],
      correlationId: grant.correlationId,
      skipCache: true,
      ...(grant.claims === undefined ? {} : { claims: grant.claims }),
    };
    if (grant.refreshToken !== undefined)
      await application.acquireTokenByRefreshToken({
        ...request,
        refreshToken: grant.refreshToken.reveal(),
      });
    else if (token === undefined) await application.acquireTokenByClientCredential(request);
    else await application.acquireTokenOnBehalfOf({ ...request, oboAssertion: token.reveal() });
  } catch (cause) {
    if (phrased === undefined) throw unphrased(cause);
  }
  if (phrased === undefined) throw unphrased(undefined);
  return phrased;
}

function credentialOf(
  authentication: ClientAuthentication,
): { clientAssertion: string } | { clientSecret: string } {
  return authentication.method === "client_assertion"
    ? { clientAssertion: authentication.clientAssertion.reveal() }
    : { clientSecret: authentication.clientSecret.reveal() };
}

/** The five members that MSAL reads of a discovery document; for this grant only the token endpoint matters. */
function describeAuthority(options: WireOptions, tenantId: string): string {
  const authority = `${options.authorityHost}${tenantId}`;
  return JSON.stringify({
    token_endpoint: regional(options.tokenEndpoint(tenantId), options.regionalAuthority),
    authorization_endpoint: options.authorizeEndpoint(tenantId),
    end_session_endpoint: `${authority}/oauth2/v2.0/logout`,
    issuer: `${authority}/v2.0`,
    jwks_uri: `${authority}/discovery/v2.0/keys`,
  });
}

/** Hosts that share one regional name; those of other clouds take the region as a label in front of their own. */
const PUBLIC_CLOUD_HOSTS = [
  "login.microsoftonline.com",
  "login.windows.net",
  "login.microsoft.com",
  "sts.windows.net",
];

/** MSAL takes a region for the client-credentials grant alone, so the address is made here. */
function regional(tokenEndpoint: string, region: string | undefined): string {
  if (region === undefined) return tokenEndpoint;
  const url = new URL(tokenEndpoint);
  url.hostname = `${region}.${PUBLIC_CLOUD_HOSTS.includes(url.hostname) ? "login.microsoft.com" : url.hostname}`;
  return url.href;
}
