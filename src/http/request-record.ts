/** What the gateway knows of one request: filled in room by room, read once for the log line and the metrics. */

import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Request } from "express";
import type { ForwardRecord, TransferObserver } from "../downstream/contract.ts";
import type { TokenOrigin, TokenRequestFacts } from "../exchange/contract.ts";
import type { Owner } from "../foundation/budget.ts";
import type { VerifiedCaller } from "../identity/contract.ts";
import type { RequestTrace } from "./request-trace.ts";

export interface RequestRecord extends ForwardRecord {
  readonly correlationId: string;
  /** `performance.now()` when the request came in, ms. */
  readonly startedAt: number;
  /** Mount path of the matched route: a bounded set, unlike the request's own path, which may name a person. */
  route: string | undefined;
  caller: VerifiedCaller | undefined;
  /** On whose account the request holds places and memory, once its caller is known. */
  owner: Owner | undefined;
  tokenOrigin: TokenOrigin | undefined;
  /** Why the request was refused; `undefined` while it is granted. */
  refusal:
    | { readonly code: string; readonly reason: string | undefined; readonly diagnostics: object | undefined }
    | undefined;
  /** Milliseconds spent in each room. */
  verifyMs: number | undefined;
  exchangeMs: number | undefined;
  /** Of the token request to Entra, where there was one. */
  tokenRequest: TokenRequestFacts | undefined;
  /** Set when the request begins, if anybody wants to know. */
  trace: RequestTrace | undefined;
  transfers: TransferObserver | undefined;
}

/** How a request ended. */
export interface RequestEnd {
  readonly method: string;
  readonly status: number;
  /** Whether the caller was given the whole answer. */
  readonly completed: boolean;
}

/** Is told of every request, when its headers are here and when its answer has ended. */
export interface RequestObserver {
  began(record: RequestRecord, incoming: IncomingMessage): void;
  ended(record: RequestRecord, end: RequestEnd): void;
}

const RECORD = Symbol("request record");
type Recorded = Request & { [RECORD]?: RequestRecord };

/** Ids that fit a log line and a header: GUIDs, ULIDs, trace ids, and what tests like to write. */
const PLAUSIBLE_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** Opens the record, before anything can go wrong. */
export function openRecord(request: Request): RequestRecord {
  const given = request.headers["x-correlation-id"];
  const correlationId = typeof given === "string" && PLAUSIBLE_ID.test(given) ? given : randomUUID();
  const record: RequestRecord = {
    correlationId,
    startedAt: performance.now(),
    route: undefined,
    caller: undefined,
    owner: undefined,
    tokenOrigin: undefined,
    refusal: undefined,
    downstreamStatus: undefined,
    cut: undefined,
    verifyMs: undefined,
    exchangeMs: undefined,
    tokenRequest: undefined,
    downstreamMs: undefined,
    downstreamRequestId: undefined,
    throttleMs: undefined,
    trace: undefined,
    transfers: undefined,
  };
  (request as Recorded)[RECORD] = record;
  return record;
}

/** @throws when `openRecord` has not run: a mistake in the composition, not in the request. */
export function recordOf(request: Request): RequestRecord {
  const record = (request as Recorded)[RECORD];
  if (record === undefined)
    throw new Error("request without a record: openRecord must be called first of all");
  return record;
}
