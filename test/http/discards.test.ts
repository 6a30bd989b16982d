/** When pieces of bodies behind refusals are thrown away. */

import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { createDiscards } from "../../src/http/discards.ts";

describe("pieces that are thrown away", () => {
  beforeEach(() => void jest.useFakeTimers({ doNotFake: ["performance"] }));
  afterEach(() => void jest.useRealTimers());

  /** Each piece takes so many ms. */
  function discarding(takesMs: number) {
    let time = 0;
    const begun: [name: string, at: number][] = [];
    const discards = createDiscards(() => time);
    return {
      begun,
      wait: (name: string) =>
        discards.wait(() => {
          begun.push([name, time]);
          time += takesMs;
        }),
      pass(ms: number) {
        for (let passed = 0; passed < ms; passed++) {
          time += 1;
          jest.advanceTimersByTime(1);
        }
      },
    };
  }

  test("go one by one, in the order in which they came, also where the event loop was late", () => {
    const { begun, wait, pass } = discarding(0);
    for (const name of ["a", "b", "c"]) wait(name);
    expect(begun).toEqual([]);
    pass(1);
    expect(begun.map(([name]) => name)).toEqual(["a"]);
    pass(2);
    expect(begun.map(([name]) => name)).toEqual(["a", "b", "c"]);
  });

  test("that take long are followed by four times as long a pause", () => {
    const { begun, wait, pass } = discarding(5);
    wait("a");
    wait("b");
    pass(1);
    pass(19);
    expect(begun).toEqual([["a", 1]]);
    pass(1);
    expect(begun).toEqual([
      ["a", 1],
      ["b", 26],
    ]);
  });

  test("wait for the end of that pause as well where they come in it", () => {
    const { begun, wait, pass } = discarding(5);
    wait("a");
    pass(10);
    wait("b");
    pass(10);
    expect(begun.map(([name]) => name)).toEqual(["a"]);
    pass(1);
    expect(begun.map(([name]) => name)).toEqual(["a", "b"]);
  });

  test("that wait again while they are thrown away come behind the others", () => {
    const { begun, wait, pass } = discarding(0);
    const order: string[] = [];
    const discards = createDiscards(() => 0);
    const again = () => {
      order.push("a");
      if (order.length < 3) discards.wait(again);
    };
    discards.wait(again);
    discards.wait(() => order.push("b"));
    pass(5);
    expect(order).toEqual(["a", "b", "a"]);
    wait("c");
    pass(1);
    expect(begun.map(([name]) => name)).toEqual(["c"]);
  });
});
