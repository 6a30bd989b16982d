/** From an AADSTS number to the JSON that Entra answers. */

import type { RefusalOptions } from "../handle.ts";
import { errorRow } from "./errors.ts";

type Wording = Pick<
  RefusalOptions,
  "spelling" | "description" | "errorUri" | "error" | "suberror" | "status" | "retryAfterSeconds"
> & {
  /** JSON text. */
  readonly claims?: string;
  /** What differed, in brackets after the row's text. */
  readonly reason?: string;
};

/** Thrown anywhere below the token endpoint. */
export class EntraRefusal extends Error {
  override readonly name = "EntraRefusal";
  readonly code: number;
  readonly wording: Wording;

  constructor(code: number, wording: Wording | string = {}) {
    super(`AADSTS${code}`);
    this.code = code;
    this.wording = typeof wording === "string" ? { reason: wording } : wording;
  }
}

export interface RefusalAnswer {
  readonly status: number;
  readonly retryAfterSeconds: number | undefined;
  readonly body: Record<string, unknown>;
}

export function refusalAnswer(
  { code, wording }: EntraRefusal,
  about: {
    readonly traceId: string;
    readonly correlationId: string;
    readonly at: number;
    readonly authorityHost: string;
  },
): RefusalAnswer {
  const row = errorRow(code);
  if (row === undefined && wording.error === undefined) throw new Error(`no row for AADSTS${code}`);
  const basicAction = wording.spelling === "basic-action";
  const error = wording.error ?? (basicAction ? "invalid_grant" : (row?.error ?? "server_error"));
  const suberror =
    wording.suberror === undefined ? (basicAction ? "basic_action" : row?.suberror) : wording.suberror;
  const timestamp = `${new Date(about.at).toISOString().slice(0, 19).replace("T", " ")}Z`;
  const reason = wording.reason === undefined ? "" : ` [Reason - ${wording.reason}]`;
  const separator = wording.description === "crlf" ? "\r\n" : " ";
  const withUri = wording.errorUri ?? row?.noErrorUri !== true;
  return {
    status: wording.status ?? row?.status ?? 400,
    retryAfterSeconds: wording.retryAfterSeconds,
    body: {
      error,
      error_description: [
        `AADSTS${code}: ${row?.text ?? "Refused."}${reason}`,
        `Trace ID: ${about.traceId}`,
        `Correlation ID: ${about.correlationId}`,
        `Timestamp: ${timestamp}`,
      ].join(separator),
      error_codes: [code],
      timestamp,
      trace_id: about.traceId,
      correlation_id: about.correlationId,
      ...(withUri ? { error_uri: `${about.authorityHost}error?code=${code}` } : {}),
      ...(suberror === undefined || suberror === null ? {} : { suberror }),
      ...(wording.claims === undefined ? {} : { claims: wording.claims }),
    },
  };
}
