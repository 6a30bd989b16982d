import { expect, test } from "@jest/globals";
import { createSteadyClock } from "../../src/exchange/failure-domains.ts";

test("a steady clock goes with the host's, stands while that is set back, and goes on from there", () => {
  let host = 1_000;
  const time = createSteadyClock(() => host);
  const readings: number[] = [];
  for (const change of [0, 500, -120_000, 0, 250, 60_000, -1, 1]) {
    host += change;
    readings.push(time());
  }
  expect(readings).toEqual([1_000, 1_500, 1_500, 1_500, 1_750, 61_750, 61_750, 61_751]);
});
