/** The log: JSON lines, the line of each request, and where lines go. Secrets are opaque before they get here; what text remains is scrubbed of anything that looks like a token. */

import { pino } from "pino";
import { ACTOR_OF, GatewayError, type GatewayErrorCode } from "../errors.ts";
import { createLogThrottle, createLogThrottles } from "../foundation/throttled-log.ts";
import { openAuditFile } from "./audit-file.ts";
import type { Logger, LogSink } from "./contract.ts";
import type { OnFailure, OutputEvent } from "./line-output.ts";
import { openStandardOutput } from "./standard-output.ts";

/** A JWT's first two parts in any text: error messages of libraries have been seen to quote their input. */
const TOKEN = /eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,4}/g;

/** A handle of a delegation. */
const HANDLE = /obo_dlg_[\w-]{8,}/g;

export function createLogger(level: string, sink: LogSink): Logger {
  const options = {
    level,
    base: null,
    timestamp: () => `,"time":"${isoTime()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
    serializers: { err: describeError },
  };
  return pino(options, sink);
}

/** An error and its causes, without the properties that libraries hang on them (requests, tokens, headers). */
function describeError(error: unknown, depth = 0): object {
  if (!(error instanceof Error)) return { type: typeof error };
  const { code } = error as NodeJS.ErrnoException;
  return {
    type: error.name,
    message: scrub(error.message),
    ...(typeof code === "string" && { code }),
    // What tells one cause of a refusal from another: its message is for callers, and the same for all of them.
    ...(error instanceof GatewayError &&
      error.reason !== undefined && { reason: error.reason, ...error.diagnostics }),
    // A refusal's code says where it was thrown; a stack is for errors that the code does not foresee.
    ...(error.stack !== undefined &&
      depth === 0 &&
      !(error instanceof GatewayError) && { stack: scrub(error.stack) }),
    ...(error.cause !== undefined && depth < 4 && { cause: describeError(error.cause, depth + 1) }),
  };
}

function scrub(text: string): string {
  return text.replace(TOKEN, "[token]").replace(HANDLE, "[handle]").slice(0, 4_096);
}

let shownMs = Number.NaN;
let shown = "";
let shownSecond = Number.NaN;
let prefix = "";

/** ISO 8601 in UTC with milliseconds, of ms since the epoch. */
export function isoTime(ms: number = Date.now()): string {
  if (ms === shownMs) return shown;
  const second = Math.floor(ms / 1000);
  if (second !== shownSecond) {
    shownSecond = second;
    prefix = new Date(second * 1000).toISOString().slice(0, 20);
  }
  const rest = ms - second * 1000;
  shownMs = ms;
  shown = `${prefix}${rest < 10 ? "00" : rest < 100 ? "0" : ""}${rest}Z`;
  return shown;
}

export interface OutputsOptions {
  readonly level: string;
  /** Default: the audit stream goes where the log goes. */
  readonly auditFile: string | undefined;
  /** `refuse`: lines of the audit stream wait while it cannot be written, and `auditIsAtRisk` says so. */
  readonly onAuditLoss: "drop" | "refuse";
  /** Takes log and audit in the place of standard output. */
  readonly sink: LogSink | undefined;
  readonly onLost: (stream: "log" | "audit", lines: number) => void;
}

export interface Outputs {
  readonly log: Logger;
  /** Where lines go that are spelt without the logger. */
  readonly logSink: LogSink;
  readonly auditLog: Logger;
  /** Whether a request that is served now might leave no line in the audit stream; never with `drop`. */
  auditIsAtRisk(): boolean;
  /** Opens the file of the audit stream again, after it was renamed. */
  reopen(): void;
  close(): Promise<void>;
}

/** How long the last lines of the audit stream may take, ms. */
const END_LIMIT_MS = 1_000;

/** @throws {ConfigurationError} when the file of the audit stream cannot be written. */
export function openOutputs(options: OutputsOptions): Outputs {
  const { level, auditFile, onAuditLoss, sink, onLost } = options;
  const onFailure: OnFailure = onAuditLoss === "refuse" ? "hold" : "drop";
  const failures = createLogThrottle();

  /** Of the log's own loss nothing can be logged before it works again. */
  function logEvent(event: OutputEvent): void {
    if (event.type === "lost") onLost("log", event.lines);
    if (event.type === "restored") log.warn({ lost: event.lost }, "the log is written again");
  }

  function auditEvent(event: OutputEvent): void {
    if (event.type === "lost") onLost("audit", event.lines);
    if (event.type === "restored") {
      log.warn({ file: auditFile, lost: event.lost }, "the audit stream is written again");
      return;
    }
    if (failures.due() === undefined) return;
    log.error({ code: event.reason, file: auditFile }, "the audit stream cannot be written");
  }

  const standardLog =
    sink === undefined ? openStandardOutput({ onFailure: "drop", onEvent: logEvent }) : undefined;
  const logSink = sink ?? (standardLog as LogSink);
  const log = createLogger(level, logSink);
  const file =
    auditFile === undefined ? undefined : openAuditFile(auditFile, { onFailure, onEvent: auditEvent });
  const standardAudit =
    sink === undefined && file === undefined
      ? openStandardOutput({ onFailure, onEvent: auditEvent })
      : undefined;
  const audit = file ?? standardAudit;

  return {
    log,
    logSink,
    auditLog: audit === undefined ? log : createLogger(file === undefined ? level : "info", audit),
    auditIsAtRisk: () => onAuditLoss === "refuse" && audit?.isFailing() === true,
    reopen: () => file?.reopen(),
    async close() {
      if (audit !== undefined) await new Promise<void>((resolve) => audit.end(END_LIMIT_MS, resolve));
      standardAudit?.close();
    },
  };
}

/** What is known of a request at its end. Fields without a value are left out of the line. */
export interface RequestFacts {
  readonly correlationId: string;
  /** By which interface of the local API. */
  readonly via: string | undefined;
  readonly caller:
    | {
        readonly principal: {
          readonly tenantId: string;
          readonly objectId: string;
          readonly clientId: string;
        };
      }
    | undefined;
  /** The delegation by which a job acts for the caller. */
  readonly delegation?: { readonly id: string } | undefined;
  readonly tokenOrigin: string | undefined;
  readonly refusal:
    | { readonly code: string; readonly reason: string | undefined; readonly diagnostics: object | undefined }
    | undefined;
  readonly downstreamStatus: number | undefined;
  readonly cut: string | undefined;
  readonly downstreamRequestId: string | undefined;
  /** Of the token request to Entra, where there was one. */
  readonly tokenRequest:
    | {
        readonly requestId: string | undefined;
        readonly source: string;
        readonly generation?: number | undefined;
      }
    | undefined;
  readonly mcp: { readonly method: string; readonly tools: readonly string[] } | undefined;
  readonly trace: { readonly traceId: string } | undefined;
  /** Milliseconds spent in each room, and in pauses that an API asked for. */
  readonly verifyMs: number | undefined;
  readonly exchangeMs: number | undefined;
  readonly downstreamMs: number | undefined;
  readonly throttleMs: number | undefined;
}

export interface RequestEnd {
  readonly method: string;
  readonly route: string;
  readonly status: number;
  readonly code: string;
  readonly completed: boolean;
  readonly elapsedMs: number;
}

export type LogRequest = (facts: RequestFacts, end: RequestEnd) => void;

export interface RequestLogOptions {
  /** Which granted requests get a line. */
  readonly granted: "all" | "sampled" | "none";
  /** With `sampled`, one in so many. */
  readonly sampleOneIn: number;
}

type Level = "info" | "warn" | "error";

/**
 * Writes what `log.info(…, "request")` would, and where it would. The path is left out on purpose: it may hold a
 * user's name or address.
 *
 * The level says who must act: `error` for a defect, `warn` where the operator must act or the authority fails. Of such
 * refusals one of each code in half a minute is a warning, and the rest are information: an outage must not bury
 * everything else that has the level.
 */
export function createRequestLog(
  log: Logger,
  sink: LogSink,
  { granted, sampleOneIn }: RequestLogOptions,
  warnings = createLogThrottles(),
): LogRequest {
  let passedOver = sampleOneIn - 1;

  function isLeftOut(): boolean {
    if (granted === "all") return false;
    if (granted === "none") return true;
    passedOver = (passedOver + 1) % sampleOneIn;
    return passedOver !== 0;
  }

  return (facts, end) => {
    if (end.code === "granted" && isLeftOut()) return;
    const level = levelOf(end.code, warnings);
    if (log.isLevelEnabled(level)) sink.write(requestLine(level, facts, end));
  };
}

function levelOf(code: string, warnings: ReturnType<typeof createLogThrottles>): Level {
  if (code === "internal") return "error";
  const actor = code in ACTOR_OF ? ACTOR_OF[code as GatewayErrorCode] : undefined;
  if (actor !== "operator" && actor !== "authority") return "info";
  return warnings.due(code) === undefined ? "info" : "warn";
}

function requestLine(level: Level, facts: RequestFacts, end: RequestEnd): string {
  const { refusal } = facts;
  const principal = facts.caller?.principal;
  let line = `{"level":"${level}","time":"${isoTime()}","correlationId":${quoted(facts.correlationId)}`;
  if (facts.trace !== undefined) line += `,"traceId":"${facts.trace.traceId}"`;
  line += refusal === undefined ? ',"granted":true' : ',"granted":false';
  line += `,"code":${quoted(end.code)}`;
  if (refusal?.reason !== undefined) line += `,"reason":${quoted(refusal.reason)}`;
  if (facts.via !== undefined) line += `,"via":"${facts.via}"`;
  line += `,"method":${quoted(end.method)},"route":${quoted(end.route)},"status":${end.status}`;
  line += end.completed ? ',"completed":true' : ',"completed":false';
  if (principal !== undefined) {
    line += `,"tid":${quoted(principal.tenantId)},"oid":${quoted(principal.objectId)}`;
    line += `,"azp":${quoted(principal.clientId)}`;
  }
  if (facts.mcp !== undefined) {
    line += `,"mcpMethod":${quoted(facts.mcp.method)}`;
    if (facts.mcp.tools.length > 0) line += `,"tool":${quoted(facts.mcp.tools.join(","))}`;
  }
  if (facts.delegation !== undefined) line += `,"delegation":"${facts.delegation.id}"`;
  if (facts.tokenOrigin !== undefined) line += `,"tokenOrigin":"${facts.tokenOrigin}"`;
  if (facts.tokenRequest !== undefined) {
    const { source, generation, requestId } = facts.tokenRequest;
    line += `,"credential":"${source}"`;
    if (generation !== undefined) line += `,"credentialGeneration":${generation}`;
    if (requestId !== undefined) line += `,"entraRequestId":${quoted(requestId)}`;
  }
  if (facts.downstreamStatus !== undefined) line += `,"downstreamStatus":${facts.downstreamStatus}`;
  if (facts.downstreamRequestId !== undefined)
    line += `,"downstreamRequestId":${quoted(facts.downstreamRequestId)}`;
  if (facts.cut !== undefined) line += `,"cut":"${facts.cut}"`;
  if (refusal?.diagnostics !== undefined) line += `,"diagnostics":${JSON.stringify(refusal.diagnostics)}`;
  line += `,"ms":${hundredths(end.elapsedMs)}`;
  if (facts.verifyMs !== undefined) line += `,"verifyMs":${hundredths(facts.verifyMs)}`;
  if (facts.exchangeMs !== undefined) line += `,"exchangeMs":${hundredths(facts.exchangeMs)}`;
  if (facts.downstreamMs !== undefined) line += `,"downstreamMs":${hundredths(facts.downstreamMs)}`;
  if (facts.throttleMs !== undefined) line += `,"throttleMs":${hundredths(facts.throttleMs)}`;
  return `${line},"msg":"request"}\n`;
}

/** Anything that JSON would have to escape, or that is not ASCII. */
const UNSAFE = /[^\x20\x21\x23-\x5b\x5d-\x7e]/;

function quoted(text: string): string {
  return UNSAFE.test(text) ? JSON.stringify(text) : `"${text}"`;
}

/** As `Math.round(ms * 100) / 100` prints, by whole numbers: those of a double take ten times as long to spell. */
function hundredths(ms: number): string {
  const all = Math.round(ms * 100);
  const whole = Math.floor(all / 100);
  const rest = all - whole * 100;
  if (rest === 0) return `${whole}`;
  if (rest % 10 === 0) return `${whole}.${rest / 10}`;
  return rest < 10 ? `${whole}.0${rest}` : `${whole}.${rest}`;
}
