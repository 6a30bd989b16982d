/** Results as text for a terminal, as a table for the documentation, and as data. */

import {
  type Bounds,
  type LoopDelay,
  type Measurement,
  servedShare,
  shutdownExcess,
  type Verdict,
} from "./bounds.ts";

export interface Row {
  readonly name: string;
  readonly title: string;
  readonly measured: Measurement;
  readonly verdicts: readonly Verdict[];
}

const HEADINGS = [
  "attack",
  "second user served",
  "p99 before",
  "p99 during",
  "longest",
  "ratio",
  "loop p99, longest",
  "API's loop",
  "waited for a core",
  "peak RSS",
  "slowest /livez",
  "SIGTERM beyond calm",
  "process",
  "attacker got",
] as const;

/** Of the time, waited for a core: beyond, the machine says as much as the gateway. */
const BUSY_SHARE = 0.15;
/** Most frequent outcomes that are shown. */
const OUTCOMES_SHOWN = 4;

export function cellsOf({ title, measured }: Row, calmShutdownMs: number): readonly string[] {
  const { before, during, peakMiB, livez, waitedShare, loop, apiLoop, died, shutdown } = measured;
  const { outcomes, connections, targets } = measured;
  const share = servedShare(during);
  const got = Object.entries(outcomes)
    .sort(([, one], [, other]) => other - one)
    .slice(0, OUTCOMES_SHOWN)
    .map(([outcome, times]) => `${outcome} × ${times}`);
  return [
    title,
    // Rounded down: one refused request must not read as none.
    Number.isNaN(share) ? "–" : `${(Math.floor(share * 10_000) / 100).toFixed(2)} %`,
    withNewcomers(before.p99, before.newcomers?.median),
    withNewcomers(during.p99, during.newcomers?.median),
    withNewcomers(during.longest, during.newcomers?.longest),
    Number.isNaN(during.p99 / before.p99) ? "–" : (during.p99 / before.p99).toFixed(1),
    loop === undefined ? "–" : `${milliseconds(loop.p99)}, ${milliseconds(loop.longest)}`,
    `${milliseconds(apiLoop.p99)}, ${milliseconds(apiLoop.longest)}`,
    Number.isNaN(waitedShare) ? "–" : `${(waitedShare * 100).toFixed(0)} %`,
    `${peakMiB.toFixed(0)} MiB`,
    livez.missed === 0
      ? milliseconds(livez.longest)
      : `${milliseconds(livez.longest)}, ${livez.missed} missed`,
    shutdown === undefined
      ? "–"
      : `${shutdown.ms === undefined ? "> " : ""}${(shutdownExcess(shutdown, calmShutdownMs) / 1000).toFixed(1)} s`,
    died !== undefined
      ? `died: ${died}`
      : `lived${shutdown === undefined ? "" : `, ended with ${shutdown.ended}`}`,
    [
      ...(got.length === 0 ? ["no answer"] : got),
      ...(connections.held > 0 ? [`${connections.held} connections held`] : []),
      ...targets.map(({ what, value, digits }) => `${what}: ${value.toFixed(digits)}`),
    ].join(", "),
  ];
}

export function textOf(row: Row, calmShutdownMs: number): string {
  const [title, ...cells] = cellsOf(row, calmShutdownMs);
  const broken = row.verdicts.filter(({ isKept }) => !isKept);
  return [
    `${broken.length === 0 ? "kept  " : "BROKEN"} ${row.name}: ${title}`,
    `       ${cells.map((cell, index) => `${HEADINGS[index + 1]} ${cell}`).join("; ")}`,
    ...broken.map(({ what, figure }) => `       - ${what}: ${figure}`),
    ...(row.measured.during.newcomers === undefined ? [] : [`       ${entraText(row.measured.entraLoop)}`]),
    ...(row.measured.waitedShare > BUSY_SHARE
      ? [
          `       the machine was busy: the gateway waited ${(row.measured.waitedShare * 100).toFixed(0)} % of the time for a core`,
        ]
      : []),
  ].join("\n");
}

export function markdownOf(rows: readonly Row[], calmShutdownMs: number): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [
    line([...HEADINGS, "bounds"]),
    line([...HEADINGS, "bounds"].map(() => "---")),
    ...rows.map((row) =>
      line([
        ...cellsOf(row, calmShutdownMs),
        row.verdicts.every(({ isKept }) => isKept)
          ? "kept"
          : `broken: ${row.verdicts
              .filter(({ isKept }) => !isKept)
              .map(({ what }) => what)
              .join(", ")}`,
      ]),
    ),
  ].join("\n");
}

export function boundsText({ peakMiB, served, p99, newcomers, shutdownMs }: Bounds): string {
  return (
    `bounds: the process lives; memory below ${peakMiB} MiB; the second user served at least ${served * 100} %, ` +
    `p99 at most ${p99.times} times its value before the attack or ${p99.floorMs} ms, what is more; ` +
    `newcomers' median at most ${timesText(newcomers.medianTimes)}so much beyond its value before the attack, the slowest at most ` +
    `${timesText(newcomers.slowestTimes)}so much; ` +
    `SIGTERM at most ${shutdownMs / 1000} s beyond the calm one`
  );
}

/** No column: only newcomers wait for Entra. */
function entraText({ p99, longest }: LoopDelay): string {
  return `newcomers wait for Entra as well: its loop ${milliseconds(p99)}, ${milliseconds(longest)}`;
}

function timesText(times: number): string {
  return times === 1 ? "" : `${times} times `;
}

/** Five scenarios have newcomers: their figures stand in the cells of the steady user, not in columns of dashes. */
function withNewcomers(steady: number, newcomers: number | undefined): string {
  return `${milliseconds(steady)}${newcomers === undefined ? "" : ` (newcomers ${milliseconds(newcomers)})`}`;
}

function milliseconds(value: number): string {
  return Number.isNaN(value) ? "–" : `${value.toFixed(value < 100 ? 1 : 0)} ms`;
}
