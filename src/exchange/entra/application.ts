/** The gateway as an application of its own: its token requests without a user, the check of its credential, and tokens of managed identities. */

import { randomUUID } from "node:crypto";
import type { ClientAuthentication, ClientCredential, TrialVerdict } from "../../credential/contract.ts";
import { ACTOR_OF, GatewayError, type GatewayErrorCode } from "../../errors.ts";
import { boundedFetch, type Fetch, FetchFailure } from "../../foundation/bounded-fetch.ts";
import { parseJsonObject } from "../../foundation/json.ts";
import type { RedisToken, RedisTokenSource } from "../../redis/contract.ts";
import { createKeyMaker } from "../cache/keys.ts";
import type {
  ApplicationSubject,
  ClockDrift,
  ExchangeEvent,
  ExchangeFacts,
  TokenRequestFacts,
} from "../contract.ts";
import { createFailureDomains } from "../failure-domains.ts";
import { refusedEvent } from "../flight.ts";
import { createAcquire, createTokenResponses } from "./acquire.ts";
import { createConsentUris } from "./consent.ts";
import {
  createMsalWire,
  type INetworkModule,
  loadMsal,
  type ManagedIdentityApplication,
  type Msal,
  type NetworkResponse,
  type SendGrant,
  type WireOptions,
} from "./msal.ts";

/** Shorter than any SHA-256 digest, so that no user's token shares its key in the cache. */
const DIGEST = "application";

/** The gateway in place of a user, where it acts with permissions of its own (RFC 6749 §4.4). */
export function applicationSubject(tenantId: string, clientId: string): ApplicationSubject {
  return {
    token: undefined,
    digest: DIGEST,
    tenantId,
    objectId: clientId,
    expiresAt: Number.POSITIVE_INFINITY,
  };
}

