/** A downstream API on the loopback interface, with limits that no test meets by accident. */

import type { DownstreamApiOptions } from "../../src/downstream/contract.ts";
export function apiAt(port: number, overrides: Partial<DownstreamApiOptions> = {}): DownstreamApiOptions {
  return {
    name: "graph",
    baseUrl: `http://127.0.0.1:${port}/v1.0`,
    scopes: [],
    timeoutMs: 10_000,
    idleTimeoutMs: 10_000,
    maxRequestBytes: 1024 * 1024 * 1024,
    allowPrivateNetwork: true,
    streamIdleTimeoutMs: 10_000,
    minUploadBytesPerSecond: 1,
    followRedirects: false,
    encodedSlashes: "refuse",
    maxConcurrent: 1024,
    maxWaiting: 1024,
    maxThrottleWaitMs: 0,
    breaker: { failures: 5, openMs: 5000 },
    connections: { max: 1024, keepAliveMs: 30_000, maxRequests: 0, maxAgeMs: 300_000 },
    ...overrides,
  };
}

/** What a handler's client takes into memory, where a test needs no other bound. */
export const HELD_BYTES = 4 * 2 ** 20;

/** Bounds of connections, where a test needs no others. */
export const LIMITS = {
  connectTimeoutMs: 5_000,
  maxHeaderBytes: 65_536,
  fairness: { userShare: 1, clientShare: 1 },
};
