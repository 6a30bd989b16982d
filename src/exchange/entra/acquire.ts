/** One exchange with Entra: its proof, its attempts and its deadline, and what the answer gives. */

import { setTimeout as sleep } from "node:timers/promises";
import type { ClientAuthentication, ClientCredential } from "../../credential/contract.ts";
import { ACTOR_OF, GatewayError } from "../../errors.ts";
import { type BoundedResponse, type FetchedHeaders, FetchFailure } from "../../foundation/bounded-fetch.ts";
import { createBoundedMap } from "../../foundation/bounded-map.ts";
import { parseJsonObject } from "../../foundation/json.ts";
import { Secret } from "../../foundation/secret.ts";
import type { ClockDrift, ExchangeEvent, ExchangeRequest, TokenRequestFacts } from "../contract.ts";
import type { ExchangeSubject, FailureDomains } from "../failure-domains.ts";
import { IDENTIFIER } from "./answers.ts";
import type { SendGrant } from "./msal.ts";
import { createRefusals, type Refusal, type RefusalOptions, type RefusedExchange } from "./refusals.ts";

export interface AcquireOptions {
  readonly clientId: string;
  readonly tokenEndpoint: (tenantId: string) => string;
  readonly credential: ClientCredential;
  /** Milliseconds for everything: proof, attempts and pauses. */
  readonly timeoutMs: number;
  /** Milliseconds for one attempt. */
  readonly attemptTimeoutMs: number;
}

export interface AcquirePorts {
  readonly send: SendGrant;
  readonly responses: TokenResponses;
  readonly domains: FailureDomains;
  readonly clockDrift: ClockDrift;
  readonly now: () => number;
  readonly onEvent: (event: ExchangeEvent) => void;
  /** The authority says that no token held for this user is good any more. */
  readonly forgetUser: (subject: ExchangeSubject, request: ExchangeRequest) => void;
}

export interface AcquiredToken {
  readonly accessToken: Secret;
  /** Reckoned from before the request was sent, so never later than Entra's own reckoning. Ms since the epoch. */
  readonly expiresAt: number;
  readonly grantedScopes?: readonly string[] | undefined;
  /** Only of a request that redeems one, or that asks for one: every other refresh token of Entra's is dropped unread. */
  readonly refreshToken?: Secret | undefined;
}

/**
 * Rejects with a GatewayError. At most two requests beyond the first: one with another proof after the credential
 * was refused, one after a hiccup, the latter only while the retry budget lasts.
 */
export type Acquire = (
  request: ExchangeRequest,
  subject: ExchangeSubject,
  /** `performance.now()` when the exchange began: its time is not that of a host's clock, which may be set meanwhile. */
  begunAt: number,
  /** Called for each response of Entra, of whatever kind. */
  onResponse: (facts: TokenRequestFacts) => void,
) => Promise<AcquiredToken>;

