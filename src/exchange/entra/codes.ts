/** What Entra's AADSTS numbers hint at, as data: they refine a judgement and never make one alone. */

import type { GatewayErrorCode } from "../../errors.ts";

/** The refusals that an exchange can end in because of what the authority said. */
export type RefusalCode = Extract<
  GatewayErrorCode,
  | "token_rejected"
  | "user_token_required"
  | "claims_challenged"
  | "interaction_required"
  | "consent_required"
  | "admin_consent_required"
  | "blocked_by_policy"
  | "not_assigned"
  | "tenant_not_onboarded"
  | "client_rejected"
  | "downstream_misconfigured"
  | "authority_unavailable"
  | "authority_throttled"
  | "authority_timeout"
>;

/**
 * How well a row is known: `captured` from the real service, `reported` with its body in a public issue,
 * `documented` by Microsoft (reference-error-codes), seen in an `sdk`, or `unconfirmed`.
 */
export type Grade = "captured" | "reported" | "documented" | "sdk" | "unconfirmed";

export interface Hint {
  readonly code: RefusalCode;
  readonly reason: string;
  readonly grade: Grade;
  /**
   * Beyond this one request: `user` loses every cached token, the `credential` may have another proof to offer,
   * the whole `tenant` is to be held back, or just this user's `scopes`.
   */
  readonly concerns?: "user" | "credential" | "tenant" | "scopes";
}

type Row = readonly [numbers: readonly number[], hint: Hint];

/**
 * Microsoft changes numbers and texts without notice (reference-error-codes), so an unknown one is never a fault.
 * `tenant_not_onboarded` reads as `client_rejected` where the tenant is the gateway's own.
 */
