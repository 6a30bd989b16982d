import { describe, expect, test } from "@jest/globals";
import { createBoundedMap } from "../../src/foundation/bounded-map.ts";

describe("a bounded map", () => {
  test("never holds more than its bound, and the entry put longest ago leaves first", () => {
    const evicted: number[] = [];
    const map = createBoundedMap<number>({ maxEntries: 3, onEvicted: (value) => evicted.push(value) });
    for (let value = 0; value < 10; value += 1) {
      map.set(`key-${value}`, value);
      expect(map.size()).toBeLessThanOrEqual(3);
    }
    expect(evicted).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(["key-6", "key-7", "key-8", "key-9"].map((key) => map.get(key, 0))).toEqual([undefined, 7, 8, 9]);
  });

  test("an entry put anew counts as the youngest", () => {
    const map = createBoundedMap<string>({ maxEntries: 2 });
    map.set("a", "first");
    map.set("b", "second");
    map.set("a", "third");
    map.set("c", "fourth");
    expect(["a", "b", "c"].map((key) => map.get(key, 0))).toEqual(["third", undefined, "fourth"]);
  });

  test("an entry is there until its end and not at it", () => {
    const map = createBoundedMap<string>({ maxEntries: 2 });
    map.set("a", "value", 1_000);
    expect([map.get("a", 999), map.get("a", 1_000), map.size()]).toEqual(["value", undefined, 0]);
  });

  test("an end that was put later stands in place of the earlier one", () => {
    const map = createBoundedMap<string>({ maxEntries: 2 });
    map.set("a", "value", 1_000);
    map.set("a", "value", 2_000);
    expect(map.get("a", 1_500)).toBe("value");
  });

  test("a bound of nothing keeps nothing", () => {
    const map = createBoundedMap<string>({ maxEntries: 0 });
    map.set("a", "value");
    expect([map.get("a", 0), map.size()]).toEqual([undefined, 0]);
  });

  test("agrees with a plain model after any sequence of operations", () => {
    const map = createBoundedMap<number>({ maxEntries: 8 });
    let model: [key: string, value: number][] = [];
    let state = 11;
    const random = (below: number) => {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
      return Math.floor((state / 2_147_483_648) * below);
    };
    for (let step = 0; step < 5_000; step += 1) {
      const key = `key-${random(16)}`;
      const action = random(20);
      if (action < 12) {
        map.set(key, step);
        model = [...model.filter(([other]) => other !== key), [key, step] as [string, number]].slice(-8);
      } else if (action < 18) {
        map.delete(key);
        model = model.filter(([other]) => other !== key);
      } else if (action === 18 && random(20) === 0) {
        map.clear();
        model = [];
      }
      expect(map.get(key, 0)).toBe(model.find(([other]) => other === key)?.[1]);
      expect(map.size()).toBe(model.length);
    }
  });
});