export interface CredentialCheckOptions extends WireOptions {
  /** Tenant of the gateway's own registration, where its credentials are registered. */
  readonly homeTenantId: string;
  /** Milliseconds for the request and its answer. */
  readonly timeoutMs: number;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

/**
 * Makes a function that asks Entra whether it accepts a proof of the gateway. It never rejects. The token requested
 * is one for the gateway itself (`<client id>/.default`): it exists in every cloud, needs no permission and opens
 * nothing. A refusal that does not concern the credential proves neither that it is accepted nor that it is not.
 */
export function createCredentialCheck(
  options: CredentialCheckOptions,
  send: SendGrant = createMsalWire(options),
): (authentication: ClientAuthentication) => Promise<TrialVerdict> {
  const { clientId, homeTenantId, timeoutMs, now = Date.now } = options;
  const responses = createTokenResponses({ homeTenantId, ...createConsentUris(options), now });
  const assertion = applicationSubject(homeTenantId, clientId);
  const scopes = [`${clientId}/.default`];

  return async (authentication) => {
    try {
      const outcome = await send({
        assertion,
        scopes,
        correlationId: randomUUID(),
        authentication,
        timeoutMs,
      }).then(
        (response) => responses.process({ assertion, scopes, authentication }, response),
        responses.failure,
      );
      if (outcome.outcome === "granted") return { verdict: "accepted" };
      const { error, domain } = outcome.refusal;
      return {
        // A client or tenant that Entra does not know is as definite as a proof that it does not accept.
        verdict: domain === "credential" || isDefinite(error) ? "refused" : "undecided",
        problem: `${error.code}: ${error.reason}${numbersIn(error)}`,
      };
    } catch {
      // MSAL would not phrase the request. The cause stays out of the problem, since it may quote the proof.
      return { verdict: "undecided", problem: "the token request could not be formed" };
    }
  };
}

function numbersIn({ diagnostics }: GatewayError): string {
  const numbers = diagnostics?.error_codes;
  return Array.isArray(numbers) ? ` (AADSTS${numbers.join(", ")})` : "";
}

/** Error codes of Entra that are not known, and that name no number, may mean anything. */
function isDefinite({ code, reason }: GatewayError): boolean {
  return code === "client_rejected" && reason !== "unrecognised" && reason !== "invalid_request";
}

/** The resource that every Azure Redis signs identities in for (Azure, managed-redis entra-for-authentication). */
const REDIS_SCOPE = "https://redis.azure.com/.default";

export interface RedisTokenOptions extends CredentialCheckOptions {
  readonly credential: ClientCredential;
  readonly onEvent?: (event: ExchangeEvent) => void;
}

/** The drift of the clock is observed where exchanges are made. */
const unobserved: ClockDrift = { observe: () => {}, ms: () => undefined };

/**
 * Makes a function that asks Entra for the gateway's own token for Redis, each time anew: keeping it is the caller's part.
 * Whichever credential proves the gateway, the identity that Redis sees is the application's service principal.
 */
export function createRedisToken(
  options: RedisTokenOptions,
  send: SendGrant = createMsalWire(options),
): RedisTokenSource {
  const { clientId, homeTenantId, timeoutMs, now = Date.now, onEvent = () => {} } = options;
  const assertion = applicationSubject(homeTenantId, clientId);
  const scopes = [REDIS_SCOPE];
  const keys = createKeyMaker(options.authorityHost, clientId).of(assertion, scopes);
  const subject = {
    keys,
    tenantId: homeTenantId,
    claims: undefined,
    assertionExpiresAt: assertion.expiresAt,
  };
  const acquire = createAcquire(
    { ...options, attemptTimeoutMs: timeoutMs },
    {
      send,
      responses: createTokenResponses({ homeTenantId, ...createConsentUris(options), now }),
      // Each request stands for itself: the caller waits between them.
      domains: createFailureDomains({ refusalMs: 0, now }),
      clockDrift: unobserved,
      now,
      onEvent,
      forgetUser: () => {},
    },
  );

  return async () => {
    const startedAt = now();
    const correlationId = randomUUID();
    let tokenRequest: TokenRequestFacts | undefined;
    const facts = (): ExchangeFacts => ({
      correlationId,
      grant: "client_credentials",
      tenantId: homeTenantId,
      objectId: undefined,
      assertion: undefined,
      scopes,
      challenged: false,
      ahead: false,
      tokenRequest,
    });
    try {
      const { accessToken, expiresAt, grantedScopes } = await acquire(
        { assertion, scopes, correlationId },
        subject,
        performance.now(),
        (latest) => {
          tokenRequest = latest;
        },
      );
      const token = accessToken.fingerprint();
      const durationMs = now() - startedAt;
      onEvent({
        type: "exchanged",
        tenantId: homeTenantId,
        durationMs,
        grantedScopes,
        facts: { ...facts(), token, expiresAt },
      });
      const objectId = objectIdOf(accessToken.reveal());
      if (objectId === undefined) return { problem: "the token names no object id", isPassing: false };
      return { token: accessToken, objectId, expiresAt } satisfies RedisToken;
    } catch (cause) {
      // A defect: its message may quote the proof, so its kind alone is kept.
      if (!(cause instanceof GatewayError))
        return {
          problem: `the token request failed (${cause instanceof Error ? cause.name : typeof cause})`,
          isPassing: false,
        };
      onEvent(refusedEvent(cause, facts(), now() - startedAt));
      return {
        problem: `${cause.code}: ${cause.reason}${numbersIn(cause)}`,
        isPassing: ACTOR_OF[cause.code as GatewayErrorCode] === "authority",
        retryAfterSeconds: cause.retryAfterSeconds,
      };
    }
  };
}

/** `oid` of a token that Entra has just given; nothing else of it is looked at, and its signature is Redis' matter. */
function objectIdOf(token: string): string | undefined {
  const [, payload = ""] = token.split(".");
  const { oid } = parseJsonObject(Buffer.from(payload, "base64url").toString("utf8")) ?? {};
  return typeof oid === "string" && oid !== "" ? oid : undefined;
}

export interface ManagedIdentityTokenOptions {
  /** Client id of a user-assigned identity; no other kind can be a federated credential. */
  readonly clientId: string;
  readonly fetch: Fetch;
  /** Milliseconds for one request to the platform. */
  readonly timeoutMs: number;
}

/** The endpoint is on this machine or its host, and its answers are a token and little more. */
const MAX_ANSWER_BYTES = 64 * 1024;

/**
 * Makes a function that asks the platform for a token, each time anew: keeping it is the caller's part. MSAL finds out
 * from the environment which platform it is (`IDENTITY_ENDPOINT` of App Service and Container Apps; else the metadata
 * endpoint of a virtual machine) and keeps that, with the first network client it was given, for the whole process.
 *
 * @param load MSAL; another one only where no platform is at hand.
 */
export function createManagedIdentityToken(
  { clientId, fetch, timeoutMs }: ManagedIdentityTokenOptions,
  load: () => Promise<Pick<Msal, "AuthError" | "ManagedIdentityApplication">> = loadMsal,
): (audience: string) => Promise<{ readonly token: string } | { readonly problem: string }> {
  let status: number | undefined;
  const send = async <T>(
    method: "GET" | "POST",
    url: string,
    { headers = {}, body }: { readonly headers?: Record<string, string>; readonly body?: string } = {},
  ): Promise<NetworkResponse<T>> => {
    status = undefined;
    const answer = await boundedFetch(fetch, url, {
      method,
      headers,
      ...(body === undefined ? {} : { body }),
      timeoutMs,
      maxBytes: MAX_ANSWER_BYTES,
    });
    status = answer.status;
    const parsed = parseJsonObject(answer.text) ?? {};
    return { status, headers: Object.fromEntries(answer.headers), body: parsed as T };
  };
  const networkClient: INetworkModule = {
    sendGetRequestAsync: (url, options) => send("GET", url, options),
    sendPostRequestAsync: (url, options) => send("POST", url, options),
  };
  let application: ManagedIdentityApplication | undefined;

  return async (audience) => {
    const { AuthError, ManagedIdentityApplication } = await load();
    // What the platform said the last time is nothing of this time.
    status = undefined;
    try {
      application ??= new ManagedIdentityApplication({
        managedIdentityIdParams: { userAssignedClientId: clientId },
        // Its retries take minutes; the gateway asks again by itself, and the token before serves meanwhile.
        system: { networkClient, disableInternalRetries: true },
      });
      const { accessToken } = await application.acquireToken({ resource: audience, forceRefresh: true });
      return accessToken === "" ? { problem: `gave no token (status ${status})` } : { token: accessToken };
    } catch (cause) {
      if (status !== undefined && status !== 200) return { problem: `gave no token (status ${status})` };
      if (cause instanceof FetchFailure) return { problem: `gave no answer (${cause.kind})` };
      // MSAL's code is one word of its own; its message may quote the platform.
      const label = cause instanceof AuthError ? cause.errorCode : "unexpected";
      return { problem: status === undefined ? `gave no answer (${label})` : `gave no token (${label})` };
    }
  };
}
