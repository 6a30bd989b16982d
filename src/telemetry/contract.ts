/** Types of this room that its files and other rooms share. */

import type { Agent as HttpAgent, IncomingHttpHeaders } from "node:http";
import type { AgentOptions } from "node:https";
import type { DestinationStream, Logger } from "pino";
import type { ConfigurationFault } from "../errors.ts";
import type { Secret } from "../foundation/secret.ts";
import type { TraceEnd } from "../http/contract.ts";

export type { Logger };

/** What became of a configuration that was read while the process ran. `generation` counts those that served. */
export type ConfigurationEvent =
  | {
      readonly outcome: "taken_over";
      readonly generation: number;
      /** Parts that changed, as gateway.yaml names them. */
      readonly changed: readonly string[];
      /** Settings that changed, and that only a start reads. */
      readonly needRestart: readonly string[];
    }
  | { readonly outcome: "unchanged"; readonly generation: number; readonly needRestart: readonly string[] }
  | {
      readonly outcome: "refused";
      readonly generation: number;
      readonly faults: readonly ConfigurationFault[];
    };

/** Receives whole lines of JSON; `flush` calls back when those so far are on their way. */
export interface LogSink extends DestinationStream {
  flush?(done?: (error?: Error) => void): void;
}

/** What the `OTEL_` variables say. Times in ms. */
export interface TracingOptions {
  readonly exporters: readonly ("otlp" | "console")[];
  readonly otlp: {
    /** Where spans are posted to, path included. */
    readonly url: string;
    readonly protocol: "http/protobuf" | "http/json";
    readonly headers: Readonly<Record<string, Secret>>;
    readonly timeoutMs: number;
    readonly compression: "none" | "gzip";
    /** Files in PEM. */
    readonly ca: string | undefined;
    readonly clientCertificate: string | undefined;
    readonly clientKey: string | undefined;
  };
  readonly serviceName: string;
  readonly resourceAttributes: Readonly<Record<string, string>>;
  readonly sampler: {
    /** What decides where the caller has not: a share of traces from 0 to 1. */
    readonly ratio: number;
    /** Whether a caller's decision is followed. */
    readonly parentBased: boolean;
  };
  readonly batch: {
    readonly delayMs: number;
    readonly exportTimeoutMs: number;
    readonly maxQueueSize: number;
    readonly maxBatchSize: number;
  };
  /** Whether `traceparent` is taken from callers and sent to APIs. */
  readonly propagates: boolean;
}

/** The agent for requests to a collector, or undefined where it is connected to directly. */
export type ExporterAgent = (collector: URL, options: AgentOptions) => HttpAgent | undefined;

export interface TracedRequest {
  readonly method?: string | undefined;
  readonly httpVersion: string;
  readonly headers: IncomingHttpHeaders;
}

export interface OpenSpan {
  granted(origin?: string): void;
  refused(error: unknown): void;
  /** A token request to the authority, as part of this span. */
  tokenRequest(endpoint: string): {
    ended(outcome: { readonly status?: number | undefined; readonly code?: string | undefined }): void;
  };
}

export interface OpenTrace {
  /** 32 hex digits. */
  readonly traceId: string;
  room(name: string): OpenSpan;
  /** A request to an API; `fields` are to be sent with it. */
  forwarding(request: { readonly api: string; readonly method: string; readonly origin: string }): {
    readonly fields: readonly string[];
    answered(status: number): void;
    failed(code: string): void;
  };
  ended(end: TraceEnd): void;
}

export interface Tracing {
  request(incoming: TracedRequest): OpenTrace;
  /** Sends what is left, within `FLUSH_LIMIT_MS`. Never rejects. */
  close(): Promise<void>;
}
