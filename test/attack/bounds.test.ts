/** When an attack counts as borne, from figures whose verdict is known. */

import { describe, expect, test } from "@jest/globals";
import {
  BOUNDS,
  type Measurement,
  type Newcomers,
  p99Limit,
  QUICK_BOUNDS,
  type Sample,
  servedShare,
  shutdownExcess,
  trafficOf,
  verdictsOf,
} from "./bounds.ts";

const CALM_SHUTDOWN_MS = 2_500;

/** Whose exchanges take two seconds: p99 may become 120 ms, so the limits are 2,120 and 2,480 ms. */
const newcomers = {
  before: { requests: 20, served: 20, median: 2_000, longest: 2_300 },
  during: { requests: 50, served: 50, median: 2_120, longest: 2_480 },
};

const borne: Measurement = {
  before: { requests: 400, served: 400, p99: 30, longest: 40 },
  during: { requests: 1_000, served: 1_000, p99: 119, longest: 200 },
  peakMiB: 511,
  livez: { longest: 20, missed: 0 },
  waitedShare: 0.01,
  loop: { p99: 1.5, longest: 12 },
  apiLoop: { p99: 1, longest: 3 },
  entraLoop: { p99: 2, longest: 40 },
  died: undefined,
  shutdown: { ms: 7_500, limitMs: 28_000, ended: "exit code 0" },
  outcomes: {},
  connections: { opened: 0, held: 0 },
  targets: [],
};

/** An attack in which newcomers came. */
function withNewcomers(
  before: Partial<Newcomers> = {},
  during: Partial<Newcomers> = {},
): Pick<Measurement, "before" | "during"> {
  return {
    before: { ...borne.before, newcomers: { ...newcomers.before, ...before } },
    during: { ...borne.during, newcomers: { ...newcomers.during, ...during } },
  };
}

function broken(change: Partial<Measurement>, bounds = BOUNDS): readonly string[] {
  return verdictsOf({ ...borne, ...change }, CALM_SHUTDOWN_MS, bounds)
    .filter(({ isKept }) => !isKept)
    .map(({ what }) => what);
}

describe("verdicts", () => {
  test("an attack within every bound is borne", () => {
    expect(broken({})).toEqual([]);
  });

  test.each<[string, Partial<Measurement>, readonly string[]]>([
    [
      "a process that died breaks its life and has no orderly end",
      { died: "SIGABRT", shutdown: undefined },
      ["the process lives", "SIGTERM"],
    ],
    ["memory on the pod's limit is too much", { peakMiB: 512 }, ["memory"]],
    ["memory that could not be read breaks its bound", { peakMiB: Number.NaN }, ["memory"]],
    [
      "two requests of a thousand that were not served are too many",
      { during: { ...borne.during, served: 998 } },
      ["the second user is served"],
    ],
    [
      "a second user who sent nothing was not served",
      { during: { requests: 0, served: 0, p99: 1, longest: 1 } },
      ["the second user is served"],
    ],
    [
      "a p99 beyond four times the one before is too long",
      { during: { ...borne.during, p99: 121 } },
      ["p99 of the second user"],
    ],
    [
      "a p99 of no served request breaks its bound",
      { during: { ...borne.during, p99: Number.NaN } },
      ["p99 of the second user"],
    ],
    ["newcomers on their limits are not too slow", withNewcomers(), []],
    [
      "a median of the newcomers that grew by more than p99 may become is too long, though it is far from four times as long",
      withNewcomers({}, { median: 2_121 }),
      ["median of the newcomers"],
    ],
    [
      "a newcomer who waits four times as much beyond the others' time is too slow",
      withNewcomers({}, { longest: 2_481 }),
      ["the slowest newcomer"],
    ],
    [
      "newcomers are compared with their median before, of which a single slow one is no excuse",
      withNewcomers({ longest: 5_000 }, { longest: 2_481 }),
      ["the slowest newcomer"],
    ],
    [
      "newcomers who did not come break their bounds, for nothing was measured",
      withNewcomers({}, { requests: 0, served: 0, median: Number.NaN, longest: Number.NaN }),
      ["median of the newcomers", "the slowest newcomer"],
    ],
    [
      "newcomers who did not come before the attack are nothing to compare with",
      withNewcomers({ requests: 0, served: 0, median: Number.NaN, longest: Number.NaN }),
      ["median of the newcomers", "the slowest newcomer"],
    ],
    [
      "slow newcomers are no excuse for a slow second user",
      { ...withNewcomers(), during: { ...withNewcomers().during, p99: 121 } },
      ["p99 of the second user"],
    ],
    [
      "two newcomers who were not served are too many of all requests",
      withNewcomers({}, { served: 48 }),
      ["the second user is served"],
    ],
    [
      "an end more than five seconds beyond the calm one is too late",
      { shutdown: { ms: 7_501, limitMs: 28_000, ended: "exit code 0" } },
      ["SIGTERM beyond the calm one"],
    ],
    [
      "a process that had to be killed is too late, however short the patience was",
      { shutdown: { ms: undefined, limitMs: 3_000, ended: "killed" } },
      ["SIGTERM beyond the calm one"],
    ],
    [
      "a crash after SIGTERM is no orderly end",
      { shutdown: { ms: 3_000, limitMs: 28_000, ended: "SIGABRT" } },
      ["the process ends in order"],
    ],
    [
      "a missed target of the attack itself is a broken bound",
      { targets: [{ what: "calls", value: 2, digits: 0, limit: { atMost: 1 } }] },
      ["calls"],
    ],
    [
      "a target that could not be measured is a broken bound",
      { targets: [{ what: "calls", value: Number.NaN, digits: 0, limit: { atMost: 1 } }] },
      ["calls"],
    ],
    [
      "a target that was met is not",
      { targets: [{ what: "calls", value: 1, digits: 0, limit: { atMost: 1 } }] },
      [],
    ],
  ])("%s", (_sentence, change, expected) => {
    expect(broken(change)).toEqual(expected);
  });

  test("one request of a thousand may fail, of the second user or of a newcomer", () => {
    expect(broken({ during: { ...borne.during, served: 999 } })).toEqual([]);
    expect(broken(withNewcomers({}, { served: 49 }))).toEqual([]);
  });

  test("the quick form forgives newcomers as much as the second user", () => {
    const quick = (median: number) => broken(withNewcomers({}, { median }), QUICK_BOUNDS);
    expect(quick(7_000)).toEqual([]);
    expect(quick(7_001)).toEqual(["median of the newcomers"]);
  });

  test("the quick form forgives a busy machine a longer p99, and nothing else", () => {
    const during = { ...borne.during, p99: 5_000 };
    expect(broken({ during }, QUICK_BOUNDS)).toEqual([]);
    expect(broken({ during: { ...during, p99: 5_001 } }, QUICK_BOUNDS)).toEqual(["p99 of the second user"]);
    const { peakMiB, shutdownMs } = BOUNDS;
    expect(QUICK_BOUNDS).toMatchObject({ peakMiB, shutdownMs });
  });
});

