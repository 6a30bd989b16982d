import { createHash } from "node:crypto";
import { describe, expect, test } from "@jest/globals";
import { createSlots } from "../../../src/exchange/cache/token-cache.ts";

const digestOf = (text: string | number) => createHash("sha256").update(String(text)).digest("base64url");

/** As `expect(got).toBe(due)`, at a cost that a loop of thousands can bear. */
function same(got: unknown, due: unknown, step: number): void {
  if (got !== due) throw new Error(`step ${step}: ${got} in place of ${due}`);
}

describe("slots", () => {
  test("agree with a Map after any sequence of additions and removals", () => {
    const slots = createSlots(64);
    // By slot, what a Map would hold: the last moves into what was freed.
    const held: { group: number; digest: string; until: number }[] = [];
    let state = 5;
    const random = (below: number) => {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
      return Math.floor((state / 2_147_483_648) * below);
    };
    for (let step = 0; step < 20_000; step += 1) {
      const group = random(3);
      const digest = digestOf(random(40));
      const at = held.findIndex((one) => one.group === group && one.digest === digest);
      same(slots.find(group, digest), at, step);
      if (at < 0 && held.length < 64) {
        same(slots.add(group, digest, step, step), held.length, step);
        held.push({ group, digest, until: step });
      } else if (at >= 0 && random(2) === 0) {
        slots.setUsed(at, true);
        same(slots.find(group, digest), at, step);
      } else if (at >= 0) {
        same(slots.until(at), held[at]?.until, step);
        slots.remove(at);
        const last = held.pop();
        if (last !== undefined && at < held.length) held[at] = last;
      }
      same(slots.size(), held.length, step);
    }
  });

  test.each([
    ["one that differs in its first character", `b${"a".repeat(42)}`],
    ["one that differs in its last character", `${"a".repeat(42)}b`],
    ["one that is shorter", "a".repeat(42)],
    ["one that is longer", "a".repeat(44)],
    ["one whose last but one character spills over into the last", `${"a".repeat(41)}\u0161a`],
    ["the empty one", ""],
  ])("tell a digest from %s", (_, other) => {
    const slots = createSlots(2);
    const first = slots.add(0, "a".repeat(43), 1, 1);
    expect([slots.find(0, other), slots.find(1, "a".repeat(43))]).toEqual([-1, -1]);
    const second = slots.add(0, other, 2, 2);
    slots.setUsed(first, true);
    slots.setUsed(second, true);
    expect([slots.find(0, "a".repeat(43)), slots.find(0, other)]).toEqual([first, second]);
  });

  test("tell a digest from one with a wider character, which would spill over into its neighbour, at any place", () => {
    const digest = "A".repeat(43);
    const wide = Array.from(digest, (_, at) => `${digest.slice(0, at)}\u0141${digest.slice(at + 1)}`);
    const slots = createSlots(1 + wide.length);
    const taken = [digest, ...wide].map((text, at) => {
      expect([at, slots.find(0, text)]).toEqual([at, -1]);
      return slots.add(0, text, 1, 1);
    });
    expect([digest, ...wide].map((text) => slots.find(0, text))).toEqual(taken);
  });

  test("tell digests apart by a single character, and by its highest bit, at any place", () => {
    const slots = createSlots(1 + 2 * 43);
    const base = "a".repeat(43);
    const others = Array.from(base, (_, at) =>
      ["A", "\u00c1"].map((character) => `${base.slice(0, at)}${character}${base.slice(at + 1)}`),
    ).flat();
    const all = [base, ...others];
    const taken = all.map((digest) => {
      expect([digest, slots.find(0, digest)]).toEqual([digest, -1]);
      return slots.add(0, digest, 1, 1);
    });
    expect(all.map((digest) => slots.find(0, digest))).toEqual(taken);
  });

  test.each([
    ["as short as one character", "a"],
    ["of a digest's length and of characters up to the last single byte", "\u00ff".repeat(43)],
  ])("hold a text %s as it is, and not under its digest", (_, text) => {
    const slots = createSlots(1);
    const slot = slots.add(0, text, 1, 1);
    expect([slots.find(0, text), slots.find(0, digestOf(text))]).toEqual([slot, -1]);
  });

  test("keep apart what is said of each slot, and change it as asked", () => {
    const slots = createSlots(3);
    for (const at of [0, 1, 2]) slots.add(at, digestOf(at), 1_000.5 + at, 2_000.5 + at);
    slots.setUsed(1, true);
    slots.setRefreshAt(2, 7.25);
    const said = () =>
      [0, 1, 2].map((at) => [
        slots.find(at, digestOf(at)),
        slots.until(at),
        slots.refreshAt(at),
        slots.used(at),
      ]);
    expect(said()).toEqual([
      [0, 1_000.5, 2_000.5, false],
      [1, 1_001.5, 2_001.5, true],
      [2, 1_002.5, 7.25, false],
    ]);
    slots.setUsed(1, false);
    expect(slots.used(1)).toBe(false);
  });

  test("a slot taken anew is not marked as used, and one that moves keeps its mark", () => {
    const slots = createSlots(2);
    slots.setUsed(slots.add(0, digestOf("a"), 1, 1), true);
    slots.setUsed(slots.add(0, digestOf("b"), 1, 1), true);
    slots.remove(slots.find(0, digestOf("a")));
    expect(slots.used(slots.find(0, digestOf("b")))).toBe(true);
    expect(slots.used(slots.add(0, digestOf("c"), 1, 1))).toBe(false);
  });

  test("more than the capacity is refused", () => {
    const slots = createSlots(1);
    slots.add(0, digestOf("a"), 1, 1);
    expect(() => slots.add(0, digestOf("b"), 1, 1)).toThrow("no slot is free");
  });

  /** Reads of the records while `work` runs, counted where the platform does them and not by the slots themselves. */
  function reads(work: () => void): number {
    const original = DataView.prototype.getInt32;
    let count = 0;
    DataView.prototype.getInt32 = function (this: DataView, ...parameters) {
      count += 1;
      return Reflect.apply(original, this, parameters);
    };
    try {
      work();
      return count;
    } finally {
      DataView.prototype.getInt32 = original;
    }
  }

  test("a find reads one record, or a second one now and then, however many slots are taken and have changed", () => {
    const cost = (count: number) => {
      const slots = createSlots(count);
      const digests = Array.from({ length: count }, (_, at) => digestOf(at));
      for (const digest of digests) slots.add(0, digest, 1, 1);
      // Removals leave no gap that later finds would have to pass.
      for (const digest of digests) slots.remove(slots.find(0, digest));
      for (const digest of digests) slots.add(0, digest, 1, 1);
      const oneRecord = 12;
      const found = reads(() => {
        for (const [at, digest] of digests.entries()) same(slots.find(0, digest), at, at);
      });
      const missed = reads(() => {
        for (const [at, digest] of digests.entries()) same(slots.find(1, digest), -1, at);
      });
      return [found / count / oneRecord, missed / count / oneRecord];
    };
    // Linear probing in a table half full: 1.5 for what is there, 2.5 places for what is not (Knuth, TAOCP vol. 3, 6.4).
    for (const count of [16, 1_024, 16_384]) {
      const [found = 0, missed = 0] = cost(count);
      expect([count, found >= 1, found < 2, missed < 3]).toEqual([count, true, true, true]);
    }
  });
});
