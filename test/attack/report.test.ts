/** The table that the documentation shows. */

import { expect, test } from "@jest/globals";
import { BOUNDS, type Measurement, verdictsOf } from "./bounds.ts";
import { boundsText, markdownOf, type Row, textOf } from "./report.ts";

const measured: Measurement = {
  before: { requests: 400, served: 400, p99: 10, longest: 12 },
  during: { requests: 1_000, served: 999, p99: 25, longest: 30 },
  peakMiB: 123.4,
  livez: { longest: 3.21, missed: 0 },
  waitedShare: 0.01,
  loop: { p99: 1.5, longest: 12 },
  apiLoop: { p99: 1, longest: 3 },
  entraLoop: { p99: 2, longest: 40 },
  died: undefined,
  shutdown: { ms: 3_100, limitMs: 28_000, ended: "exit code 0" },
  outcomes: { "200": 1, "503": 700, closed: 20, "429": 40, "400": 2 },
  connections: { opened: 20, held: 4 },
  targets: [{ what: "calls", value: 0.123, digits: 2, limit: { atMost: 1 } }],
};

function row(change: Partial<Measurement> = {}): Row {
  const all = { ...measured, ...change };
  return { name: "a-flood", title: "a | flood", measured: all, verdicts: verdictsOf(all, 2_500, BOUNDS) };
}

test("a row holds every figure, and a bar in its title does not end a cell", () => {
  const [, , line] = markdownOf([row()], 2_500).split("\n");
  expect(line).toBe(
    "| a \\| flood | 99.90 % | 10.0 ms | 25.0 ms | 30.0 ms | 2.5 | 1.5 ms, 12.0 ms | 1.0 ms, 3.0 ms | 1 % | 123 MiB | 3.2 ms | 0.6 s | " +
      "lived, ended with exit code 0 | " +
      "503 × 700, 429 × 40, closed × 20, 400 × 2, 4 connections held, calls: 0.12 | kept |",
  );
});

test("newcomers' medians stand behind the p99 of the second user, their slowest behind the longest request", () => {
  const before = {
    ...measured.before,
    newcomers: { requests: 20, served: 20, median: 2_012, longest: 2_017 },
  };
  const during = {
    ...measured.during,
    newcomers: { requests: 50, served: 50, median: 2_041, longest: 2_071 },
  };
  expect(markdownOf([row({ before, during })], 2_500)).toContain(
    "| 10.0 ms (newcomers 2012 ms) | 25.0 ms (newcomers 2041 ms) | 30.0 ms (newcomers 2071 ms) | 2.5 |",
  );
  expect(textOf(row({ before, during }), 2_500)).toContain(
    "; p99 during 25.0 ms (newcomers 2041 ms); longest 30.0 ms (newcomers 2071 ms); ratio 2.5; ",
  );
});

test("Entra's event loop is printed where newcomers come, who wait for it, and in no column", () => {
  const newcomers = { requests: 20, served: 20, median: 12, longest: 17 };
  const visited = row({ during: { ...measured.during, newcomers } });
  expect(textOf(visited, 2_500)).toMatch(
    /\n {7}newcomers wait for Entra as well: its loop 2\.0 ms, 40\.0 ms$/,
  );
  expect(textOf(row(), 2_500)).not.toContain("Entra");
  expect(markdownOf([visited], 2_500)).not.toContain("40.0 ms");
});

test("the bounds that are printed first say how much newcomers may be slower", () => {
  expect(boundsText(BOUNDS)).toContain(
    "newcomers' median at most so much beyond its value before the attack, the slowest at most 4 times so much; ",
  );
});

test("every line of the table has as many cells as its head", () => {
  const lines = markdownOf([row(), row({ died: "SIGABRT", shutdown: undefined })], 2_500).split("\n");
  const cells = lines.map((line) => line.split(/(?<!\\)\|/).length);
  expect(new Set(cells).size).toBe(1);
});

test("a share that is short of all is not rounded up to all", () => {
  const during = { requests: 100_000, served: 99_999, p99: 1, longest: 1 };
  expect(markdownOf([row({ during })], 2_500)).toContain("| 99.99 % |");
});

test("what could not be measured is a dash", () => {
  const during = { requests: 0, served: 0, p99: Number.NaN, longest: Number.NaN };
  expect(
    markdownOf([row({ during, loop: undefined, died: "SIGABRT", shutdown: undefined })], 2_500),
  ).toContain(
    "| – | 10.0 ms | – | – | – | – | 1.0 ms, 3.0 ms | 1 % | 123 MiB | 3.2 ms | – | died: SIGABRT |",
  );
});

test("a broken bound is named with its figure, a kept one is not", () => {
  const text = textOf(row({ peakMiB: 700 }), 2_500);
  expect(text).toMatch(/^BROKEN a-flood/);
  expect(text).toContain("memory: 700 MiB, below 512");
  expect(textOf(row(), 2_500)).toMatch(/^kept {3}a-flood/);
  expect(textOf(row(), 2_500)).not.toContain("below 512");
  expect(markdownOf([row({ peakMiB: 700 })], 2_500)).toContain("| broken: memory |");
});

test("a shutdown that had to be cut is shown as at least so long", () => {
  const shutdown = { ms: undefined, limitMs: 28_000, ended: "killed" };
  expect(markdownOf([row({ shutdown })], 2_500)).toContain("| > 25.5 s |");
});

test("a machine that kept the gateway from its core is named beside the figures", () => {
  expect(textOf(row({ waitedShare: 0.4 }), 2_500)).toContain(
    "the gateway waited 40 % of the time for a core",
  );
  expect(textOf(row(), 2_500)).not.toContain("the machine was busy");
  expect(textOf(row({ waitedShare: Number.NaN }), 2_500)).not.toContain("the machine was busy");
});
