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

  test("of users who wait for little come first, then one at least of a user who waits for much or of a caller who is not known", async () => {
    const { join, begun } = setUp();
    for (let index = 0; index < 14; index++) join("m", "mallory", 1);
    for (const name of ["x1", "x2"]) join(name, undefined, 1);
    for (const name of ["a1", "a2", "a3"]) join(name, "ada", 1);
    join("g1", "grace", 1);
    const turn = async () => {
      begun.length = 0;
      await nextTurn();
      return [...begun];
    };
    expect(await turn()).toEqual(["a1", "g1", "x1"]);
    expect(await turn()).toEqual(["a2", "a3", "m"]);
    expect(await turn()).toEqual(["x2", "m"]);
    expect(await turn()).toEqual(["m", "m"]);
    join("a4", "ada", 1);
    expect(await turn()).toEqual(["a4", "m"]);
  });

  test("of one user are few again when eight of them are left, and take turns with those of others from then on", async () => {
    const { join, begun } = setUp();
    for (let index = 0; index < 10; index++) join("m", "mallory", 2);
    for (let index = 0; index < 9; index++) join("a", "ada", 2);
    for (let index = 0; index < 6; index++) await nextTurn();
    expect(begun).toEqual(["m", "a", "a", "m", "a", "m", "a"]);
  });

  test("of callers who are not known yet begin one in each turn", async () => {
    const { join, begun } = setUp();
    for (const name of ["x1", "x2", "x3"]) join(name, undefined);
    for (const expected of [["x1"], ["x1", "x2"], ["x1", "x2", "x3"]]) {
      await nextTurn();
      expect(begun).toEqual(expected);
    }
  });

  test("of callers who are not known yet begin by whom they claim to be in turn, and between two of these the oldest of all", async () => {
    const { join, begun } = setUp();
    for (const name of ["m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8"]) join(name, undefined, 0, "mallory");
    join("a1", undefined, 0, "ada");
    join("-", undefined);
    join("a2", undefined, 0, "ada");
    while (begun.length < 11) await nextTurn();
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

  test("begin one piece in each turn of such a row: of users who wait for little, and one of the others in thirty-two turns", async () => {
    const { turns, join, begun } = setUp();
    turns.accepted();
    await nextTurn();
    for (let index = 0; index < 20; index++) join("m", "mallory");
    for (let index = 0; index < 20; index++) join("x", undefined);
    for (const name of ["a1", "a2", "a3"]) join(name, "ada");
    const perTurn: string[] = [];
    for (let turn = 0; turn < 66; turn++) {
      turns.accepted();
      await nextTurn();
      perTurn.push(begun.splice(0).join());
    }
    const none = Array<string>(31).fill("");
    expect(perTurn).toEqual(["x", "a1", "a2", "a3", ...none.slice(3), "m", ...none, "x", ""]);
    await nextTurn();
    expect(begun.length).toBeGreaterThan(10);
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
