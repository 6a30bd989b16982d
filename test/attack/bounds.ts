/** Whether one attack was borne: figures in, verdicts out. */

import { isMet, type Target } from "../bench/result.ts";
import { percentile } from "../bench/statistics.ts";

/** One request of the second user, or of a newcomer. */
export interface Sample {
  /** When it was due, ms; a late start counts as waiting, or a stall would hide the requests that it delayed. */
  readonly dueAt: number;
  /** Until the whole answer was here. */
  readonly ms: number;
  readonly isServed: boolean;
}

export interface Traffic {
  readonly requests: number;
  readonly served: number;
  /** Of the served ones, ms; NaN where none was. */
  readonly p99: number;
  readonly longest: number;
}

export interface Shutdown {
  /** From SIGTERM to the end of the process; `undefined` when it had to be killed after `limitMs`. */
  readonly ms: number | undefined;
  readonly limitMs: number;
  /** What ended it: `exit code 0` in order, a signal where it crashed. */
  readonly ended: string;
}

/** How late timers of a main thread were, ms: what its turns take, and what the machine takes from it. */
export interface LoopDelay {
  readonly p99: number;
  readonly longest: number;
}

export interface Measurement {
  readonly before: Traffic;
  readonly during: Traffic;
  /** Largest resident memory, MiB. */
  readonly peakMiB: number;
  /** Slowest answer of `/livez`, ms, and how many were not answered in time. */
  readonly livez: { readonly longest: number; readonly missed: number };
  /** Share of the time in which the process could have run, but others had its core; NaN where the system does not tell. */
  readonly waitedShare: number;
  /** `undefined` when the process could not be asked. */
  readonly loop: LoopDelay | undefined;
  /** The same of the API, for whose answers the second user waits as well. */
  readonly apiLoop: LoopDelay;
  /** How the process ended while it was attacked; `undefined` when it lived. */
  readonly died: string | undefined;
  /** `undefined` when it had died before. */
  readonly shutdown: Shutdown | undefined;
  readonly outcomes: Readonly<Record<string, number>>;
  readonly connections: { readonly opened: number; readonly held: number };
  /** Of this attack alone. */
  readonly targets: readonly Target[];
}

export interface Bounds {
  readonly peakMiB: number;
  readonly served: number;
  /** To the value before the attack, but never less than these ms: below lies the noise of a shared machine. */
  readonly p99: { readonly times: number; readonly floorMs: number };
  /** Beyond what the calm process needed. */
  readonly shutdownMs: number;
}

export interface Verdict {
  readonly what: string;
  readonly isKept: boolean;
  /** Measured value and bound. */
  readonly figure: string;
}

/** A pod's memory, and a user who notices next to nothing. */
export const BOUNDS: Bounds = {
  peakMiB: 512,
  served: 0.999,
  p99: { times: 4, floorMs: 80 },
  shutdownMs: 5_000,
};

/**
 * For a machine with two cores on which other things run. A window of 3.5 s holds 350 requests, of which the first burst
 * of an attack meets more than one in a hundred: the short form is about the process, its memory and its end.
 */
export const QUICK_BOUNDS: Bounds = { ...BOUNDS, served: 0.85, p99: { times: 4, floorMs: 5_000 } };

export function trafficOf(samples: readonly Sample[]): Traffic {
  const times = samples.filter(({ isServed }) => isServed).map(({ ms }) => ms);
  const sorted = Float64Array.from(times).sort();
  return {
    requests: samples.length,
    served: sorted.length,
    p99: percentile(sorted, 0.99),
    longest: sorted.at(-1) ?? Number.NaN,
  };
}

export function servedShare({ requests, served }: Traffic): number {
  return requests === 0 ? Number.NaN : served / requests;
}

export function p99Limit(before: Traffic, { p99 }: Bounds): number {
  return Math.max(p99.times * before.p99, p99.floorMs);
}

/** Time that the shutdown took beyond the calm one, ms; at least, where the process had to be killed. */
export function shutdownExcess({ ms, limitMs }: Pick<Shutdown, "ms" | "limitMs">, calmMs: number): number {
  return Math.max(0, (ms ?? limitMs) - calmMs);
}

/** A figure that could not be measured breaks its bound. */
export function verdictsOf(
  measured: Measurement,
  calmShutdownMs: number,
  bounds: Bounds,
): readonly Verdict[] {
  const { before, during, died, peakMiB, shutdown, targets } = measured;
  const share = servedShare(during);
  const limit = p99Limit(before, bounds);
  const verdicts: Verdict[] = [
    { what: "the process lives", isKept: died === undefined, figure: died ?? "it does" },
    {
      what: "memory",
      isKept: peakMiB < bounds.peakMiB,
      figure: `${peakMiB.toFixed(0)} MiB, below ${bounds.peakMiB}`,
    },
    {
      what: "the second user is served",
      isKept: share >= bounds.served,
      figure: `${(share * 100).toFixed(2)} %, at least ${bounds.served * 100}`,
    },
    {
      what: "p99 of the second user",
      isKept: during.p99 <= limit,
      figure: `${during.p99.toFixed(1)} ms, at most ${limit.toFixed(0)}`,
    },
  ];
  if (shutdown !== undefined) {
    const excess = shutdownExcess(shutdown, calmShutdownMs);
    verdicts.push({
      what: "SIGTERM beyond the calm one",
      isKept: shutdown.ms !== undefined && excess <= bounds.shutdownMs,
      figure: `${shutdown.ms === undefined ? "more than " : ""}${(excess / 1000).toFixed(1)} s, at most ${bounds.shutdownMs / 1000}`,
    });
    // One that is cut off says so by its exit code; a signal is a crash, or the end of our patience.
    const isCrash = shutdown.ms !== undefined && !shutdown.ended.startsWith("exit code");
    if (isCrash) verdicts.push({ what: "the process ends in order", isKept: false, figure: shutdown.ended });
  } else verdicts.push({ what: "SIGTERM", isKept: false, figure: "no process was left to end" });
  for (const target of targets) {
    const bound =
      "atLeast" in target.limit ? `at least ${target.limit.atLeast}` : `at most ${target.limit.atMost}`;
    verdicts.push({
      what: target.what,
      isKept: isMet(target),
      figure: `${target.value.toFixed(target.digits)}, ${bound}`,
    });
  }
  return verdicts;
}
