import { beforeEach, describe, expect, test } from "@jest/globals";
import { createRefetchBudget, type RefetchBudget } from "../../src/identity/refetch-budget.ts";

const SPACING = 1_000;
const COOLDOWN = 60_000;
const READS = 3;

let now: number;
let budget: RefetchBudget;
beforeEach(() => {
  now = 1_000_000;
  budget = createRefetchBudget(() => now, {
    unknownKeySpacingMs: SPACING,
    unknownKeyCooldownMs: COOLDOWN,
    unknownKeyReads: READS,
  });
});

/** Uses the ordinary budget up with ids that come once. */
function flood(): void {
  for (let read = 0; read < READS; read += 1) {
    expect(budget.allows(`flood-${read}`, "mallory")).toBe(true);
    now += SPACING;
  }
  expect(budget.allows("one more", "mallory")).toBe(false);
}

describe("reads for unknown key ids", () => {
  test("follow each other at their spacing, not sooner", () => {
    expect(budget.allows("a", "s")).toBe(true);
    now += SPACING - 1;
    expect(budget.allows("b", "s")).toBe(false);
    now += 1;
    expect(budget.allows("b", "s")).toBe(true);
  });

  test("are as many as the budget holds, which regains one in each period", () => {
    const began = now;
    flood();
    now = began + COOLDOWN - 1;
    expect(budget.allows("x", "mallory")).toBe(false);
    now += 1;
    expect(budget.allows("x", "mallory")).toBe(true);
    now += SPACING;
    expect(budget.allows("y", "mallory")).toBe(false);
    now = began + 3 * COOLDOWN;
    for (const id of ["y", "z"]) {
      expect(budget.allows(id, "m")).toBe(true);
      now += SPACING;
    }
    expect(budget.allows("w", "m")).toBe(false);
  });

  test("are no more than the budget after a long time", () => {
    flood();
    now += 100 * COOLDOWN;
    flood();
  });

  test("cost nothing where they brought the key", () => {
    for (let read = 0; read < 3 * READS; read += 1) {
      expect(budget.allows(`rollover-${read}`, "ann")).toBe(true);
      budget.found();
      now += SPACING;
    }
    flood();
  });

  test("give back what they took and no more, where they brought the key", () => {
    for (const id of ["a", "b"]) {
      expect(budget.allows(id, "ann")).toBe(true);
      now += SPACING;
    }
    budget.found();
    for (const id of ["c", "d"]) {
      expect(budget.allows(id, "ann")).toBe(true);
      now += SPACING;
    }
    expect(budget.allows("e", "ann")).toBe(false);
  });

  test("that brought keys do not make the budget larger than it is", () => {
    budget.found();
    budget.found();
    flood();
  });

  test("are not held up by a clock that was set back", () => {
    flood();
    now -= 10 * COOLDOWN;
    expect(budget.allows("a", "s")).toBe(true);
  });

  test("without a cooldown are held up by the spacing alone", () => {
    budget = createRefetchBudget(() => now, {
      unknownKeySpacingMs: SPACING,
      unknownKeyCooldownMs: 0,
      unknownKeyReads: READS,
    });
    for (let read = 0; read < 3 * READS; read += 1) {
      expect(budget.allows(`id-${read}`, "s")).toBe(true);
      now += SPACING;
    }
  });
});

test("a budget without a cooldown is whole again at once, and one of a millisecond regains one in each", () => {
  const timings = { unknownKeySpacingMs: 0, unknownKeyReads: READS };
  const whole = createRefetchBudget(() => now, { ...timings, unknownKeyCooldownMs: 0 });
  for (let read = 0; read < 3 * READS; read += 1)
    expect([whole.allows(`id-${read}`, "s"), whole.waitMs()]).toEqual([true, 0]);
  const slow = createRefetchBudget(() => now, { ...timings, unknownKeyCooldownMs: 1 });
  for (let read = 0; read < READS; read += 1) slow.allows(`id-${read}`, "s");
  now += 1;
  expect([slow.allows("next", "s"), slow.allows("too many", "s"), slow.waitMs()]).toEqual([true, false, 1]);
});

test("reads without a spacing are as many as the budget holds, at one moment, too", () => {
  budget = createRefetchBudget(() => now, {
    unknownKeySpacingMs: 0,
    unknownKeyCooldownMs: COOLDOWN,
    unknownKeyReads: READS,
  });
  expect(Array.from({ length: READS + 1 }, (_, id) => budget.allows(`id-${id}`, "s"))).toEqual([
    ...Array(READS).fill(true),
    false,
  ]);
});

