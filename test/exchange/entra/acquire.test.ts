import { describe, expect, test } from "@jest/globals";
import { GatewayError } from "../../../src/errors.ts";
import { createRetryBudget, pauseBeforeRetry } from "../../../src/exchange/entra/acquire.ts";
import type { Refusal } from "../../../src/exchange/entra/refusals.ts";

describe("the budget of retries", () => {
  const spent = (budget: ReturnType<typeof createRetryBudget>) => {
    let count = 0;
    while (count < 100 && budget.spend()) count += 1;
    return count;
  };

  test("holds ten at the start, and one more for ten first attempts", () => {
    const budget = createRetryBudget();
    expect(spent(budget)).toBe(10);
    for (let first = 0; first < 9; first += 1) budget.earn();
    expect(spent(budget)).toBe(0);
    // Ten tenths are a little less than one in binary, so the eleventh makes it certain.
    for (let first = 0; first < 2; first += 1) budget.earn();
    expect(spent(budget)).toBe(1);
  });

  test("saves ten at most, however many first attempts there were", () => {
    const budget = createRetryBudget();
    for (let first = 0; first < 1_000; first += 1) budget.earn();
    expect(spent(budget)).toBe(10);
  });
});

describe("the pause before a retry", () => {
  const refusal = (transient: boolean, retryAfterSeconds?: number): Refusal => ({
    error: new GatewayError("authority_unavailable", {
      detail: "d",
      ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
    }),
    domain: "none",
    transient,
    forgetUser: false,
  });
  const pauses = (retryAfterSeconds?: number) =>
    Array.from({ length: 200 }, () => pauseBeforeRetry(refusal(true, retryAfterSeconds), 60_000) ?? -1);

  test("is 50 to 150 ms, by chance, so that callers do not come back together", () => {
    const all = pauses();
    expect(Math.min(...all)).toBeGreaterThanOrEqual(50);
    expect(Math.max(...all)).toBeLessThan(150);
    expect(Math.max(...all) - Math.min(...all)).toBeGreaterThan(50);
  });

  test("comes on top of a pause of two seconds at most that Entra asked for", () => {
    const all = pauses(2);
    expect(Math.min(...all)).toBeGreaterThanOrEqual(2_050);
    expect(Math.max(...all)).toBeLessThan(2_150);
    expect(pauseBeforeRetry(refusal(true, 3), 60_000)).toBeUndefined();
  });

  test("is none for a refusal that stands", () => {
    expect(pauseBeforeRetry(refusal(false), 60_000)).toBeUndefined();
  });

  test("leaves half of the time for the attempt itself", () => {
    expect(pauseBeforeRetry(refusal(true), 100)).toBeUndefined();
    expect(pauseBeforeRetry(refusal(true), 300)).toBeDefined();
    expect(pauseBeforeRetry(refusal(true, 1), 2_099)).toBeUndefined();
  });
});