const ROWS: readonly Row[] = [
  // The caller's token.
  [[500133], { code: "token_rejected", reason: "assertion_expired", grade: "reported" }],
  [[50013], { code: "token_rejected", reason: "assertion_refused", grade: "reported" }],
  [[50027], { code: "token_rejected", reason: "assertion_refused", grade: "documented" }],
  [[500131], { code: "client_rejected", reason: "assertion_audience", grade: "reported" }],
  [[7000114], { code: "user_token_required", reason: "app_only_assertion", grade: "reported" }],

  // The user.
  [[65001], { code: "consent_required", reason: "consent_missing", grade: "reported" }],
  [[65004], { code: "consent_required", reason: "consent_declined", grade: "documented" }],
  [[90094, 90095], { code: "admin_consent_required", reason: "admin_consent_missing", grade: "documented" }],
  [[50076, 50079], { code: "interaction_required", reason: "mfa_required", grade: "documented" }],
  [[50072, 50074, 50078], { code: "interaction_required", reason: "mfa_required", grade: "documented" }],
  [[50158], { code: "interaction_required", reason: "external_challenge", grade: "documented" }],
  [
    [50097, 53000, 53001, 53002],
    { code: "interaction_required", reason: "device_required", grade: "documented" },
  ],
  [[50173], { code: "interaction_required", reason: "session_ended", grade: "captured", concerns: "user" }],
  [
    [50132, 50133, 70043, 700082],
    { code: "interaction_required", reason: "session_ended", grade: "documented", concerns: "user" },
  ],
  [
    [53003, 530032, 530035, 50131],
    { code: "blocked_by_policy", reason: "conditional_access", grade: "documented" },
  ],
  [[53004, 53010, 53011], { code: "blocked_by_policy", reason: "risk", grade: "documented" }],
  [[50105], { code: "not_assigned", reason: "not_assigned", grade: "documented" }],
  [
    [50057, 50034, 51004, 50020, 90072, 500212, 500213],
    { code: "blocked_by_policy", reason: "account_unusable", grade: "documented", concerns: "user" },
  ],
  [[700016], { code: "tenant_not_onboarded", reason: "application_unknown", grade: "documented" }],
  [[90002], { code: "tenant_not_onboarded", reason: "tenant_unknown", grade: "documented" }],

  // The operator: the gateway's own credential.
  [[7000215], { code: "client_rejected", reason: "secret_wrong", grade: "captured", concerns: "credential" }],
  [
    [7000222],
    { code: "client_rejected", reason: "secret_expired", grade: "documented", concerns: "credential" },
  ],
  [
    [7000218],
    { code: "client_rejected", reason: "credential_absent", grade: "documented", concerns: "credential" },
  ],
  [
    [700027],
    {
      code: "client_rejected",
      reason: "certificate_unregistered",
      grade: "captured",
      concerns: "credential",
    },
  ],
  [
    [50012, 50048, 700030],
    {
      code: "client_rejected",
      reason: "client_assertion_refused",
      grade: "documented",
      concerns: "credential",
    },
  ],
  [
    [700024],
    {
      code: "client_rejected",
      reason: "client_assertion_outdated",
      grade: "reported",
      concerns: "credential",
    },
  ],
  [
    [7000214, 7000277, 7000274, 1000502],
    { code: "client_rejected", reason: "credential_revoked", grade: "sdk", concerns: "credential" },
  ],
  [
    [70021],
    {
      code: "client_rejected",
      reason: "federated_credential_unmatched",
      grade: "captured",
      concerns: "credential",
    },
  ],
  [
    [700211, 700213, 7002137, 7002138],
    {
      code: "client_rejected",
      reason: "federated_credential_unmatched",
      grade: "reported",
      concerns: "credential",
    },
  ],
  [
    [700212],
    {
      code: "client_rejected",
      reason: "federated_credential_unmatched",
      grade: "unconfirmed",
      concerns: "credential",
    },
  ],
  [
    [700229],
    {
      code: "client_rejected",
      reason: "federated_credential_unmatched",
      grade: "documented",
      concerns: "credential",
    },
  ],

  // The operator: registration and configuration.
  [[700038], { code: "client_rejected", reason: "client_id_malformed", grade: "captured" }],
  [[70003], { code: "client_rejected", reason: "grant_unsupported", grade: "captured" }],
  [[7000112], { code: "client_rejected", reason: "application_disabled", grade: "documented" }],
  [
    [9001023, 90124, 90130, 50194],
    { code: "client_rejected", reason: "endpoint_unsuitable", grade: "documented" },
  ],
  [
    [90038, 900382, 900432, 50049],
    { code: "client_rejected", reason: "cloud_mismatch", grade: "documented" },
  ],
  [[900144], { code: "client_rejected", reason: "parameter_absent", grade: "documented" }],
  [[500011], { code: "downstream_misconfigured", reason: "resource_unknown", grade: "captured" }],
  [
    [650052, 650057, 65005],
    { code: "downstream_misconfigured", reason: "resource_unknown", grade: "documented" },
  ],
  [[70011, 28002], { code: "downstream_misconfigured", reason: "scope_refused", grade: "documented" }],

  // The authority.
  [
    [90055],
    { code: "authority_throttled", reason: "tenant_throttled", grade: "documented", concerns: "tenant" },
  ],
  [[50196], { code: "authority_throttled", reason: "loop_detected", grade: "reported", concerns: "scopes" }],
  [[90061], { code: "authority_unavailable", reason: "issuer_unreachable", grade: "reported" }],
  [
    [90033, 90006, 90012, 90024, 50033, 90090],
    { code: "authority_unavailable", reason: "transient", grade: "documented" },
  ],
];

const HINTS = new Map(ROWS.flatMap(([numbers, hint]) => numbers.map((number) => [number, hint] as const)));

/** The hint of the first number that has one: Entra puts the most telling number first. */
export function hintFor(numbers: readonly number[]): Hint | undefined {
  for (const number of numbers) {
    const hint = HINTS.get(number);
    if (hint !== undefined) return hint;
  }
  return undefined;
}
