import { describe, expect, test } from "@jest/globals";
import { createBreaker } from "../../src/foundation/breaker.ts";

function breakerAt() {
  let time = 0;
  const turns: string[] = [];
  const breaker = createBreaker({
    now: () => time,
    onOpened: (reason) => turns.push(`opened: ${reason}`),
    onClosed: () => turns.push("closed"),
  });
  const fail = (times: number, reason = "timeout") => {
    for (let count = 0; count < times; count += 1) breaker.failed(reason);
  };
  return {
    ...breaker,
    turns,
    fail,
    advance: (ms: number) => {
      time += ms;
    },
  };
}

describe("a breaker", () => {
  test("asks on through four failures in a row, and stops at the fifth, naming the last reason", () => {
    const breaker = breakerAt();
    breaker.fail(4, "ECONNREFUSED");
    expect([breaker.allows(), breaker.isOpen()]).toEqual([true, false]);
    breaker.fail(1, "timeout");
    expect([breaker.allows(), breaker.isOpen(), breaker.turns]).toEqual([false, true, ["opened: timeout"]]);
  });

  test("counts failures in a row: one success starts the count anew", () => {
    const breaker = breakerAt();
    breaker.fail(4);
    breaker.succeeded();
    breaker.fail(4);
    expect(breaker.isOpen()).toBe(false);
    breaker.fail(1);
    expect(breaker.isOpen()).toBe(true);
  });

  test("lets one question through after the pause, and none beside it", () => {
    const breaker = breakerAt();
    breaker.fail(5);
    breaker.advance(370);
    expect(breaker.allows()).toBe(false);
    breaker.advance(260);
    expect([breaker.allows(), breaker.allows(), breaker.allows()]).toEqual([true, false, false]);
  });

  test("closes on the probe's success, once, and then counts from zero", () => {
    const breaker = breakerAt();
    breaker.fail(5);
    breaker.advance(1_000);
    expect(breaker.allows()).toBe(true);
    breaker.succeeded();
    expect([breaker.isOpen(), breaker.turns]).toEqual([false, ["opened: timeout", "closed"]]);
    breaker.fail(4);
    expect(breaker.isOpen()).toBe(false);
  });

  test("waits twice as long after each failed probe, ten seconds at most and never for ever", () => {
    const breaker = breakerAt();
    breaker.fail(5);
    const pauses: number[] = [];
    for (let probe = 0; probe < 9; probe += 1) {
      let waited = 0;
      while (!breaker.allows()) {
        breaker.advance(50);
        waited += 50;
      }
      pauses.push(waited);
      breaker.fail(1);
    }
    for (const [index, pause] of pauses.entries()) {
      const nominal = Math.min(500 * 2 ** index, 10_000);
      expect([index, pause >= nominal * 0.75 - 50, pause <= nominal * 1.25 + 50]).toEqual([
        index,
        true,
        true,
      ]);
    }
  });

  test("takes late failures of earlier questions for no news: they do not put the probe off", () => {
    const breaker = breakerAt();
    breaker.fail(5);
    breaker.advance(600);
    breaker.fail(20);
    breaker.advance(100);
    expect(breaker.allows()).toBe(true);
  });

  test("begins with the short pause again after it has closed", () => {
    const breaker = breakerAt();
    breaker.fail(5);
    for (let probe = 0; probe < 6; probe += 1) {
      breaker.advance(20_000);
      breaker.allows();
      breaker.fail(1);
    }
    breaker.advance(20_000);
    breaker.allows();
    breaker.succeeded();
    breaker.fail(5);
    breaker.advance(640);
    expect(breaker.allows()).toBe(true);
  });
});
