/** OAuth as the endpoints speak it: parameters in, and refusals and JSON out (RFC 6749 §5). */

import type { GatewayErrorCode } from "../../errors.ts";
import type { EndpointAnswer } from "../contract.ts";

/** A refusal by the gateway itself: nothing was sent to the authority. */
export class OAuthRefusal extends Error {
  override readonly name = "OAuthRefusal";
  /** `error` of the answer: a code of RFC 6749, 7591 or 8707. */
  readonly error: string;
  readonly reason: string;
  readonly status: number;
  readonly code: GatewayErrorCode;
  readonly retryAfterSeconds: number | undefined;

  /** @param reason Short stable label for the log. */
  constructor(
    error: string,
    reason: string,
    description: string,
    more: {
      readonly status?: number;
      readonly code?: GatewayErrorCode;
      readonly retryAfterSeconds?: number;
      readonly cause?: unknown;
    } = {},
  ) {
    super(description, more.cause === undefined ? undefined : { cause: more.cause });
    this.error = error;
    this.reason = reason;
    this.status = more.status ?? 400;
    this.code = more.code ?? "request_malformed";
    this.retryAfterSeconds = more.retryAfterSeconds;
  }
}

/** Runs an endpoint, and turns its refusal into the answer. */
export async function answerOAuth(
  endpoint: () => EndpointAnswer | Promise<EndpointAnswer>,
): Promise<EndpointAnswer> {
  try {
    return await endpoint();
  } catch (error) {
    if (!(error instanceof OAuthRefusal)) throw error;
    const { status, code, reason, retryAfterSeconds } = error;
    return {
      ...json(
        status,
        { error: error.error, error_description: error.message },
        retryAfterSeconds === undefined ? {} : { "retry-after": String(retryAfterSeconds) },
      ),
      refusal: { code, reason },
    };
  }
}

/** RFC 6749 §5.1: answers that may hold a token are not stored. */
export function json(
  status: number,
  body: object,
  headers: Readonly<Record<string, string>> = {},
): EndpointAnswer {
  return {
    status,
    headers: { "content-type": "application/json", "cache-control": "no-store", ...headers },
    body: JSON.stringify(body),
  };
}

/** More than any client sends. */
const MOST_PARAMETERS = 64;

export type Parameters = ReadonlyMap<string, string>;

/**
 * Parameters of a query or a form. RFC 6749 §3.1: one that stands twice is refused, or two readers could take different
 * ones; one without a value counts as left out.
 *
 * @throws {OAuthRefusal}
 */
export function readParameters(text: string): Parameters {
  const found = new Map<string, string>();
  let count = 0;
  for (const [name, value] of new URLSearchParams(text)) {
    count += 1;
    if (count > MOST_PARAMETERS) throw malformed("parameters", "The request has too many parameters.");
    if (found.has(name)) throw malformed("repeated", "The request has a parameter more than once.");
    found.set(name, value);
  }
  for (const [name, value] of found) if (value === "") found.delete(name);
  return found;
}

export function malformed(reason: string, description: string): OAuthRefusal {
  return new OAuthRefusal("invalid_request", reason, description);
}

/** @throws {OAuthRefusal} */
export function required(parameters: Parameters, name: string): string {
  const value = parameters.get(name);
  if (value === undefined) throw malformed(`${name}_missing`, `The parameter ${name} is missing.`);
  return value;
}
