/** Spans on their way out: sampled, gathered, sent. Together with `spans.ts` the only file that knows OpenTelemetry. */

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { type ExportResult, ExportResultCode, W3CTraceContextPropagator } from "@opentelemetry/core";
import { OTLPTraceExporter as JsonExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { OTLPTraceExporter as ProtobufExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { defaultResource, resourceFromAttributes } from "@opentelemetry/resources";
import {
  BasicTracerProvider,
  BatchSpanProcessor,
  ConsoleSpanExporter,
  ParentBasedSampler,
  type ReadableSpan,
  type Sampler,
  type SpanExporter,
  TraceIdRatioBasedSampler,
} from "@opentelemetry/sdk-trace-base";
import { ConfigurationError } from "../errors.ts";
import type { Logger } from "./log.ts";
import { createRequestTraces } from "./spans.ts";
import type { ExporterAgent, Tracing, TracingOptions } from "./tracing.ts";

/** How long the last spans may take, ms, before the gateway ends without them. */
const FLUSH_LIMIT_MS = 5_000;

const FAILURE_LOG_INTERVAL_MS = 60_000;

/**
 * Everything is handed over, so that nothing depends on whether a variable stood in the environment or in `.env`.
 * No global of OpenTelemetry's is touched: a program that embeds the gateway may have set its own.
 *
 * @throws {ConfigurationError}
 */
export function startTracing(
  options: TracingOptions,
  log: Logger,
  agentFor: ExporterAgent = () => undefined,
): Tracing {
  const { batch, resourceAttributes, serviceName, propagates } = options;
  const provider = new BasicTracerProvider({
    resource: defaultResource().merge(
      resourceFromAttributes({ ...resourceAttributes, "service.name": serviceName }),
    ),
    sampler: samplerOf(options.sampler),
    spanProcessors: options.exporters.map(
      (name) =>
        new BatchSpanProcessor(
          reporting(name === "console" ? new ConsoleSpanExporter() : otlpExporter(options, agentFor), log),
          {
            scheduledDelayMillis: batch.delayMs,
            exportTimeoutMillis: batch.exportTimeoutMs,
            maxQueueSize: batch.maxQueueSize,
            maxExportBatchSize: batch.maxBatchSize,
          },
        ),
    ),
  });
  const propagator = propagates ? new W3CTraceContextPropagator() : undefined;
  return {
    request: createRequestTraces(provider.getTracer("obo-gateway"), propagator),
    async close() {
      const limit = new AbortController();
      const flushed = provider.shutdown().then(
        () => "sent",
        // The exporter has reported it already.
        () => "failed",
      );
      const late = sleep(FLUSH_LIMIT_MS, "late", { signal: limit.signal }).catch(() => "late");
      if ((await Promise.race([flushed, late])) === "late")
        log.warn("the last spans were not taken in time; going without them");
      limit.abort();
    },
  };
}

function samplerOf({ ratio, parentBased }: TracingOptions["sampler"]): Sampler {
  const root = new TraceIdRatioBasedSampler(ratio);
  return parentBased ? new ParentBasedSampler({ root }) : root;
}

function otlpExporter({ otlp, batch }: TracingOptions, agentFor: ExporterAgent): SpanExporter {
  const { url, timeoutMs: timeoutMillis, compression, headers } = otlp;
  const agent = {
    keepAlive: true,
    ...pem("ca", "OTEL_EXPORTER_OTLP_CERTIFICATE", otlp.ca),
    ...pem("cert", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", otlp.clientCertificate),
    ...pem("key", "OTEL_EXPORTER_OTLP_CLIENT_KEY", otlp.clientKey),
  };
  const proxied = agentFor(new URL(url), agent);
  const settings = {
    url,
    timeoutMillis,
    compression: compression as never,
    headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, value.reveal()])),
    httpAgentOptions: proxied === undefined ? agent : () => proxied,
    // At the end the whole queue goes out at once; what is past this limit would be dropped.
    concurrencyLimit: Math.max(30, Math.ceil(batch.maxQueueSize / batch.maxBatchSize) + 1),
  };
  return otlp.protocol === "http/json" ? new JsonExporter(settings) : new ProtobufExporter(settings);
}

function pem(option: "ca" | "cert" | "key", variable: string, file: string | undefined) {
  if (file === undefined) return {};
  try {
    return { [option]: readFileSync(file) };
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new ConfigurationError([{ path: variable, problem: `cannot read ${file} (${code})` }], { cause });
  }
}

/** Tells of an exporter's failures, once in a while: they come every few seconds when a collector is down. */
function reporting(exporter: SpanExporter, log: Logger): SpanExporter {
  let lost = 0;
  let quietUntil = 0;
  return {
    export(spans: ReadableSpan[], done: (result: ExportResult) => void) {
      exporter.export(spans, (result) => {
        if (result.code !== ExportResultCode.SUCCESS) {
          lost += spans.length;
          if (performance.now() >= quietUntil) {
            quietUntil = performance.now() + FAILURE_LOG_INTERVAL_MS;
            log.warn({ lost, err: result.error }, "spans could not be sent");
            lost = 0;
          }
        }
        done(result);
      });
    },
    shutdown: () => exporter.shutdown(),
    forceFlush: async () => exporter.forceFlush?.(),
  };
}
