/** Opens the record of a request, and finds it again: one place for what the rooms come to know of it. */

import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Request } from "express";
import type { RequestRecord } from "./contract.ts";

const RECORD = Symbol("request record");
type Recorded = IncomingMessage & { [RECORD]?: RequestRecord };

/** Ids that fit a log line and a header: GUIDs, ULIDs, trace ids, and what tests like to write. */
const PLAUSIBLE_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** Opens the record, before anything can go wrong. */
export function openRecord(request: Request): RequestRecord {
  const given = request.headers["x-correlation-id"];
  const correlationId = typeof given === "string" && PLAUSIBLE_ID.test(given) ? given : randomUUID();
  const record: RequestRecord = {
    correlationId,
    prefix: request.baseUrl,
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

/** The user of a request, once its caller is known. */
export function userOf(request: IncomingMessage): string | undefined {
  return (request as Recorded)[RECORD]?.owner?.user;
}

/** Whether `openRecord` has run: an app that brings routes of its own has requests without a record. */
export function isRecorded(request: Request): boolean {
  return (request as Recorded)[RECORD] !== undefined;
}

/** As the caller wrote it, without the prefix of an app that mounts this one: routes know nothing of that. */
export function targetBelowPrefix({ originalUrl }: Request, { prefix }: RequestRecord): string {
  return prefix === "" ? originalUrl : originalUrl.slice(prefix.length);
}
