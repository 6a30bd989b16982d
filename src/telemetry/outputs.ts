/** Where lines go: the log, and the audit stream beside it or in a file of its own; with a count of those that were lost. */

import { createLogThrottle } from "../foundation/throttled-log.ts";
import { openAuditFile } from "./audit-file.ts";
import type { OnFailure, OutputEvent } from "./line-output.ts";
import { createLogger, type Logger, type LogSink } from "./log.ts";
import { openStandardOutput } from "./standard-output.ts";

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
