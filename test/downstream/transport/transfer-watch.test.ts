/** What telemetry hears of a request to an API, and what the API hears of the trace. */

import { describe, expect, test } from "@jest/globals";
import type { TransferRecord } from "../../../src/downstream/contract.ts";
import { watchTransfer } from "../../../src/downstream/transport/transfer.ts";
import { GatewayError } from "../../../src/errors.ts";
import { apiAt } from "../api-options.ts";

const API = apiAt(8080);
const ORIGIN = "http://127.0.0.1:8080";
const TRACED = ["traceparent", "ours", "tracestate", "also=ours"];

function watched(lines: readonly string[], origin = ORIGIN, fields: readonly string[] = TRACED) {
  const told: unknown[] = [];
  const record: TransferRecord = {
    transfers: {
      sent: (api) => told.push(["sent", api]),
      left: (api) => told.push(["left", api]),
      repeated: (api) => told.push(["repeated", api]),
      answered: (api, status, _afterMs, method, { path }) =>
        told.push(["answered", api, status, `${method} ${path}`]),
      failed: (api, code) => told.push(["failed", api, code]),
    },
    trace: {
      forwarding: () => ({
        fields,
        answered: (status) => told.push(["span", status]),
        failed: (code) => told.push(["span", code]),
      }),
    },
    downstreamMs: undefined,
    downstreamRequestId: undefined,
    throttleMs: undefined,
  };
  const watch = watchTransfer({
    target: { api: API, origin, path: "/me" },
    method: "GET",
    headers: lines,
    record,
  });
  if (watch === undefined) throw new Error("not watched");
  return { watch, record, told };
}

describe("the header lines of a traced request", () => {
  test("name our span, and nothing of the caller's", () => {
    const { watch } = watched([
      "accept",
      "*/*",
      "traceparent",
      "theirs",
      "tracestate",
      "a=1",
      "tracestate",
      "b=2",
      "via",
      "x",
    ]);
    expect(watch.headers).toEqual(["accept", "*/*", "via", "x", ...TRACED]);
  });

  test("do not take a value for a name", () => {
    expect(watched(["x-first", "traceparent", "x-second", "2"]).watch.headers).toEqual([
      ...["x-first", "traceparent", "x-second", "2"],
      ...TRACED,
    ]);
  });

  test("stay as they are where nothing is propagated, or a redirect led away from the API", () => {
    const lines = ["traceparent", "theirs"];
    expect(watched(lines, ORIGIN, []).watch.headers).toEqual(lines);
    expect(watched(lines, "https://elsewhere.example").watch.headers).toEqual(lines);
  });
});

describe("a request to an API", () => {
  test("leaves the line once, though a lost connection makes it connect twice", () => {
    const { watch, told, record } = watched([]);
    watch.connected();
    watch.repeated();
    watch.connected();
    watch.answered(200, { "request-id": "7a1e" });
    expect(told).toEqual([
      ["sent", "graph"],
      ["left", "graph"],
      ["repeated", "graph"],
      ["answered", "graph", 200, "GET /me"],
      ["span", 200],
    ]);
    expect(record.downstreamRequestId).toBe("7a1e");
    expect(record.downstreamMs).toBeGreaterThanOrEqual(0);
  });

  test("leaves the line when it fails there, and says why", () => {
    const { watch, told } = watched([]);
    watch.failed(new GatewayError("downstream_unreachable", { detail: "…" }));
    expect(told).toEqual([
      ["sent", "graph"],
      ["left", "graph"],
      ["failed", "graph", "downstream_unreachable"],
      ["span", "downstream_unreachable"],
    ]);
  });

  test("is not watched without a record", () => {
    const request = { target: { api: API, origin: ORIGIN, path: "/me" }, method: "GET", headers: [] };
    expect(watchTransfer(request)).toBeUndefined();
  });
});