export function createAcquire(options: AcquireOptions, ports: AcquirePorts): Acquire {
  const { clientId, tokenEndpoint, credential, timeoutMs, attemptTimeoutMs } = options;
  const { domains, now, onEvent, forgetUser } = ports;
  const budget = createRetryBudget();

  /** One token request; resolves to its outcome and when it was sent, by the host's clock and by that of the refusals. */
  async function attempt(
    request: ExchangeRequest,
    authentication: ClientAuthentication,
    leftMs: number,
    onResponse: (facts: TokenRequestFacts) => void,
  ): Promise<{ readonly outcome: TokenOutcome; readonly sentAt: number; readonly leftAt: number }> {
    const { assertion, scopes, claims, correlationId, trace, refreshToken } = request;
    const sentAt = now();
    const leftAt = domains.time();
    const origin = credential.originOf?.(authentication) ?? { source: credential.source };
    const span = trace?.tokenRequest(tokenEndpoint(assertion.tenantId));
    let status: number | undefined;
    const outcome = await ports
      .send({
        assertion,
        scopes,
        claims,
        correlationId,
        authentication,
        refreshToken,
        timeoutMs: Math.min(attemptTimeoutMs, leftMs),
      })
      .then((response) => {
        ({ status } = response);
        ports.clockDrift.observe(response.headers, sentAt);
        onResponse({ requestId: requestIdOf(response.headers), ...origin });
        const isRenewal = refreshToken !== undefined;
        return ports.responses.process({ assertion, scopes, authentication, isRenewal }, response);
      }, ports.responses.failure);
    span?.ended({
      status,
      code: outcome.outcome === "granted" ? undefined : outcome.refusal.error.code,
    });
    return { outcome, sentAt, leftAt };
  }

  return async (request, subject, begunAt, onResponse) => {
    const { tenantId } = request.assertion;
    const deadline = begunAt + timeoutMs;
    const leftMs = () => Math.max(1, deadline - performance.now());
    let credentialRenewed = false;
    let retried = false;

    budget.earn();
    for (;;) {
      const authentication = await withinTime(
        leftMs(),
        credential.authenticate({ clientId, tokenEndpoint: tokenEndpoint(tenantId) }),
      );
      const fingerprint = proofOf(authentication).fingerprint();
      const held = domains.recallCredential(subject, fingerprint);
      if (held !== undefined) throw held;

      const { outcome, sentAt, leftAt } = await attempt(request, authentication, leftMs(), onResponse);
      if (outcome.outcome === "granted") {
        domains.answered(subject, leftAt);
        const { accessToken, expiresInSeconds, grantedScopes, refreshToken } = outcome;
        return {
          accessToken,
          expiresAt: sentAt + expiresInSeconds * 1000,
          grantedScopes,
          ...((request.isOffline === true || request.refreshToken !== undefined) && { refreshToken }),
        };
      }
      const { refusal } = outcome;
      if (refusal.domain === "credential" && !credentialRenewed) {
        credentialRenewed = true;
        if ((await credential.refused?.(authentication)) === true) {
          onEvent({ type: "retried", tenantId, cause: "credential" });
          continue;
        }
      }
      const pauseMs = retried ? undefined : pauseBeforeRetry(refusal, deadline - performance.now());
      if (pauseMs !== undefined && budget.spend()) {
        retried = true;
        onEvent({ type: "retried", tenantId, cause: "transient" });
        await sleep(pauseMs);
        continue;
      }
      if (ACTOR_OF[refusal.error.code] !== "authority") domains.answered(subject, leftAt);
      domains.learn(refusal, subject, fingerprint);
      if (refusal.forgetUser) forgetUser(subject, request);
      throw refusal.error;
    }
  };
}

function proofOf(authentication: ClientAuthentication): Secret {
  return authentication.method === "client_assertion"
    ? authentication.clientAssertion
    : authentication.clientSecret;
}

/** A credential reads files and may one day ask other hosts; an exchange must not hang on either. */
function withinTime<T>(ms: number, proof: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    // Not an abort signal: each exchange would pay for an error with a stack.
    const timer = setTimeout(() => reject(unavailable("timeout")), ms);
    proof.then(resolve, (cause: unknown) =>
      reject(cause instanceof GatewayError ? cause : unavailable("unexpected", cause)),
    );
    proof.finally(() => clearTimeout(timer)).catch(() => {});
  });
}

function unavailable(reason: string, cause?: unknown): GatewayError<"credential_unavailable"> {
  return new GatewayError("credential_unavailable", {
    detail: "The gateway cannot prove its identity at the moment.",
    reason,
    cause,
  });
}

export interface RetryBudget {
  /** Counts a first attempt. */
  earn(): void;
  /** Whether one more attempt may be made; takes it from the budget. */
  spend(): boolean;
}

/** Extra load that retries may add over time, as a share of first attempts. */
const SHARE = 0.1;
/** Saved up at most, and at the start: so that a quiet gateway may retry at all. */
const MOST_SAVED = 10;
/** A `Retry-After` beyond this is no hiccup: the caller is refused instead of kept waiting. Seconds. */
const LONGEST_PAUSE_SECONDS = 2;
const PAUSE_MS = 50;
const JITTER_MS = 100;

export function createRetryBudget(): RetryBudget {
  let saved = MOST_SAVED;
  return {
    earn() {
      saved = Math.min(MOST_SAVED, saved + SHARE);
    },
    spend() {
      if (saved < 1) return false;
      saved -= 1;
      return true;
    },
  };
}

/** Milliseconds until a retry is due, or undefined when this refusal is to be passed on instead. */
export function pauseBeforeRetry({ transient, error }: Refusal, leftMs: number): number | undefined {
  const { retryAfterSeconds = 0 } = error;
  if (!transient || retryAfterSeconds > LONGEST_PAUSE_SECONDS) return undefined;
  const pauseMs = retryAfterSeconds * 1000 + PAUSE_MS + Math.random() * JITTER_MS;
  // Half of what is left stays for the attempt itself.
  return pauseMs * 2 < leftMs ? pauseMs : undefined;
}

