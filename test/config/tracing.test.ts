/** Which variables switch traces on, and which values stop the gateway instead of losing traces. */

import { describe, expect, test } from "@jest/globals";
import { readTracing } from "../../src/config/tracing.ts";
import type { ConfigurationFault } from "../../src/errors.ts";

function read(env: Readonly<Record<string, string>>) {
  const faults: ConfigurationFault[] = [];
  const options = readTracing(env, faults);
  return { options, faults: faults.map(({ path, problem }) => `${path}: ${problem}`) };
}

describe("traces", () => {
  test.each<[string, Record<string, string>, boolean]>([
    ["nothing is set", {}, false],
    [
      "variables say how, but none says where",
      { OTEL_SERVICE_NAME: "x", OTEL_TRACES_SAMPLER: "always_on" },
      false,
    ],
    ["a collector is named", { OTEL_EXPORTER_OTLP_ENDPOINT: "http://collector:4318" }, true],
    [
      "a collector for traces is named",
      { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://collector:4318/" },
      true,
    ],
    ["an endpoint is set to nothing", { OTEL_EXPORTER_OTLP_ENDPOINT: "" }, false],
    ["an exporter is named", { OTEL_TRACES_EXPORTER: "console" }, true],
    [
      "the exporter is none",
      { OTEL_TRACES_EXPORTER: "none", OTEL_EXPORTER_OTLP_ENDPOINT: "http://c:4318" },
      false,
    ],
    ["the SDK is disabled", { OTEL_SDK_DISABLED: "TRUE", OTEL_TRACES_EXPORTER: "otlp" }, false],
  ])("where %s: %p makes them %p", (_, env, on) => {
    const { options, faults } = read(env);
    expect(options !== undefined).toBe(on);
    expect(faults).toEqual([]);
  });

  test("have OpenTelemetry's defaults", () => {
    expect(read({ OTEL_TRACES_EXPORTER: "otlp" }).options).toEqual({
      exporters: ["otlp"],
      otlp: {
        url: "http://localhost:4318/v1/traces",
        protocol: "http/protobuf",
        headers: {},
        timeoutMs: 10_000,
        compression: "none",
        ca: undefined,
        clientCertificate: undefined,
        clientKey: undefined,
      },
      serviceName: "obo-gateway",
      resourceAttributes: {},
      sampler: { parentBased: true, ratio: 1 },
      batch: { delayMs: 5_000, exportTimeoutMs: 30_000, maxQueueSize: 2_048, maxBatchSize: 512 },
      propagates: true,
    });
  });

  test("take what is set for traces before what is set for all signals", () => {
    const { options } = read({
      OTEL_EXPORTER_OTLP_ENDPOINT: "http://general:4318/",
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: "http/protobuf",
      OTEL_EXPORTER_OTLP_HEADERS: "a=1,b=2",
      OTEL_EXPORTER_OTLP_TRACES_HEADERS: "b=3",
      OTEL_EXPORTER_OTLP_TIMEOUT: "1000",
      OTEL_EXPORTER_OTLP_TRACES_TIMEOUT: "2000",
      OTEL_EXPORTER_OTLP_CERTIFICATE: "/ca.pem",
      OTEL_RESOURCE_ATTRIBUTES: "service.name=from-attributes",
      OTEL_TRACES_SAMPLER: "traceidratio",
      OTEL_TRACES_SAMPLER_ARG: "0.25",
      OTEL_PROPAGATORS: "baggage",
      OTEL_BSP_MAX_QUEUE_SIZE: "100",
    });
    expect(options).toMatchObject({
      otlp: {
        url: "http://general:4318/v1/traces",
        protocol: "http/protobuf",
        timeoutMs: 2_000,
        ca: "/ca.pem",
      },
      serviceName: "from-attributes",
      sampler: { parentBased: false, ratio: 0.25 },
      propagates: false,
      batch: { maxQueueSize: 100, maxBatchSize: 100 },
    });
    const headers = Object.entries(options?.otlp.headers ?? {}).map(([name, value]) => [
      name,
      value.reveal(),
    ]);
    expect(headers).toEqual([
      ["a", "1"],
      ["b", "3"],
    ]);
  });

  test.each<[string, Record<string, string>, string]>([
    [
      "an exporter that is not there",
      { OTEL_TRACES_EXPORTER: "zipkin" },
      "OTEL_TRACES_EXPORTER: must be of otlp, console, none, separated by commas",
    ],
    [
      "gRPC",
      { OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" },
      "OTEL_EXPORTER_OTLP_PROTOCOL: must be one of http/protobuf, http/json; collectors take OTLP over HTTP on port 4318",
    ],
    [
      "an endpoint that is no URL",
      { OTEL_EXPORTER_OTLP_ENDPOINT: "collector:4318" },
      "OTEL_EXPORTER_OTLP_ENDPOINT: must be an http or https URL, such as http://localhost:4318",
    ],
    [
      "a sampler that nobody knows",
      { OTEL_TRACES_SAMPLER: "jaeger_remote" },
      "OTEL_TRACES_SAMPLER: must be one of always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off, parentbased_traceidratio",
    ],
    [
      "a share beyond all",
      { OTEL_TRACES_SAMPLER: "traceidratio", OTEL_TRACES_SAMPLER_ARG: "10" },
      "OTEL_TRACES_SAMPLER_ARG: must be a number from 0 to 1",
    ],
    [
      "a delay that is no number",
      { OTEL_BSP_SCHEDULE_DELAY: "5s" },
      "OTEL_BSP_SCHEDULE_DELAY: must be a number from 0",
    ],
    [
      "a propagator that is not there",
      { OTEL_PROPAGATORS: "tracecontext,b3" },
      "OTEL_PROPAGATORS: must be of tracecontext, baggage, none, separated by commas",
    ],
    [
      "attributes that are no pairs",
      { OTEL_RESOURCE_ATTRIBUTES: "production" },
      "OTEL_RESOURCE_ATTRIBUTES: must be name=value pairs separated by commas, percent-encoded",
    ],
    [
      "headers that are no pairs, without a word of them",
      { OTEL_EXPORTER_OTLP_HEADERS: "x-api-key:hush" },
      "OTEL_EXPORTER_OTLP_HEADERS: must be name=value pairs separated by commas, percent-encoded",
    ],
  ])("stop the gateway at %s", (_, env, fault) => {
    expect(read({ OTEL_TRACES_EXPORTER: "otlp", ...env }).faults).toEqual([fault]);
  });

  test("that are off excuse every other value", () => {
    expect(read({ OTEL_SDK_DISABLED: "true", OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" }).faults).toEqual([]);
  });
});
