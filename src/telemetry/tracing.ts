/** Traces, where the environment asks for them: OpenTelemetry's packages are loaded then, and not otherwise. */

import type { ExporterAgent, Logger, Tracing, TracingOptions } from "./contract.ts";

/** @throws {ConfigurationError} when a file that the variables name cannot be read. */
export async function openTracing(
  options: TracingOptions,
  log: Logger,
  agentFor?: ExporterAgent,
): Promise<Tracing> {
  const { startTracing } = await import("./opentelemetry.ts");
  return startTracing(options, log, agentFor);
}
