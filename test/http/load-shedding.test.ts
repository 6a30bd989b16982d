import type { IncomingMessage, ServerResponse } from "node:http";
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import type { GatewayError } from "../../src/errors.ts";
import type { LoadEvent } from "../../src/http/contract.ts";
import { createLoadShedding, type LoadShedding } from "../../src/http/load-shedding.ts";
import { until } from "../support/until.ts";

const WINDOW_MS = 500;

let lag: number;
let events: LoadEvent[];
let refusals: GatewayError[];
const open: LoadShedding[] = [];

beforeEach(() => {
  lag = 0;
  events = [];
  refusals = [];
});

function closeAll(): void {
  for (const shedding of open.splice(0)) shedding.close();
}

function shedding({ measured = false } = {}): LoadShedding {
  const created = createLoadShedding({
    maxEventLoopLagMs: 400,
    sampleLag: measured ? undefined : () => lag,
    refuseWith: (refusal) => () => void refusals.push(refusal),
    onEvent: (event) => void events.push(event),
  });
  if (created === undefined) throw new Error("switched off");
  open.push(created);
  return created;
}

/** One window after the other, with these lags in ms; whether requests were turned away after each. */
function windows(one: LoadShedding, lags: readonly number[]): boolean[] {
  return lags.map((ms) => {
    lag = ms;
    jest.advanceTimersByTime(WINDOW_MS);
    return one.load.isShedding;
  });
}

describe("load shedding", () => {
  beforeEach(() => {
    jest.useFakeTimers();
  });
  afterEach(() => {
    closeAll();
    expect(jest.getTimerCount()).toBe(0);
    jest.useRealTimers();
  });

  test.each([
    ["a lag that stays below the threshold", [399, 399, 399], [false, false, false]],
    ["a single stall, however long", [9_000, 0, 9_000, 0], [false, false, false, false]],
    ["a lag that lasts", [400, 400, 400], [false, true, true]],
    [
      "a lag that falls below the threshold, but not below half of it",
      [400, 400, 399, 200],
      [false, true, true, true],
    ],
    [
      "a lag that falls below half of the threshold",
      [400, 400, 199, 400, 400],
      [false, true, false, false, true],
    ],
  ])("%s", (_, lags, expected) => {
    expect(windows(shedding(), lags)).toEqual(expected);
  });

  test("a request may wait four times the threshold for its turn, where waits are measured as the lag is", () => {
    expect(shedding({ measured: true }).load.longestWaitMs).toBe(1_600);
    expect(shedding().load.longestWaitMs).toBe(Number.POSITIVE_INFINITY);
  });

  test("tells when it begins and when it ends, each once, and every request that it turned away", () => {
    const one = shedding();
    windows(one, [500, 600, 700]);
    for (let request = 0; request < 2; request += 1) one.shed({} as IncomingMessage, {} as ServerResponse);
    windows(one, [10, 0]);
    expect(events).toEqual([
      { type: "shedding_began", lagMs: 600 },
      { type: "shed" },
      { type: "shed" },
      { type: "shedding_ended", lagMs: 10 },
    ]);
    expect(refusals).toEqual([
      expect.objectContaining({ code: "overloaded", retryAfterSeconds: 1 }),
      expect.objectContaining({ code: "overloaded", retryAfterSeconds: 1 }),
    ]);
  });

  test("0 switches it off: there is nothing that could turn a request away, and no timer", () => {
    const off = createLoadShedding({
      maxEventLoopLagMs: 0,
      refuseWith: () => () => {},
      onEvent: () => {},
    });
    expect(off).toBeUndefined();
    expect(jest.getTimerCount()).toBe(0);
  });
});

describe("measured", () => {
  afterEach(closeAll);

  test("an event loop that stands still is noticed, and how long it did, and that it turns again", async () => {
    const one = shedding({ measured: true });
    standStill(300);
    await until(() => one.lagMs() > 0);
    expect(one.lagMs()).toBeGreaterThanOrEqual(270);
    await until(() => one.lagMs() < 270);
  });

  test("so is one of which every single turn outlasts the window in which the lag is looked at", async () => {
    shedding({ measured: true });
    for (let turns = 0; turns < 3; turns += 1) {
      standStill(WINDOW_MS + 50);
      await turn();
    }
    expect(events).toEqual([{ type: "shedding_began", lagMs: expect.any(Number) }]);
  });
});

function standStill(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

const turn = () => new Promise((resolve) => setTimeout(resolve, 5));
