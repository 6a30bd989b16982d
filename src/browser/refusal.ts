/** Reads the gateway's refusals: an RFC 9457 problem, and the challenge in `WWW-Authenticate` (RFC 6750 §3). */

import type { GatewayErrorCode } from "../errors.ts";

/** The gateway refused the request. `code` says why, by the names of the gateway's contract. */
export class GatewayRefusal extends Error {
  override readonly name = "GatewayRefusal";
  readonly code: GatewayErrorCode;
  readonly status: number;
  /** Names the request in the gateway's log. */
  readonly correlationId: string;
  /** Claims request as JSON text, for the next sign-in. */
  readonly claims: string | undefined;
  /** Where the user or an administrator can consent. */
  readonly consentUri: string | undefined;
  /** Scopes of which any one would have been enough. */
  readonly requiredScopes: readonly string[];
  readonly retryAfterSeconds: number | undefined;

  constructor({ message, ...facts }: RefusalFacts, options?: ErrorOptions) {
    super(message, options);
    this.code = facts.code;
    this.status = facts.status;
    this.correlationId = facts.correlationId;
    this.claims = facts.claims;
    this.consentUri = facts.consentUri;
    this.requiredScopes = facts.requiredScopes;
    this.retryAfterSeconds = facts.retryAfterSeconds;
  }
}

export interface RefusalFacts
  extends Pick<
    GatewayRefusal,
    | "code"
    | "status"
    | "correlationId"
    | "claims"
    | "consentUri"
    | "requiredScopes"
    | "retryAfterSeconds"
    | "message"
  > {}

/** Of an answer without a body (to HEAD), the challenge alone says what is wanted. */
const CODE_OF_ERROR: Readonly<Record<string, GatewayErrorCode>> = {
  insufficient_claims: "claims_challenged",
  interaction_required: "interaction_required",
  insufficient_scope: "scope_insufficient",
  invalid_token: "token_rejected",
};

const TYPE = "urn:obo-gateway:problem:";

/** Undefined for every answer that is not the gateway's refusal: a downstream status is a result, its body untouched. */
export async function readRefusal(response: Response): Promise<RefusalFacts | undefined> {
  const { status, headers } = response;
  if (status < 400 || !/^application\/problem\+json\b/i.test(headers.get("content-type") ?? ""))
    return undefined;
  // Of a copy: the body of an API's own problem belongs to the page.
  const text = await response.clone().text();
  const challenge = headers.get("www-authenticate") ?? "";
  const problem = text === "" ? fromChallenge(challenge) : objectFrom(text);
  if (typeof problem.type !== "string" || !problem.type.startsWith(TYPE)) return undefined;
  await response.body?.cancel();
  const seconds = Number.parseInt(headers.get("retry-after") ?? "", 10);
  return {
    code: problem.type.slice(TYPE.length) as GatewayErrorCode,
    status,
    message: textOf(problem.detail) ?? problem.type,
    correlationId: textOf(problem.correlationId) ?? headers.get("x-correlation-id") ?? "",
    claims: claimsIn(challenge) ?? textOf(problem.claims),
    consentUri: textOf(problem.consentUri),
    requiredScopes: Array.isArray(problem.requiredScopes) ? problem.requiredScopes : [],
    retryAfterSeconds: Number.isNaN(seconds) ? undefined : seconds,
  };
}

function fromChallenge(challenge: string): Record<string, unknown> {
  const code = CODE_OF_ERROR[parameter(challenge, "error") ?? ""];
  return code === undefined ? {} : { type: TYPE + code };
}

function objectFrom(text: string): Record<string, unknown> {
  try {
    return Object(JSON.parse(text));
  } catch {
    // Cut short on its way, or not JSON after all: then it is an answer like any other.
    return {};
  }
}

/** The gateway sends base64 of UTF-8; what does not decode is treated as absent. */
function claimsIn(challenge: string): string | undefined {
  const encoded = parameter(challenge, "claims");
  if (encoded === undefined) return undefined;
  try {
    const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** A quoted parameter of a Bearer challenge. None that this client reads holds an escaped character. */
function parameter(challenge: string, name: string): string | undefined {
  return new RegExp(`^Bearer (?:.*, ?)?${name}="([^"\\\\]*)"`, "i").exec(challenge)?.[1];
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}
