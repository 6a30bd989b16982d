/** Whether one attack was borne: figures in, verdicts out. */

import { isMet, type Target } from "../bench/result.ts";
import { median, percentile } from "../bench/statistics.ts";

/** One request of the second user, or of a newcomer. */
export interface Sample {
  /** When it was due, ms; a late start counts as waiting, or a stall would hide the requests that it delayed. */
  readonly dueAt: number;
  /** Until the whole answer was here. */
  readonly ms: number;
  readonly isServed: boolean;
  /** Whether its token had to be exchanged first: such a request takes as long as Entra, and says nothing of the others. */
  readonly isNewcomer: boolean;
}

interface Requests {
  readonly requests: number;
  readonly served: number;
  /** Of all of them, ms, for one that waited in vain waited as well; NaN where there was none. */
  readonly longest: number;
}

/** The steady requests, of which a percentile can be taken. */
export interface Traffic extends Requests {
  /** Of the served ones, ms; NaN where none was. */
  readonly p99: number;
  /** Absent where none are sent. */
  readonly newcomers?: Newcomers;
}

/** A few dozen requests, of which p99 would be the longest. */
export interface Newcomers extends Requests {
  /** Of the served ones, ms; NaN where none was. */
  readonly median: number;
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
  /** The same of Entra, for whose answers newcomers wait. */
  readonly entraLoop: LoopDelay;
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
  /**
   * How many times what p99 may become they may take beyond their median before the attack. A multiple of that median
   * would forgive every queue where Entra takes seconds.
   */
  readonly newcomers: { readonly medianTimes: number; readonly slowestTimes: number };
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
  newcomers: { medianTimes: 1, slowestTimes: 4 },
  shutdownMs: 5_000,
};

/**
 * For a machine with two cores on which other things run. A window of 3.5 s holds 350 requests, of which the first burst
 * of an attack meets more than one in a hundred: the short form is about the process, its memory and its end.
 */
export const QUICK_BOUNDS: Bounds = { ...BOUNDS, served: 0.85, p99: { times: 4, floorMs: 5_000 } };

/** Of expected newcomers who did not come nothing was measured, which breaks their bounds. */
export function trafficOf(samples: readonly Sample[], expectsNewcomers: boolean): Traffic {
  const steady = requestsOf(samples.filter(({ isNewcomer }) => !isNewcomer));
  const newcomers = requestsOf(samples.filter(({ isNewcomer }) => isNewcomer));
  return {
    ...steady.requests,
    p99: percentile(steady.times, 0.99),
    ...(expectsNewcomers && { newcomers: { ...newcomers.requests, median: median(newcomers.times) } }),
  };
}

function requestsOf(samples: readonly Sample[]): { requests: Requests; times: readonly number[] } {
  const times = samples
    .filter(({ isServed }) => isServed)
    .map(({ ms }) => ms)
    .sort((one, other) => one - other);
  const longest = samples.length === 0 ? Number.NaN : Math.max(...samples.map(({ ms }) => ms));
  return { requests: { requests: samples.length, served: times.length, longest }, times };
}

/** Of both kinds of requests. */
export function servedShare({ requests, served, newcomers }: Traffic): number {
  const all = requests + (newcomers?.requests ?? 0);
  return all === 0 ? Number.NaN : (served + (newcomers?.served ?? 0)) / all;
}

export function p99Limit(before: Traffic, { p99 }: Bounds): number {
  return Math.max(p99.times * before.p99, p99.floorMs);
}

function newcomersVerdicts(before: Traffic, during: Traffic, bounds: Bounds): readonly Verdict[] {
  if (before.newcomers === undefined && during.newcomers === undefined) return [];
  const { median: base = Number.NaN } = before.newcomers ?? {};
  const { median: middle = Number.NaN, longest = Number.NaN } = during.newcomers ?? {};
  const verdict = (what: string, value: number, times: number): Verdict => {
    const limit = base + times * p99Limit(before, bounds);
    return {
      what,
      isKept: value <= limit,
      figure: `${value.toFixed(0)} ms, at most ${limit.toFixed(0)} (their median before: ${base.toFixed(0)})`,
    };
  };
  const { medianTimes, slowestTimes } = bounds.newcomers;
  return [
    verdict("median of the newcomers", middle, medianTimes),
    verdict("the slowest newcomer", longest, slowestTimes),
  ];
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
    ...newcomersVerdicts(before, during, bounds),
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