export type TokenOutcome =
  | {
      readonly outcome: "granted";
      readonly accessToken: Secret;
      readonly expiresInSeconds: number;
      readonly grantedScopes: readonly string[] | undefined;
      readonly refreshToken: Secret | undefined;
    }
  | { readonly outcome: "refused"; readonly refusal: Refusal };

export interface TokenResponses {
  process(exchange: RefusedExchange, response: BoundedResponse): TokenOutcome;
  /** A failure to obtain any response. Every other error is thrown on. */
  failure(cause: unknown): TokenOutcome;
}

/** RFC 6750 §2.1 `b64token`: what may stand in an Authorization header, and nothing that could end it early. */
const BEARER_TOKEN = /^[\w.~+/-]+=*$/;
/** RFC 6749 appendix A.17, of a length of which a delegation may keep two. */
const REFRESH_TOKEN = /^[\x20-\x7E]{1,16384}$/;
/** RFC 6749 §3.3 `scope`: tokens between single blanks. */
const SCOPE_LIST = /^[\x21\x23-\x5B\x5D-\x7E]+(?: [\x21\x23-\x5B\x5D-\x7E]+)*$/;
/** A longer list of scopes is not kept. */
const LONGEST_SCOPE_LIST = 4_096;
/** Different lists of scopes that are kept once for all tokens that have them. */
const MOST_SCOPE_LISTS = 256;

export function createTokenResponses(options: RefusalOptions): TokenResponses {
  const { refusalOf, unusable, silence } = createRefusals(options);
  // The users of an API are granted the same few lists, and a list for each token would take more than the token.
  const scopeLists = createBoundedMap<readonly string[]>({ maxEntries: MOST_SCOPE_LISTS });

  function scopesOf(value: unknown): readonly string[] | undefined {
    if (typeof value !== "string" || value.length > LONGEST_SCOPE_LIST || !SCOPE_LIST.test(value))
      return undefined;
    const known = scopeLists.get(value, 0);
    if (known !== undefined) return known;
    const scopes = Object.freeze(value.split(" "));
    scopeLists.set(value, scopes);
    return scopes;
  }

  return {
    process(exchange, { status, headers, text }) {
      const answer = { status, headers, body: parseJsonObject(text) };
      if (status < 200 || status > 299) return refused(refusalOf(exchange, answer));

      const { access_token: accessToken, token_type: type, expires_in: lifetime, scope } = answer.body ?? {};
      const { refresh_token: refreshToken } = answer.body ?? {};
      const expiresInSeconds = parseLifetime(lifetime);
      if (typeof accessToken !== "string" || !BEARER_TOKEN.test(accessToken)) {
        return refused(unusable(exchange, answer, "access_token_absent"));
      }
      // Case-insensitive by RFC 6749 §5.1.
      if (typeof type !== "string" || type.toLowerCase() !== "bearer") {
        return refused(unusable(exchange, answer, "token_type"));
      }
      if (expiresInSeconds === undefined) return refused(unusable(exchange, answer, "expires_in"));
      return {
        outcome: "granted",
        accessToken: new Secret(accessToken),
        expiresInSeconds,
        grantedScopes: scopesOf(scope),
        refreshToken:
          typeof refreshToken === "string" && REFRESH_TOKEN.test(refreshToken)
            ? new Secret(refreshToken)
            : undefined,
      };
    },

    failure(cause) {
      if (cause instanceof FetchFailure) return refused(silence(cause));
      throw cause;
    },
  };
}

function refused(refusal: Refusal): TokenOutcome {
  return { outcome: "refused", refusal };
}

/** RFC 6749 §5.1 has a number; Entra's v1 endpoints send its digits as a string. Zero is no lifetime. */
function parseLifetime(value: unknown): number | undefined {
  const seconds = typeof value === "string" && /^\d{1,9}$/.test(value) ? Number(value) : value;
  return typeof seconds === "number" && Number.isFinite(seconds) && seconds > 0 ? seconds : undefined;
}

/** Entra's `x-ms-request-id`, its own word for a trace id. */
export function requestIdOf(headers: FetchedHeaders): string | undefined {
  const id = headers.get("x-ms-request-id");
  return id !== null && IDENTIFIER.test(id) ? id : undefined;
}
