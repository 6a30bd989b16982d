/** One exchange with Entra: its proof, its attempts and its deadline. */

import { setTimeout as sleep } from "node:timers/promises";
import type { ClientAuthentication, ClientCredential } from "../../credential/contract.ts";
import { GatewayError } from "../../errors.ts";
import type { Secret } from "../../foundation/secret.ts";
import type { ExchangeEvent } from "../events.ts";
import { type ExchangeEvidence, requestIdOf } from "../evidence.ts";
import type { ExchangeRequest } from "../exchange.ts";
import type { ExchangeSubject, FailureDomains } from "../failure-domains.ts";
import type { Judge } from "./judge.ts";
import type { SendGrant } from "./msal.ts";
import { createRetryBudget, pauseBeforeRetry } from "./retry.ts";

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
  readonly judge: Judge;
  readonly domains: FailureDomains;
  readonly now: () => number;
  readonly onEvent: (event: ExchangeEvent) => void;
  /** The authority says that nothing held for this user is good any more. */
  readonly forgetUser: (subject: ExchangeSubject, request: ExchangeRequest) => void;
}

export interface AcquiredToken {
  readonly accessToken: Secret;
  /** Reckoned from before the request was sent, so never later than Entra's own reckoning. Ms since the epoch. */
  readonly expiresAt: number;
}

/**
 * Rejects with a GatewayError. At most two requests beyond the first: one with another proof after the credential
 * was refused, one after a hiccup, the latter only while the retry budget lasts.
 */
export type Acquire = (
  request: ExchangeRequest,
  subject: ExchangeSubject,
  /** When the exchange began, from which its time is reckoned; ms since the epoch. */
  startedAt: number,
  /** Told of each answer of Entra, whatever it says. */
  onEvidence?: (evidence: ExchangeEvidence) => void,
) => Promise<AcquiredToken>;

export function createAcquire(options: AcquireOptions, ports: AcquirePorts): Acquire {
  const { clientId, tokenEndpoint, credential, timeoutMs, attemptTimeoutMs } = options;
  const { send, judge, domains, now, onEvent, forgetUser } = ports;
  const budget = createRetryBudget();

  return async (request, subject, startedAt, onEvidence) => {
    const { assertion, scopes, claims, correlationId, trace } = request;
    const { tenantId } = assertion;
    const deadline = startedAt + timeoutMs;
    const leftMs = () => Math.max(1, deadline - now());
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

      const sentAt = now();
      const made = credential.originOf?.(authentication) ?? { source: credential.source };
      const span = trace?.asking(tokenEndpoint(tenantId));
      let status: number | undefined;
      const judgement = await send({
        assertion,
        scopes,
        claims,
        correlationId,
        authentication,
        timeoutMs: Math.min(attemptTimeoutMs, leftMs()),
      }).then((answer) => {
        ({ status } = answer);
        onEvidence?.({ requestId: requestIdOf(answer.headers), ...made });
        return judge.answer({ assertion, scopes, authentication }, answer);
      }, judge.failure);
      span?.ended({
        status,
        code: judgement.outcome === "granted" ? undefined : judgement.refusal.error.code,
      });

      if (judgement.outcome === "granted") {
        return { accessToken: judgement.accessToken, expiresAt: sentAt + judgement.expiresInSeconds * 1000 };
      }
      const { refusal } = judgement;
      if (refusal.domain === "credential" && !credentialRenewed) {
        credentialRenewed = true;
        if ((await credential.refused?.(authentication)) === true) {
          onEvent({ type: "retried", tenantId, cause: "credential" });
          continue;
        }
      }
      const pauseMs = retried ? undefined : pauseBeforeRetry(refusal, deadline - now());
      if (pauseMs !== undefined && budget.spend()) {
        retried = true;
        onEvent({ type: "retried", tenantId, cause: "transient" });
        await sleep(pauseMs);
        continue;
      }
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
async function withinTime<T>(ms: number, proof: Promise<T>): Promise<T> {
  const timer = new AbortController();
  const tooLate = sleep(ms, undefined, { signal: timer.signal }).then(() => {
    throw unavailable("timeout");
  });
  try {
    return await Promise.race([proof, tooLate]);
  } catch (cause) {
    throw cause instanceof GatewayError ? cause : unavailable("unexpected", cause);
  } finally {
    timer.abort();
    tooLate.catch(() => {});
  }
}

function unavailable(reason: string, cause?: unknown): GatewayError<"credential_unavailable"> {
  return new GatewayError("credential_unavailable", {
    detail: "The gateway cannot prove its identity at the moment.",
    reason,
    cause,
  });
}
