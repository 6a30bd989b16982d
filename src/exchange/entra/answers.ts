/** Reads answers of the token endpoint, and the proof that was sent, believing no member before its shape is proven. */

import type { ClientAuthentication } from "../../credential/contract.ts";
import type { GatewayErrorDetails } from "../../errors.ts";
import type { FetchedHeaders } from "../../foundation/bounded-fetch.ts";
import { parseJsonObject } from "../../foundation/json.ts";
import { AADSTS, type AadstsEntry } from "./codes.ts";

export type { RemedyCommand } from "./codes.ts";

/** Members of an error body that mean something here (Entra, v2-oauth2-on-behalf-of-flow). */
export interface EntraErrorBody {
  readonly error?: unknown;
  readonly suberror?: unknown;
  readonly error_codes?: unknown;
  readonly claims?: unknown;
  readonly trace_id?: unknown;
  readonly correlation_id?: unknown;
  readonly timestamp?: unknown;
}

export interface EntraAnswer {
  readonly status: number;
  readonly headers: FetchedHeaders;
  /** Absent when the answer was no JSON object. */
  readonly body: EntraErrorBody | undefined;
}

const MAX_CLAIMS_LENGTH = 8192;
const MOST_NUMBERS = 8;
const LABEL = /^[\w.-]{1,64}$/;
/** An id that Entra gave to a request or an answer. */
export const IDENTIFIER = /^[\w-]{1,64}$/;
/** Printable ASCII of a length that a log can bear. */
const CLAIM = /^[\x20-\x7E]{1,256}$/;
const TIMESTAMP = /^[\d\-: ]{1,32}Z$/;

/** An error code in the sense of RFC 6749 §5.2, short enough to be a metric's label. */
export function labelOf(value: unknown): string | undefined {
  return textOf(value, LABEL);
}

/** The claims request that the user must satisfy: JSON text of an object, or nothing. */
export function claimsOf(body: EntraAnswer["body"]): string | undefined {
  const claims = body?.claims;
  if (typeof claims !== "string" || claims.length > MAX_CLAIMS_LENGTH) return undefined;
  return parseJsonObject(claims) === undefined ? undefined : claims;
}

/** AADSTS numbers; Entra puts the most specific one first. */
export function numbersOf(body: EntraAnswer["body"]): readonly number[] {
  const numbers: readonly unknown[] = Array.isArray(body?.error_codes) ? body.error_codes : [];
  return numbers.filter((number) => typeof number === "number").slice(0, MOST_NUMBERS);
}

/** For the operator's log. `error_description` is left out: it may name users and addresses. */
export function diagnosticsOf({
  status,
  body = {},
}: EntraAnswer): NonNullable<GatewayErrorDetails["diagnostics"]> {
  const numbers = numbersOf(body);
  const texts = {
    error: labelOf(body.error),
    suberror: labelOf(body.suberror),
    trace_id: textOf(body.trace_id, IDENTIFIER),
    correlation_id: textOf(body.correlation_id, IDENTIFIER),
    timestamp: textOf(body.timestamp, TIMESTAMP),
  };
  const present = Object.entries(texts).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return {
    status,
    ...Object.fromEntries(present),
    ...(numbers.length === 0 ? {} : { error_codes: numbers }),
  };
}

function textOf(value: unknown, shape: RegExp): string | undefined {
  return typeof value === "string" && shape.test(value) ? value : undefined;
}

/**
 * Issuer, subject and audience of the gateway's own proof, unverified: Entra compares them letter by letter with the
 * registered credential, and its answer does not always say which one differs. None of them is secret.
 */
export function describeClientAssertion(authentication: ClientAuthentication): Record<string, string> {
  if (authentication.method !== "client_assertion") return {};
  const payload = authentication.clientAssertion.reveal().split(".")[1] ?? "";
  const { iss, sub, aud } = parseJsonObject(Buffer.from(payload, "base64url").toString()) ?? {};
  const audience = Array.isArray(aud) ? aud.join(" ") : aud;
  const claims = Object.entries({ assertion_iss: iss, assertion_sub: sub, assertion_aud: audience });
  return Object.fromEntries(
    claims.filter((claim): claim is [string, string] => typeof claim[1] === "string" && CLAIM.test(claim[1])),
  );
}

const BY_NUMBER = new Map(AADSTS.flatMap((row) => row.numbers.map((number) => [number, row] as const)));

/** The table's row for the first number that has one. */
export function aadstsEntry(numbers: readonly number[]): AadstsEntry | undefined {
  for (const number of numbers) {
    const row = BY_NUMBER.get(number);
    if (row !== undefined) return row;
  }
  return undefined;
}
