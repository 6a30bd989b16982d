/** The standard `OTEL_` variables for traces: what switches them on, and every value that could not be honoured. */

import type { ConfigurationFault } from "../errors.ts";
import { Secret } from "../foundation/secret.ts";

type Environment = Readonly<Record<string, string | undefined>>;

const EXPORTERS = ["otlp", "console", "none"] as const;
const PROTOCOLS = ["http/protobuf", "http/json"] as const;
const SAMPLERS = [
  "always_on",
  "always_off",
  "traceidratio",
  "parentbased_always_on",
  "parentbased_always_off",
  "parentbased_traceidratio",
] as const;
/** Baggage is accepted because it stands in the default; the gateway passes it to no API. */
const PROPAGATORS = ["tracecontext", "baggage", "none"] as const;

/** Every variable that is read here, so that one that differs by a letter can be pointed out. */
export const TRACING_VARIABLES: readonly string[] = [
  "OTEL_SDK_DISABLED",
  "OTEL_SERVICE_NAME",
  "OTEL_RESOURCE_ATTRIBUTES",
  "OTEL_PROPAGATORS",
  "OTEL_TRACES_EXPORTER",
  "OTEL_TRACES_SAMPLER",
  "OTEL_TRACES_SAMPLER_ARG",
  "OTEL_BSP_SCHEDULE_DELAY",
  "OTEL_BSP_EXPORT_TIMEOUT",
  "OTEL_BSP_MAX_QUEUE_SIZE",
  "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
  ...[
    "ENDPOINT",
    "PROTOCOL",
    "HEADERS",
    "TIMEOUT",
    "COMPRESSION",
    "CERTIFICATE",
    "CLIENT_CERTIFICATE",
    "CLIENT_KEY",
  ].flatMap((name) => [`OTEL_EXPORTER_OTLP_${name}`, `OTEL_EXPORTER_OTLP_TRACES_${name}`]),
];

/**
 * Off unless an exporter or an endpoint is named. A value that OpenTelemetry itself would drop, with a word on a channel
 * that is not read, is a fault here: traces that silently go nowhere are found missing when they are needed.
 */
export function readTracing(env: Environment, faults: ConfigurationFault[]) {
  const read = reader(env, faults);
  if (read.text("OTEL_SDK_DISABLED")?.toLowerCase() === "true") return undefined;
  const exporters = read.list("OTEL_TRACES_EXPORTER", EXPORTERS);
  const endpoint =
    read.text("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") ?? read.text("OTEL_EXPORTER_OTLP_ENDPOINT");
  if (exporters?.includes("none")) return undefined;
  if (exporters === undefined && endpoint === undefined) return undefined;

  const sampler = read.oneOf(["OTEL_TRACES_SAMPLER"], SAMPLERS) ?? "parentbased_always_on";
  const ratio = sampler.endsWith("ratio") ? read.number(["OTEL_TRACES_SAMPLER_ARG"], 0, 1) : undefined;
  const resourceAttributes = read.pairs("OTEL_RESOURCE_ATTRIBUTES", (value) => value);
  const batch = {
    delayMs: read.number(["OTEL_BSP_SCHEDULE_DELAY"], 0) ?? 5_000,
    exportTimeoutMs: read.number(["OTEL_BSP_EXPORT_TIMEOUT"], 1) ?? 30_000,
    maxQueueSize: read.number(["OTEL_BSP_MAX_QUEUE_SIZE"], 1) ?? 2_048,
    maxBatchSize: read.number(["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"], 1) ?? 512,
  };
  return {
    exporters: (exporters ?? ["otlp"]).filter((name) => name !== "none"),
    otlp: {
      url: endpointOf(env, faults),
      protocol:
        read.oneOf(["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"], PROTOCOLS) ??
        ("http/protobuf" as const),
      headers: {
        ...read.pairs("OTEL_EXPORTER_OTLP_HEADERS", (value) => new Secret(value)),
        ...read.pairs("OTEL_EXPORTER_OTLP_TRACES_HEADERS", (value) => new Secret(value)),
      },
      timeoutMs:
        read.number(["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"], 1) ?? 10_000,
      compression:
        read.oneOf(["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"], [
          "none",
          "gzip",
        ] as const) ?? ("none" as const),
      ca: read.signal("CERTIFICATE"),
      clientCertificate: read.signal("CLIENT_CERTIFICATE"),
      clientKey: read.signal("CLIENT_KEY"),
    },
    serviceName: read.text("OTEL_SERVICE_NAME") ?? resourceAttributes["service.name"] ?? "obo-gateway",
    resourceAttributes,
    sampler: {
      parentBased: sampler.startsWith("parentbased"),
      ratio: ratio ?? (sampler.endsWith("always_off") ? 0 : 1),
    },
    // OpenTelemetry's rule: a batch cannot be larger than the queue.
    batch: { ...batch, maxBatchSize: Math.min(batch.maxBatchSize, batch.maxQueueSize) },
    propagates: read.list("OTEL_PROPAGATORS", PROPAGATORS)?.includes("tracecontext") ?? true,
  };
}

