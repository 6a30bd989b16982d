import { describe, expect, test } from "@jest/globals";
import { createBreaker } from "../../src/foundation/breaker.ts";

describe("a breaker", () => {
  function breakerWith(failures: number, longestPauseMs = 100) {
    const clock = { now: 0 };
    const changes: string[] = [];
    const breaker = createBreaker({
      failures,
      firstPauseMs: 100,
      longestPauseMs,
      spread: 0,
      now: () => clock.now,
      onOpened: (reason) => changes.push(`opened: ${reason}`),
      onClosed: () => changes.push("closed"),
    });
    return { breaker, clock, changes };
  }
  const fail = ({ breaker }: ReturnType<typeof breakerWith>, times: number) => {
    for (let count = 0; count < times; count++) breaker.failed("refused");
  };

  test("opens at the last of so many consecutive failures, and a success between them counts anew", () => {
    const it = breakerWith(3);
    fail(it, 2);
    it.breaker.succeeded();
    fail(it, 2);
    expect(it.breaker.admit()).toBeUndefined();
    it.breaker.failed("refused");
    expect(it.breaker.admit()).toBe(100);
    expect(it.changes).toEqual(["opened: refused"]);
  });

  test("lets one request try when its time is over, and opens again when that fails", () => {
    const it = breakerWith(1);
    it.breaker.failed("refused");
    it.clock.now = 100;
    expect(it.breaker.admit()).toBeUndefined();
    expect(it.breaker.admit()).toBe(100);
    it.breaker.failed("refused");
    expect(it.breaker.admit()).toBe(100);
    expect(it.changes).toEqual(["opened: refused"]);
  });

  test("closes when the one that tries succeeds", () => {
    const it = breakerWith(1);
    it.breaker.failed("refused");
    it.clock.now = 100;
    it.breaker.admit();
    it.breaker.succeeded();
    expect([it.breaker.admit(), it.breaker.admit()]).toEqual([undefined, undefined]);
    expect(it.changes).toEqual(["opened: refused", "closed"]);
  });

  test("lets the next one try when the one that tried was given up", () => {
    const it = breakerWith(1);
    it.breaker.failed("refused");
    it.clock.now = 100;
    it.breaker.admit();
    it.breaker.ended();
    expect(it.breaker.admit()).toBeUndefined();
  });

  test("of no failures never opens", () => {
    const it = breakerWith(0);
    fail(it, 100);
    expect(it.breaker.admit()).toBeUndefined();
  });

  test("doubles its pause up to the longest while it finds no answer, and begins anew after a success", () => {
    const it = breakerWith(1, 300);
    it.breaker.failed("refused");
    const pauses: (number | undefined)[] = [];
    for (let probe = 0; probe < 4; probe++) {
      const pause = it.breaker.admit() ?? 0;
      pauses.push(pause);
      it.clock.now += pause;
      it.breaker.admit();
      it.breaker.failed("refused");
    }
    expect(pauses).toEqual([100, 200, 300, 300]);
    it.clock.now += 300;
    it.breaker.admit();
    it.breaker.succeeded();
    it.breaker.failed("refused");
    expect(it.breaker.admit()).toBe(100);
  });

  test("does not count what fails late, of the questions asked before it opened", () => {
    const it = breakerWith(1);
    it.breaker.failed("refused");
    it.clock.now = 60;
    it.breaker.failed("refused");
    expect(it.breaker.admit()).toBe(40);
  });

  test("spreads its pauses, so that replicas do not return together", () => {
    const pauses = Array.from({ length: 50 }, () => {
      const breaker = createBreaker({
        now: () => 0,
        failures: 1,
        firstPauseMs: 100,
        longestPauseMs: 1_000,
        spread: 0.25,
      });
      breaker.failed("refused");
      return breaker.admit() ?? 0;
    });
    expect(Math.min(...pauses)).toBeGreaterThanOrEqual(75);
    expect(Math.max(...pauses)).toBeLessThanOrEqual(125);
    expect(new Set(pauses).size).toBeGreaterThan(10);
  });
});
