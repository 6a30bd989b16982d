/** JSON logs, and where their lines go: standard output, and for the audit stream a file of its own. Secrets are opaque before they get here; what text remains is scrubbed of anything that looks like a token. */

import { pino } from "pino";
import { GatewayError } from "../errors.ts";
import { createLogThrottle } from "../foundation/throttled-log.ts";
import { openAuditFile } from "./audit-file.ts";
import type { Logger, LogSink } from "./contract.ts";
import type { OnFailure, OutputEvent } from "./line-output.ts";
import { openStandardOutput } from "./standard-output.ts";

/** A JWT's first two parts in any text: error messages of libraries have been seen to quote their input. */
const TOKEN = /eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,4}/g;

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
  return text.replace(TOKEN, "[token]").slice(0, 4_096);
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
