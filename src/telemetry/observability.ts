/** Log, audit stream, metrics and traces of one gateway, opened together. */

import type { Keep } from "../foundation/closing.ts";
import { createAudit } from "./audit.ts";
import type { ExporterAgent, LogSink, TracingOptions } from "./contract.ts";
import {
  createRequestLog,
  type Outputs,
  type OutputsOptions,
  openOutputs,
  type RequestLogOptions,
} from "./log.ts";
import { createMetrics, type Metrics } from "./metrics.ts";
import { createSignals, type Signals } from "./signals.ts";
import { openTracing } from "./tracing.ts";

export interface ObservabilityOptions {
  readonly log: Omit<OutputsOptions, "sink" | "onLost"> & RequestLogOptions;
  /** Takes the lines in place of standard output. */
  readonly sink: LogSink | undefined;
  /** Without them no trace is made. */
  readonly tracing: TracingOptions | undefined;
  readonly agentFor: ExporterAgent;
  readonly keep: Keep;
}

export interface Observability extends Pick<Outputs, "log"> {
  readonly outputs: Outputs;
  readonly metrics: Metrics;
  /** The rooms call back with events; signals turn them into lines, counts and spans. */
  readonly signals: Signals;
}

/** @throws {ConfigurationError} when the file of the audit stream cannot be written. */
export async function openObservability(options: ObservabilityOptions): Promise<Observability> {
  const { sink, keep, agentFor } = options;
  const metrics = createMetrics();
  const outputs = keep(openOutputs({ ...options.log, sink, onLost: metrics.linesLost }));
  const { log } = outputs;
  const audit = createAudit(outputs.auditLog);
  const tracing = options.tracing && keep(await openTracing(options.tracing, log, agentFor));
  const logRequest = createRequestLog(log, outputs.logSink, options.log);
  return { log, outputs, metrics, signals: createSignals(log, logRequest, audit, metrics, tracing) };
}
