/** When an attack counts as borne, from figures whose verdict is known. */

import { describe, expect, test } from "@jest/globals";
import {
  BOUNDS,
  type Measurement,
  p99Limit,
  QUICK_BOUNDS,
  type Sample,
  servedShare,
  shutdownExcess,
  trafficOf,
  verdictsOf,
} from "./bounds.ts";

const CALM_SHUTDOWN_MS = 2_500;

const borne: Measurement = {
  before: { requests: 400, served: 400, p99: 30, longest: 40 },
  during: { requests: 1_000, served: 1_000, p99: 119, longest: 200 },
  peakMiB: 511,
  livez: { longest: 20, missed: 0 },
  waitedShare: 0.01,
  loop: { p99: 1.5, longest: 12 },
  apiLoop: { p99: 1, longest: 3 },
  died: undefined,
  shutdown: { ms: 7_500, limitMs: 28_000, ended: "exit code 0" },
  outcomes: {},
  connections: { opened: 0, held: 0 },
  targets: [],
};

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

  test("one request of a thousand may fail", () => {
    expect(broken({ during: { ...borne.during, served: 999 } })).toEqual([]);
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

test("traffic is what was served, and its p99 that of the served", () => {
  const samples: Sample[] = [
    ...Array.from({ length: 99 }, (_, index) => ({ dueAt: index, ms: index + 1, isServed: true })),
    { dueAt: 99, ms: 5_000, isServed: false },
  ];
  expect(trafficOf(samples)).toEqual({ requests: 100, served: 99, p99: 99, longest: 99 });
  expect(servedShare(trafficOf(samples))).toBe(0.99);
  expect(trafficOf([])).toEqual({ requests: 0, served: 0, p99: Number.NaN, longest: Number.NaN });
  expect(servedShare(trafficOf([]))).toBeNaN();
});

test("a shutdown faster than the calm one has no excess, and one that was cut off has at least the rest of the patience", () => {
  expect(shutdownExcess({ ms: 1_000, limitMs: 28_000 }, CALM_SHUTDOWN_MS)).toBe(0);
  expect(shutdownExcess({ ms: 4_000, limitMs: 28_000 }, CALM_SHUTDOWN_MS)).toBe(1_500);
  expect(shutdownExcess({ ms: undefined, limitMs: 28_000 }, CALM_SHUTDOWN_MS)).toBe(25_500);
});