describe("in a flood of ids", () => {
  test("an id that three senders bring is read for, from a budget of its own", () => {
    flood();
    expect(["ann", "bob", "bob", "cid"].map((sender) => budget.allows("next key", sender))).toEqual([
      false,
      false,
      false,
      true,
    ]);
  });

  test("that budget is as large as the other one", () => {
    flood();
    const bring = (id: string) => ["ann", "bob", "cid"].map((sender) => budget.allows(id, sender)).at(-1);
    for (let read = 0; read < READS; read += 1) {
      expect(bring(`key-${read}`)).toBe(true);
      now += SPACING;
    }
    expect(bring("one more")).toBe(false);
  });

  test("a read that brought the key gives back what it took, to the budget that it took it from", () => {
    flood();
    const bring = (id: string) => ["ann", "bob", "cid"].map((sender) => budget.allows(id, sender)).at(-1);
    for (let read = 0; read < 3 * READS; read += 1) {
      expect(bring(`key-${read}`)).toBe(true);
      budget.found();
      now += SPACING;
    }
    // Nothing went to the ordinary one.
    expect(budget.allows("x", "mallory")).toBe(false);
  });

  test("senders gather anew after a read for their id", () => {
    flood();
    for (const sender of ["ann", "bob", "cid"]) budget.allows("key", sender);
    now += SPACING;
    expect(["ann", "bob", "cid"].map((sender) => budget.allows("key", sender))).toEqual([false, false, true]);
  });

  test("senders are told apart by their first 128 characters", () => {
    flood();
    const long = "s".repeat(128);
    expect(["1", "2", "3"].map((end) => budget.allows("key", long + end))).toEqual([false, false, false]);
    const shorter = "s".repeat(127);
    expect(["1", "2"].map((end) => budget.allows("key", shorter + end)).at(-1)).toBe(true);
  });

  test("ids are followed up to 128 characters", () => {
    flood();
    const bring = (id: string) => ["ann", "bob", "cid"].map((sender) => budget.allows(id, sender)).at(-1);
    expect(bring("k".repeat(129))).toBe(false);
    expect(bring("k".repeat(128))).toBe(true);
  });

  test("an id that many bring is not displaced by a crowd of ids that come once", () => {
    flood();
    budget.allows("key", "ann");
    budget.allows("key", "bob");
    for (let id = 0; id < 300; id += 1) budget.allows(`crowd-${id}`, "mallory");
    expect(budget.allows("key", "cid")).toBe(true);
  });

  test("an id that came once is displaced by 256 others, and gathers anew", () => {
    flood();
    // Ids of the flood that were not read for are followed as well.
    budget.allows("key", "ann");
    for (let id = 0; id < 300; id += 1) budget.allows(`crowd-${id}`, "mallory");
    expect(["bob", "cid"].map((sender) => budget.allows("key", sender))).toEqual([false, false]);
  });

  test("an id is not followed while as many others as there is room for came more often", () => {
    flood();
    for (let id = 0; id < 256; id += 1)
      for (let arrival = 0; arrival < 3; arrival += 1) budget.allows(`often-${id}`, "mallory");
    expect(["ann", "bob", "cid", "dan"].map((sender) => budget.allows("key", sender))).toEqual([
      false,
      false,
      false,
      true,
    ]);
  });

  test("no id is displaced before 256 are followed", () => {
    flood();
    budget.allows("key", "ann");
    // One more is followed already: the last of the flood.
    for (let id = 0; id < 254; id += 1) budget.allows(`crowd-${id}`, "mallory");
    expect(["bob", "cid"].map((sender) => budget.allows("key", sender))).toEqual([false, true]);
  });
});

describe("the wait that callers are told of", () => {
  test("is none while there is budget and the spacing is over", () => {
    expect(budget.waitMs()).toBe(0);
    budget.allows("a", "s");
    now += SPACING;
    expect(budget.waitMs()).toBe(0);
  });

  test("is what is left of the spacing", () => {
    budget.allows("a", "s");
    now += 300;
    expect(budget.waitMs()).toBe(SPACING - 300);
  });

  test("is what is left until the budget regains one", () => {
    const began = now;
    flood();
    expect(budget.waitMs()).toBe(began + COOLDOWN - now);
    now = began + COOLDOWN;
    expect(budget.waitMs()).toBe(0);
  });

  test("is no longer for a clock that was set back", () => {
    budget.allows("a", "s");
    now -= 5_000;
    expect(budget.waitMs()).toBe(SPACING);
    now += 5_000 + SPACING;
    for (let read = 1; read < READS; read += 1) {
      budget.allows(`flood-${read}`, "mallory");
      now += SPACING;
    }
    now -= 10 * COOLDOWN;
    expect(budget.waitMs()).toBe(SPACING);
  });
});
