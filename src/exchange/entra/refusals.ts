/** Turns Entra's refusal of a token request, or its silence, into the error that names who must act. */

import type { ClientAuthentication } from "../../credential/contract.ts";
import { ACTOR_OF, type Actor, GatewayError, type GatewayErrorDetails } from "../../errors.ts";
import type { FetchFailure } from "../../foundation/bounded-fetch.ts";
import { parseRetryAfter } from "../../foundation/retry-after.ts";
import type { TokenSubject } from "../contract.ts";
import {
  aadstsEntry,
  claimsOf,
  describeClientAssertion,
  diagnosticsOf,
  type EntraAnswer,
  labelOf,
  numbersOf,
} from "./answers.ts";
import type { AadstsEntry, RefusalCode } from "./codes.ts";

/**
 * The later exchanges that a refusal speaks for: the same `request`; the assertion, whose `session` has ended; the
 * `user`; the user's exchanges for these `scopes`; the `tenant`; those with the same `credential`; or `none`, when the
 * next one may well succeed.
 */
export type FailureDomain = "request" | "session" | "user" | "scopes" | "tenant" | "credential" | "none";

export interface Refusal {
  readonly error: GatewayError<RefusalCode>;
  readonly domain: FailureDomain;
  /** One more attempt soon may succeed. */
  readonly transient: boolean;
  /** Entra knows this user's sessions as ended, or the account as unusable: no cached token may outlive that. */
  readonly forgetUser: boolean;
}

/** The exchange that was refused. */
export interface RefusedExchange {
  readonly assertion: TokenSubject;
  readonly scopes: readonly string[];
  /** The proof that was sent along. */
  readonly authentication: ClientAuthentication;
  /** Whether a refresh token was redeemed, and no user's token exchanged. */
  readonly isRenewal?: boolean;
}

export interface RefusalOptions {
  readonly homeTenantId: string;
  readonly consentUri: (tenantId: string, scopes: readonly string[]) => string;
  readonly adminConsentUri: (tenantId: string, scopes: readonly string[]) => string;
  readonly now: () => number;
}

type Classification = Pick<AadstsEntry, "code" | "reason" | "concerns">;

/** RFC 6749 §5.2 and Entra's own codes for "not now". */
const BUSY_ERRORS = ["temporarily_unavailable", "server_error"];
const INTERACTION_ERRORS = [
  "interaction_required",
  "login_required",
  "bad_token",
  "ui_not_allowed",
  "interrupted_user",
];
const INTERACTION_SUBERRORS = [
  "basic_action",
  "additional_action",
  "user_password_expired",
  "bad_token",
  "ui_not_allowed",
  "interrupted_user",
];
const RESOURCE_ERRORS = ["invalid_scope", "invalid_resource", "invalid_target"];
const CLIENT_ERRORS = ["unauthorized_client", "unsupported_grant_type", "invalid_request"];

/** Seconds to stay away after a throttling answer that names no time; the longer one is for a detected loop. */
const DEFAULT_THROTTLE_SECONDS = 5;
const DEFAULT_LOOP_SECONDS = 60;
/** Longest wait believed: a slip of the authority must not shut a user out for a day. */
const LONGEST_WAIT_SECONDS = 3600;

