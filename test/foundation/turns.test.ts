/** Work that arrives together takes turns: by user, two milliseconds at a time, and less while connections wait to be accepted. */

import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, test } from "@jest/globals";
import { createTurns } from "../../src/foundation/turns.ts";

/** Time stands still but for what a request is said to cost, ms. */
function setUp() {
  let time = 0;
  const begun: string[] = [];
  const turns = createTurns(() => time);
  return {
    turns,
    begun,
    pass(ms: number) {
      time += ms;
    },
    join(name: string, owner: string | undefined, cost = 0, claimed?: string) {
      turns.wait(
        owner,
        () => {
          begun.push(name);
          time += cost;
        },
        claimed,
      );
    },
  };
}

describe("requests that wait for their turn", () => {
  test("begin at once while none waits and the turn of the event loop has time left", async () => {
    const { turns, pass } = setUp();
    expect([turns.isFree(), turns.isFree()]).toEqual([true, true]);
    pass(2);
    expect(turns.isFree()).toBe(false);
    await nextTurn();
    expect(turns.isFree()).toBe(true);
  });

  test("are not overtaken by one that comes later", async () => {
    const { turns, join, begun } = setUp();
    join("first", "ada");
    expect(turns.isFree()).toBe(false);
    await nextTurn();
    expect(begun).toEqual(["first"]);
    expect(turns.isFree()).toBe(true);
  });

  test("begin one of each user in turn, in the order in which each user sent them", async () => {
    const { join, begun } = setUp();
    for (const name of ["m1", "m2", "m3"]) join(name, "mallory");
    join("a1", "ada");
    join("g1", "grace");
    join("a2", "ada");
    await nextTurn();
    expect(begun).toEqual(["m1", "a1", "g1", "m2", "a2", "m3"]);
  });

  test("of callers who are not known yet have every other turn, and all of them where no known user waits", async () => {
    const { join, begun } = setUp();
    for (const name of ["x1", "x2", "x3", "x4"]) join(name, undefined);
    join("a1", "ada");
    join("a2", "ada");
    await nextTurn();
    expect(begun).toEqual(["x1", "a1", "x2", "a2", "x3", "x4"]);
  });

  test("of callers who are not known yet begin by whom they claim to be in turn, and between two of these the oldest of all", async () => {
    const { join, begun } = setUp();
    for (const name of ["m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8"]) join(name, undefined, 0, "mallory");
    join("a1", undefined, 0, "ada");
    join("-", undefined);
    join("a2", undefined, 0, "ada");
    await nextTurn();
    expect(begun).toEqual(["m1", "m2", "m3", "a1", "m4", "-", "m5", "m6", "m7", "a2", "m8"]);
  });

  test("wait no longer than twice as long behind claims of their user, however many other claims come", async () => {
    const { join, begun } = setUp();
    for (let index = 0; index < 20; index++) join("forged", undefined, 1, "ada");
    join("ada", undefined, 1, "ada");
    for (let index = 0; !begun.includes("ada") && index < 100; index++) {
      for (let other = 0; other < 10; other++) join("other", undefined, 1, `claim ${index} ${other}`);
      await nextTurn();
    }
    expect(begun.indexOf("ada")).toBeLessThanOrEqual(42);
  });

  test("begin for two milliseconds, and the rest a turn of the event loop later", async () => {
    const { join, begun } = setUp();
    for (const name of ["1", "2", "3", "4", "5", "6"]) join(name, "ada", 1);
    await nextTurn();
    expect(begun).toEqual(["1", "2"]);
    await nextTurn();
    expect(begun).toEqual(["1", "2", "3", "4"]);
    await nextTurn();
    expect(begun).toHaveLength(6);
  });

  test("count what runs in microtasks of a request against the time of the turn", async () => {
    const { turns, begun, join, pass } = setUp();
    turns.wait("mallory", () => {
      begun.push("m1");
      void Promise.resolve()
        .then(() => undefined)
        .then(() => pass(2));
    });
    join("m2", "mallory");
    await nextTurn();
    expect(begun).toEqual(["m1"]);
    await nextTurn();
    expect(begun).toEqual(["m1", "m2"]);
  });

  test("do not begin at once where a turn that has accepted a connection follows another one", async () => {
    const { turns, join, begun } = setUp();
    turns.accepted();
    expect(turns.isFree()).toBe(true);
    await nextTurn();
    turns.accepted();
    expect(turns.isFree()).toBe(false);
    join("1", "ada");
    await nextTurn();
    expect(begun).toEqual(["1"]);
    await nextTurn();
    expect(turns.isFree()).toBe(true);
    await nextTurn();
    turns.accepted();
    expect(turns.isFree()).toBe(true);
  });

  test("begin one piece in such a turn, and none for twice as long as it took while more connections come", async () => {
    const { turns, join, begun, pass } = setUp();
    turns.accepted();
    await nextTurn();
    for (const name of ["1", "2", "3", "4", "5"]) join(name, "ada", 0.4);
    const accepting = async (ms: number) => {
      pass(ms);
      turns.accepted();
      await nextTurn();
      return begun.length;
    };
    expect(await accepting(0)).toBe(1);
    expect(await accepting(0.3)).toBe(1);
    expect(await accepting(0.3)).toBe(1);
    expect(await accepting(0.3)).toBe(2);
    expect(await accepting(0.7)).toBe(2);
    // None has come in this turn, so that none waits to be accepted.
    await nextTurn();
    expect(begun).toEqual(["1", "2", "3", "4", "5"]);
  });

  test("count the rest by what ran in microtasks of the last piece as well", async () => {
    const { turns, join, begun, pass } = setUp();
    turns.accepted();
    await nextTurn();
    turns.wait("mallory", () => void Promise.resolve().then(() => pass(1)));
    turns.accepted();
    await nextTurn();
    join("a", "ada");
    for (const [ms, expected] of [
      [1.9, 0],
      [0.1, 1],
    ] as const) {
      pass(ms);
      turns.accepted();
      await nextTurn();
      expect(begun).toHaveLength(expected);
    }
  });

  test("are said to come with connections that pour in where eight turns in a row have accepted one", async () => {
    const { turns } = setUp();
    const pours: boolean[] = [];
    const row = async (length: number) => {
      for (let turn = 0; turn < length; turn++) {
        pours.push(turns.accepted());
        await nextTurn();
      }
      await nextTurn();
      return pours.splice(0);
    };
    expect(await row(10)).toEqual([...Array(8).fill(false), true, true]);
    expect(await row(9)).toEqual([...Array(8).fill(false), true]);
  });

  test("hear how long they waited", async () => {
    const { turns, pass } = setUp();
    let waited: number | undefined;
    turns.wait(undefined, (ms) => {
      waited = ms;
    });
    pass(25);
    await nextTurn();
    expect(waited).toBe(25);
  });

  test("pause a long piece of work until its user has a turn again", async () => {
    const { turns, begun, join } = setUp();
    const paused = turns.pause("mallory").then(() => begun.push("m"));
    join("a", "ada");
    expect(begun).toEqual([]);
    await paused;
    expect(begun).toEqual(["m"]);
    await nextTurn();
    expect(begun).toEqual(["m", "a"]);
  });
});
