/** Our own counters and histograms say what prom-client's would. */

import { expect, test } from "@jest/globals";
import { Counter, Histogram, Registry } from "prom-client";
import { createInstruments } from "../../src/telemetry/metrics.ts";

const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

test("an exposition is the one that prom-client would give, label for label", async () => {
  const theirs = new Registry();
  const registers = [theirs];
  const counts = new Counter({
    name: "things_total",
    help: "Things",
    labelNames: ["kind", "size"],
    registers,
  });
  const times = new Histogram({
    name: "times_seconds",
    help: "Times",
    labelNames: ["kind"],
    buckets: BUCKETS,
    registers,
  });
  const ours = createInstruments();
  const count = ours.counter("things_total", "Things", ["kind", "size"]);
  const time = ours.histogram("times_seconds", "Times", ["kind"]);

  for (const [kind, size] of [
    ["plain", 200],
    ["plain", 404],
    ['"quoted"\\and\nbroken', 200],
    ["plain", 200],
  ] as const) {
    counts.inc({ kind, size });
    count.inc(kind, size);
  }
  counts.inc({ kind: "plain", size: 404 }, 2.5);
  count.add(2.5, "plain", 404);
  // On a bound, between bounds, below the first and above the last.
  for (const seconds of [0.001, 0.5, 0.3, 0, 31, 30, 0.0625])
    for (const kind of ["a", "b"]) {
      times.observe({ kind }, seconds);
      time.observe(seconds, kind);
    }
  const lines = (text: string) =>
    text
      .split("\n")
      .filter((line) => line !== "")
      .sort();
  // Theirs writes `le` first; the order of labels means nothing.
  const ordered = (text: string) => text.replaceAll(/\{le="([^"]*)",(.*)\}/g, '{$2,le="$1"}');
  expect(lines(ours.exposition())).toEqual(lines(ordered(await theirs.metrics())));
});

test("what was never counted is announced and has no lines", () => {
  const ours = createInstruments();
  ours.counter("things_total", "Things", ["kind"]);
  expect(ours.exposition()).toBe("# HELP things_total Things\n# TYPE things_total counter\n");
});