/** Classifies by status, `Retry-After`, `error`, `suberror` and `claims`; numbers only refine, texts never steer. */
export function createRefusals(options: RefusalOptions) {
  const { consentUri, adminConsentUri, now } = options;
  const homeTenantId = options.homeTenantId.toLowerCase();

  function refuse(exchange: RefusedExchange, answer: EntraAnswer, classification: Classification): Refusal {
    const { tenantId } = exchange.assertion;
    const atHome = tenantId.toLowerCase() === homeTenantId;
    const code =
      exchange.isRenewal === true && endsRefreshToken(classification)
        ? "delegation_ended"
        : classification.code === "tenant_not_onboarded" && atHome
          ? "client_rejected"
          : classification.code;
    const requested = requestedWait(answer, now());
    const retryAfterSeconds = waitOf(code, classification, requested);
    const proof =
      classification.concerns === "credential" ? describeClientAssertion(exchange.authentication) : {};
    const details: GatewayErrorDetails = {
      detail: DETAIL[code],
      reason: classification.reason,
      diagnostics: { ...diagnosticsOf(answer), ...proof },
      ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
      ...(code === "claims_challenged" ? { claims: claimsOf(answer.body) ?? "" } : {}),
      ...(code === "consent_required" ? { consentUri: consentUri(tenantId, exchange.scopes) } : {}),
      ...(code === "admin_consent_required"
        ? { consentUri: adminConsentUri(tenantId, exchange.scopes) }
        : {}),
    };
    return {
      error: new GatewayError(code, details),
      domain: domainOf(code, classification, retryAfterSeconds),
      transient: answer.status === 503,
      forgetUser:
        ACTOR_OF[classification.code] === "user" &&
        ["session", "user"].includes(classification.concerns ?? ""),
    };
  }

  return {
    /** An answer that is not 2xx. */
    refusalOf: (exchange: RefusedExchange, answer: EntraAnswer): Refusal =>
      refuse(exchange, answer, classify(answer)),

    /** A 2xx answer that holds no token which could be used. */
    unusable: (exchange: RefusedExchange, answer: EntraAnswer, reason: string): Refusal =>
      refuse(exchange, answer, { code: "authority_unavailable", reason }),

    /** No whole answer. */
    silence(cause: FetchFailure): Refusal {
      const code = cause.kind === "timeout" ? "authority_timeout" : "authority_unavailable";
      const error = new GatewayError(code, { detail: DETAIL[code], reason: cause.kind, cause });
      return { error, domain: "none", transient: cause.kind !== "too_large", forgetUser: false };
    },
  };
}

/** The order binds: the first rule that fits decides. */
function classify({ status, body }: EntraAnswer): Classification {
  const error = labelOf(body?.error) ?? "";
  const suberror = labelOf(body?.suberror) ?? "";
  const entry = aadstsEntry(numbersOf(body));
  const entryFor = (...actors: readonly Actor[]) =>
    entry !== undefined && actors.includes(ACTOR_OF[entry.code]) ? entry : undefined;
  const as = (code: RefusalCode, fallback: string): Classification => ({
    ...entry,
    code,
    reason: entry?.reason ?? fallback,
  });

  if (status === 429) {
    if (entry?.code === "authority_throttled") return entry;
    return { code: "authority_throttled", reason: "too_many_requests" };
  }
  if (status >= 500 || BUSY_ERRORS.includes(error)) {
    return entryFor("authority") ?? { code: "authority_unavailable", reason: "server_error" };
  }
  if (error === "") return { code: "authority_unavailable", reason: "answer_unusable" };
  // Never the caller's fault, whatever number stands beside it.
  if (error === "invalid_client") {
    return (
      entryFor("operator", "authority") ?? { code: "client_rejected", reason: error, concerns: "credential" }
    );
  }
  if (claimsOf(body) !== undefined) return as("claims_challenged", "claims");
  if (suberror === "consent_required") return classifyConsent(entry);
  if (suberror === "message_only") return as("blocked_by_policy", "conditional_access");
  if (INTERACTION_SUBERRORS.includes(suberror)) return as("interaction_required", suberror);
  if (INTERACTION_ERRORS.includes(error)) return as("interaction_required", error);
  if (error === "consent_required") return classifyConsent(entry);
  if (RESOURCE_ERRORS.includes(error)) {
    if (entry?.code === "downstream_misconfigured") return entry;
    return { code: "downstream_misconfigured", reason: error };
  }
  if (entry !== undefined) return entry;
  // The assertion was verified a moment before, so an unknown refusal of the grant speaks of the user or of a policy.
  // A caller who is sent away for a new token instead would renew silently for ever.
  if (error === "invalid_grant") return { code: "interaction_required", reason: "grant_refused" };
  if (error === "access_denied") return { code: "blocked_by_policy", reason: error };
  return { code: "client_rejected", reason: CLIENT_ERRORS.includes(error) ? error : "unrecognised" };
}

