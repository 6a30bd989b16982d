/** Every way a request or a configuration can fail, answering one question: who must act? */

/** Who has to do something before the same request can succeed. */
export type Actor = "caller" | "user" | "job" | "operator" | "authority" | "downstream" | "nobody";

/**
 * The closed list of refusals. The code is what callers branch on, the metric's label and the log's reason,
 * so adding one is a change of the public contract.
 */
export const ACTOR_OF = {
  token_missing: "caller",
  token_rejected: "caller",
  scope_insufficient: "caller",
  user_token_required: "caller",
  route_unknown: "caller",
  method_not_allowed: "caller",
  target_forbidden: "caller",
  request_malformed: "caller",
  body_too_large: "caller",
  rate_limited: "caller",
  claims_challenged: "user",
  interaction_required: "user",
  consent_required: "user",
  admin_consent_required: "user",
  blocked_by_policy: "user",
  not_assigned: "user",
  tenant_not_onboarded: "user",
  delegation_ended: "job",
  credential_unavailable: "operator",
  client_rejected: "operator",
  downstream_misconfigured: "operator",
  key_set_unavailable: "authority",
  authority_unavailable: "authority",
  authority_throttled: "authority",
  authority_timeout: "authority",
  downstream_unreachable: "downstream",
  downstream_timeout: "downstream",
  overloaded: "nobody",
  draining: "nobody",
  internal: "nobody",
} as const satisfies Record<string, Actor>;

export type GatewayErrorCode = keyof typeof ACTOR_OF;

/** Details of a refusal. No field may hold a token, an assertion, a key or a person's name. */
export interface GatewayErrorDetails {
  /** Sentence for the caller, written by the gateway: text received from Entra or an API never stands here. */
  readonly detail: string;
  /** Seconds to wait before trying again (RFC 9110 §10.2.3). */
  readonly retryAfterSeconds?: number;
  /** Claims request of Entra, as decoded JSON text, for the caller to present on its next sign-in. */
  readonly claims?: string;
  /** Scopes of which any one would have been enough (RFC 6750 §3). */
  readonly requiredScopes?: readonly string[];
  /** Where a user or an administrator can consent. */
  readonly consentUri?: string;
  /**
   * Short stable label that tells causes of one code apart, for logs and metrics: "signature", "expired". Callers see
   * it where they wrote what is refused: `request_malformed` and `target_forbidden`.
   */
  readonly reason?: string;
  /** Facts for the operator's log, for example Entra's error code and trace id; never shown to the caller. */
  readonly diagnostics?: Readonly<Record<string, string | number | readonly number[]>>;
  readonly cause?: unknown;
}

/** A request that cannot be granted. `http/problem.ts` is the only place that turns it into an answer. */
export class GatewayError<Code extends GatewayErrorCode = GatewayErrorCode> extends Error {
  override readonly name = "GatewayError";
  readonly code: Code;
  readonly actor: Actor;
  readonly retryAfterSeconds: number | undefined;
  readonly claims: string | undefined;
  readonly requiredScopes: readonly string[] | undefined;
  readonly consentUri: string | undefined;
  readonly reason: string | undefined;
  readonly diagnostics: GatewayErrorDetails["diagnostics"];

  constructor(code: Code, details: GatewayErrorDetails) {
    super(details.detail, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.actor = ACTOR_OF[code];
    this.retryAfterSeconds = details.retryAfterSeconds;
    this.claims = details.claims;
    this.requiredScopes = details.requiredScopes;
    this.consentUri = details.consentUri;
    this.reason = details.reason;
    this.diagnostics = details.diagnostics;
  }

  /** The caller-facing sentence; an alias of `message` under the name that RFC 9457 uses. */
  get detail(): string {
    return this.message;
  }
}

/** One fault of the configuration, and how to correct it. */
export interface ConfigurationFault {
  /** Setting at fault: a path in the YAML file (`routes[2].downstreamApi`) or an environment variable. */
  readonly path: string;
  /** The fault and, where it is not obvious, its remedy; never the value of a secret. */
  readonly problem: string;
}

/** The gateway cannot start as configured. Carries every fault that was found, not just the first. */
export class ConfigurationError extends Error {
  override readonly name = "ConfigurationError";
  readonly faults: readonly ConfigurationFault[];

  constructor(faults: readonly ConfigurationFault[], options?: ErrorOptions) {
    super(faults.map(({ path, problem }) => `${path}: ${problem}`).join("\n"), options);
    this.faults = faults;
  }
}
