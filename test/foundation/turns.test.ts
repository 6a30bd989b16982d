/** Work that arrives together takes turns: by user, two milliseconds at a time, one piece where connections pour in. */

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
    join(name: string, owner: string | undefined, cost = 0) {
      turns.wait(owner, () => {
        begun.push(name);
        time += cost;
      });
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

  test("begin one in each turn for ten milliseconds after two connections were accepted at once", async () => {
    const { turns, join, begun, pass } = setUp();
    turns.accepted();
    expect([turns.isFree(), turns.isFree()]).toEqual([true, true]);
    turns.accepted();
    await nextTurn();
    expect([turns.isFree(), turns.isFree()]).toEqual([true, false]);
    for (const name of ["1", "2", "3", "4"]) join(name, "ada");
    await nextTurn();
    expect(begun).toEqual(["1"]);
    await nextTurn();
    expect(begun).toEqual(["1", "2"]);
    pass(10);
    await nextTurn();
    expect(begun).toEqual(["1", "2", "3", "4"]);
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