test("the limit of p99 is four times the value before, but not below the noise of the machine", () => {
  const before = (p99: number) => ({ ...borne.before, p99 });
  expect(p99Limit(before(100), BOUNDS)).toBe(400);
  expect(p99Limit(before(3), BOUNDS)).toBe(BOUNDS.p99.floorMs);
  expect(p99Limit(before(Number.NaN), BOUNDS)).toBeNaN();
});

test("a p99 without a value before it to compare with breaks its bound", () => {
  expect(broken({ before: { ...borne.before, served: 0, p99: Number.NaN } })).toEqual([
    "p99 of the second user",
  ]);
});

const NONE = { requests: 0, served: 0, longest: Number.NaN };

/** Answers after 1 ms, 2 ms, and so on. */
function servedOnes(length: number, isNewcomer: boolean, beyondMs = 0): readonly Sample[] {
  return Array.from({ length }, (_, index) => {
    return { dueAt: index, ms: beyondMs + index + 1, isServed: true, isNewcomer };
  });
}

describe("traffic", () => {
  test("its p99 is that of the served, its longest that of all, one that waited in vain included", () => {
    const vain: Sample = { dueAt: 99, ms: 5_000, isServed: false, isNewcomer: false };
    const traffic = trafficOf([vain, ...servedOnes(99, false)], false);
    expect(traffic).toEqual({ requests: 100, served: 99, p99: 99, longest: 5_000 });
    expect(servedShare(traffic)).toBe(0.99);
  });

  test("newcomers are measured apart, and their share is one with the others'", () => {
    const vain: Sample = { dueAt: 99, ms: 5_000, isServed: false, isNewcomer: true };
    const samples = [...servedOnes(5, true, 2_000), ...servedOnes(94, false), vain];
    const traffic = trafficOf(samples, true);
    expect(traffic).toEqual({
      requests: 94,
      served: 94,
      p99: 94,
      longest: 94,
      newcomers: { requests: 6, served: 5, median: 2_003, longest: 5_000 },
    });
    expect(servedShare(traffic)).toBe(0.99);
  });

  test("nothing has no figures, and expected newcomers who did not come have none either", () => {
    expect(trafficOf([], false)).toEqual({ ...NONE, p99: Number.NaN });
    expect(servedShare(trafficOf([], false))).toBeNaN();
    expect(trafficOf(servedOnes(2, false), true).newcomers).toEqual({ ...NONE, median: Number.NaN });
  });
});

test("a shutdown faster than the calm one has no excess, and one that was cut off has at least the rest of the patience", () => {
  expect(shutdownExcess({ ms: 1_000, limitMs: 28_000 }, CALM_SHUTDOWN_MS)).toBe(0);
  expect(shutdownExcess({ ms: 4_000, limitMs: 28_000 }, CALM_SHUTDOWN_MS)).toBe(1_500);
  expect(shutdownExcess({ ms: undefined, limitMs: 28_000 }, CALM_SHUTDOWN_MS)).toBe(25_500);
});
