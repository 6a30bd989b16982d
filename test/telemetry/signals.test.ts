/** Events of the rooms as log lines: what an operator has to know, and not oftener than it helps. */

import { expect, jest, test } from "@jest/globals";
import { GatewayError } from "../../src/errors.ts";
import { createAudit } from "../../src/telemetry/audit.ts";
import { createLogger } from "../../src/telemetry/log.ts";
import { createMetrics } from "../../src/telemetry/metrics.ts";
import { createSignals } from "../../src/telemetry/signals.ts";

function open() {
  const lines: Record<string, unknown>[] = [];
  const log = createLogger("info", { write: (line: string) => void lines.push(JSON.parse(line)) });
  const metrics = createMetrics();
  const signals = createSignals(log, () => {}, createAudit(log), metrics, undefined);
  return { lines, metrics, signals };
}

test.each([
  [90_000, "90 s ahead of"],
  [-90_000, "90 s behind"],
  [-10_000, "10 s behind"],
])("a clock that is off by %d ms is a warning that says so", (driftMs, words) => {
  const { lines, signals } = open();
  signals.exchange({ type: "clock_drift", driftMs });
  expect(lines).toEqual([
    expect.objectContaining({ level: "warn", driftMs, msg: expect.stringContaining(words) }),
  ]);
});

test("a clock that is off by less than ten seconds is nothing to warn of", () => {
  const { lines, signals } = open();
  for (const driftMs of [0, 9_999, -9_999]) signals.exchange({ type: "clock_drift", driftMs });
  expect(lines).toEqual([]);
});

test.each([
  ["status", { document: "metadata", status: 400 }, /error status.*AZURE_TENANT_ID/],
  ["timeout", { document: "keys" }, /did not answer in time/],
  ["network", { document: "metadata" }, /cannot be connected to/],
] as const)("keys that cannot be fetched are logged with their cause: %s", (reason, diagnostics, cause) => {
  const { lines, signals } = open();
  const error = new GatewayError("key_set_unavailable", { detail: "No keys.", reason, diagnostics });
  signals.identity({ type: "key_set_failed", keySet: "common", error });
  expect(lines).toEqual([
    expect.objectContaining({
      level: "warn",
      keySet: "common",
      reason,
      ...diagnostics,
      msg: expect.stringMatching(cause),
    }),
  ]);
});

test("one cause is logged once in half a minute, and another cause does not wait for it", () => {
  jest.useFakeTimers();
  try {
    const { lines, signals } = open();
    const fail = (reason: string) =>
      signals.identity({
        type: "key_set_failed",
        keySet: "common",
        error: new GatewayError("key_set_unavailable", { detail: "", reason }),
      });
    fail("timeout");
    fail("timeout");
    fail("status");
    expect(lines.map(({ reason }) => reason)).toEqual(["timeout", "status"]);
    jest.advanceTimersByTime(30_000);
    fail("timeout");
    expect(lines).toHaveLength(3);
  } finally {
    jest.useRealTimers();
  }
});

test("a Redis whose memory is full is a warning, and every failure is counted by its reason", async () => {
  const { lines, metrics, signals } = open();
  for (const reason of ["OOM", "OOM", "timeout"]) signals.exchange({ type: "shared_failed", reason });
  expect(lines).toEqual([expect.objectContaining({ level: "warn", reason: "OOM" })]);
  const text = await metrics.exposition();
  expect(text).toContain('obo_gateway_shared_cache_failures_total{reason="OOM"} 2');
  expect(text).toContain('obo_gateway_shared_cache_failures_total{reason="timeout"} 1');
});

test.each([
  [
    "WRONGPASS",
    "5e5e5e5e-0000",
    /does not accept who the gateway is \(WRONGPASS\); assign an access policy.*5e5e5e5e-0000/,
  ],
  [
    "NOPERM",
    "5e5e5e5e-0000",
    /does not let the gateway do what it needs \(NOPERM\); assign an access policy.*5e5e5e5e/,
  ],
  ["WRONGPASS", undefined, /compare user name and password of exchange\.cache\.redis\.url/],
  ["NOPERM", undefined, /allow its user GETRANGE, SET, EXISTS, DEL and EVAL/],
])("a Redis that refuses the gateway (%s) is a warning with its remedy", (reason, objectId, words) => {
  const { lines, signals } = open();
  for (let each = 0; each < 3; each += 1) signals.exchange({ type: "shared_refused", reason, objectId });
  expect(lines).toEqual([
    expect.objectContaining({
      level: "warn",
      reason,
      ...(objectId !== undefined && { objectId }),
      msg: expect.stringMatching(words),
    }),
  ]);
  signals.exchange({ type: "shared_accepted" });
  expect(lines.at(-1)).toMatchObject({
    level: "info",
    msg: expect.stringContaining("accepts the gateway again"),
  });
});

test.each([
  [undefined, /\(authority_unavailable: status\); going on without Redis$/],
  [Date.UTC(2026, 10, 27, 12), /; the one before serves until 2026-11-27T12:00:00\.000Z$/],
])("no token for Redis is a warning that says what serves meanwhile (%s)", (expiresAt, words) => {
  const { lines, signals } = open();
  const problem = "authority_unavailable: status";
  for (let each = 0; each < 3; each += 1)
    signals.exchange({ type: "shared_token_failed", problem, expiresAt });
  expect(lines).toEqual([
    expect.objectContaining({ level: "warn", problem, msg: expect.stringMatching(words) }),
  ]);
});

test("master keys that are taken up, or kept since the new ones are none, are said and counted", async () => {
  const { lines, metrics, signals } = open();
  signals.exchange({ type: "shared_keys_taken", keys: 2 });
  signals.exchange({ type: "shared_keys_kept", problem: "TOKEN_CACHE_KEYS_FILE: /keys is empty" });
  expect(lines).toEqual([
    expect.objectContaining({ level: "info", keys: 2 }),
    expect.objectContaining({ level: "warn", msg: expect.stringContaining("/keys is empty") }),
  ]);
  expect(await metrics.exposition()).toContain(
    'obo_gateway_exchange_events_total{event="shared_keys_kept"} 1',
  );
});