/** OpenTelemetry Protocol Exporter: the general endpoint is a base to which the signal's path is added. */
function endpointOf(env: Environment, faults: ConfigurationFault[]): string {
  const read = reader(env, faults);
  const own = read.text("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
  const name = own === undefined ? "OTEL_EXPORTER_OTLP_ENDPOINT" : "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
  const base = read.text(name) ?? "http://localhost:4318";
  if (!URL.canParse(base) || !/^https?:$/.test(new URL(base).protocol)) {
    faults.push({ path: name, problem: "must be an http or https URL, such as http://localhost:4318" });
    return base;
  }
  return own === undefined ? `${base.replace(/\/$/, "")}/v1/traces` : new URL(base).href;
}

function reader(env: Environment, faults: ConfigurationFault[]) {
  /** A variable that is set to nothing is unset, by OpenTelemetry's rule. */
  const text = (name: string) => env[name]?.trim() || undefined;
  const firstOf = (names: readonly string[]) => names.find((name) => text(name) !== undefined);
  const must = (path: string, what: string) => void faults.push({ path, problem: `must be ${what}` });

  return {
    text,
    /** A value for traces alone, or else for all signals. */
    signal: (name: string) => text(`OTEL_EXPORTER_OTLP_TRACES_${name}`) ?? text(`OTEL_EXPORTER_OTLP_${name}`),

    oneOf<const T extends string>(names: readonly string[], allowed: readonly T[]): T | undefined {
      const name = firstOf(names);
      if (name === undefined) return undefined;
      const found = allowed.find((one) => one === text(name));
      if (found === undefined) must(name, `one of ${allowed.join(", ")}${hint(text(name))}`);
      return found;
    },

    list<const T extends string>(name: string, allowed: readonly T[]): T[] | undefined {
      const items = text(name)?.split(",");
      const found = items?.flatMap((item) => allowed.filter((one) => one === item.trim()));
      if (found?.length !== items?.length) must(name, `of ${allowed.join(", ")}, separated by commas`);
      return found;
    },

    number(names: readonly string[], least: number, most = Number.MAX_SAFE_INTEGER): number | undefined {
      const name = firstOf(names);
      if (name === undefined) return undefined;
      const value = Number(text(name));
      if (value >= least && value <= most) return value;
      must(
        name,
        most === Number.MAX_SAFE_INTEGER ? `a number from ${least}` : `a number from ${least} to ${most}`,
      );
      return undefined;
    },

    /** `name=value` pairs, percent-encoded. */
    pairs<T>(name: string, wrap: (value: string) => T): Record<string, T> {
      const items = (text(name) ?? "").split(",").filter((item) => item.trim() !== "");
      try {
        return Object.fromEntries(
          items.map((item) => {
            const [, key, value] = /^\s*([^=\s]+)\s*=\s*(.*?)\s*$/.exec(item) ?? [];
            if (key === undefined || value === undefined) throw new URIError("no pair");
            return [decodeURIComponent(key), wrap(decodeURIComponent(value))];
          }),
        );
      } catch {
        // Not a word of the value: these are where keys of tracing services stand.
        must(name, "name=value pairs separated by commas, percent-encoded");
        return {};
      }
    },
  };
}

function hint(value: string | undefined): string {
  return value === "grpc" ? "; collectors take OTLP over HTTP on port 4318" : "";
}
