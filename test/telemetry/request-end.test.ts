/** The code under which the end of a request is logged, counted and traced. */

import { expect, test } from "@jest/globals";
import type { RequestRecord } from "../../src/http/contract.ts";
import { createMetrics } from "../../src/telemetry/metrics.ts";
import { createSignals } from "../../src/telemetry/signals.ts";

function signals() {
  const codes: string[] = [];
  const metrics = createMetrics();
  const unused = new Proxy({}, { get: () => () => {} }) as never;
  const made = createSignals(unused, (_record, { code }) => codes.push(code), unused, metrics, undefined);
  return { made, codes, metrics };
}

const record = (cut: string | undefined, refusal?: RequestRecord["refusal"]) =>
  ({ startedAt: 0, route: "/graph", cut, refusal }) as RequestRecord;

test.each([
  ["idle", "downstream_timeout"],
  ["downstream_failed", "downstream_unreachable"],
  ["caller_gone", "abandoned"],
  ["caller_stalled", "abandoned"],
  [undefined, "abandoned"],
])("an answer that was cut as %s is logged as %s", (cut, code) => {
  const { made, codes } = signals();
  made.requests.ended(record(cut), { method: "GET", status: 200, completed: false });
  expect(codes).toEqual([code]);
});

test("an answer that was given whole is granted, and a refusal keeps its code", () => {
  const { made, codes } = signals();
  made.requests.ended(record(undefined), { method: "GET", status: 200, completed: true });
  const refusal = { code: "rate_limited", reason: undefined, diagnostics: undefined };
  made.requests.ended(record(undefined, refusal), { method: "GET", status: 429, completed: true });
  expect(codes).toEqual(["granted", "rate_limited"]);
});

test("statuses that an API invents share one label, so that their number has a bound", async () => {
  const { made, metrics } = signals();
  for (let status = 100; status < 1000; status++)
    made.requests.ended(record(undefined), { method: "GET", status, completed: true });
  const exposition = await metrics.exposition();
  const labels = [...exposition.matchAll(/obo_gateway_requests_total\{[^}]*status="([^"]+)"/g)].map(
    ([, status]) => status,
  );
  expect(labels).toContain("404");
  expect(labels).toContain("other");
  expect(labels).not.toContain("889");
  expect(labels.length).toBeLessThan(80);
});