/** Labels of refusals without a known number that speak of the grant itself. */
const GRANT_REASONS = ["grant_refused", "bad_token"];

/**
 * Whether no later request with the same refresh token can succeed: it expired, was revoked, or never was one. A claims
 * request, missing consent or a policy does not end it, since the user, an administrator or time may meet those; nor does
 * a fault of the gateway's registration, of Entra or of the network.
 */
function endsRefreshToken({ code, reason, concerns }: Classification): boolean {
  if (code === "token_rejected") return true;
  return code === "interaction_required" && (concerns === "session" || GRANT_REASONS.includes(reason));
}

function classifyConsent(entry: AadstsEntry | undefined): Classification {
  if (entry?.code === "admin_consent_required" || entry?.code === "consent_required") return entry;
  return { code: "consent_required", reason: "consent_missing" };
}

/** Seconds that the answer asks to stay away, at least 1, and at most what is believed. */
function requestedWait({ headers }: EntraAnswer, now: number): number | undefined {
  const ms = parseRetryAfter(headers.get("retry-after"), now);
  return ms === undefined ? undefined : Math.min(Math.max(1, Math.ceil(ms / 1000)), LONGEST_WAIT_SECONDS);
}

function waitOf(
  code: RefusalCode,
  classification: Classification,
  requested: number | undefined,
): number | undefined {
  if (ACTOR_OF[code] !== "authority") return undefined;
  if (requested !== undefined || code !== "authority_throttled") return requested;
  return classification.concerns === "scopes" ? DEFAULT_LOOP_SECONDS : DEFAULT_THROTTLE_SECONDS;
}

function domainOf(
  code: RefusalCode,
  { concerns }: Classification,
  retryAfterSeconds: number | undefined,
): FailureDomain {
  if (code === "authority_throttled") {
    // A 429 does not say whose limit was reached, so it is taken for this user's.
    return concerns === "tenant" || concerns === "scopes" ? concerns : "user";
  }
  // "Busy" is said to one request. Whether others fare the same is theirs to find out.
  if (code === "authority_unavailable") return retryAfterSeconds === undefined ? "none" : "scopes";
  if (ACTOR_OF[code] === "operator") return concerns === "credential" ? "credential" : "none";
  // Another refresh token of the same delegation may be good, so nothing is remembered of this one.
  if (code === "delegation_ended") return "none";
  return concerns === "session" ? "session" : "request";
}

const DETAIL: Readonly<Record<RefusalCode, string>> = {
  token_rejected: "The access token was not accepted for acting on the user's behalf; acquire a new one.",
  user_token_required: "A user's access token is needed here, not an application's own.",
  claims_challenged: "The user has to sign in again and satisfy the requested claims.",
  interaction_required: "The user has to sign in again interactively.",
  consent_required: "The user has not consented to the permissions that the gateway needs.",
  admin_consent_required: "An administrator has to consent to the permissions that the gateway needs.",
  blocked_by_policy: "A policy of the user's organisation does not allow this access.",
  not_assigned: "The user is not assigned to this application.",
  tenant_not_onboarded: "The user's organisation has not been set up for this application.",
  delegation_ended: "The identity provider no longer renews this delegation; the user has to delegate anew.",
  client_rejected: "The gateway is not accepted by the identity provider at the moment.",
  downstream_misconfigured: "The gateway's configuration for this downstream API is not valid.",
  authority_unavailable: "The identity provider is not available at the moment.",
  authority_throttled: "The identity provider is limiting requests at the moment.",
  authority_timeout: "The identity provider did not answer in time.",
};
