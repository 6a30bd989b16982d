/** Pieces of a body that are kept until it is whole. */

import { describe, expect, test } from "@jest/globals";
import { ByteCollector } from "../../src/foundation/byte-collector.ts";

/** Bytes that tell their place. */
const bytes = (length: number, from = 0) => Buffer.from(Array.from({ length }, (_, at) => (from + at) % 251));

function collected(sizes: readonly number[]) {
  const collector = new ByteCollector();
  let at = 0;
  for (const size of sizes) {
    collector.add(bytes(size, at));
    at += size;
  }
  return { whole: collector.whole(), expected: bytes(at) };
}

describe("collected pieces", () => {
  test.each([
    ["none", []],
    ["a single one", [10]],
    ["single bytes", Array.from({ length: 40_000 }, () => 1)],
    ["small ones that do not fill a block evenly", Array.from({ length: 100 }, () => 1_000)],
    ["large ones among small ones", [5, 70_000, 3, 3, 1_024, 1_023, 16_384, 1, 90_000]],
    ["empty ones", [0, 3, 0, 2_000, 0]],
  ])("of %s are the same bytes in the same order", (_, sizes) => {
    const { whole, expected } = collected(sizes);
    expect(whole.equals(expected)).toBe(true);
  });

  test("keep nothing of small buffers that are changed afterwards", () => {
    const collector = new ByteCollector();
    collector.add(Buffer.from("ab"));
    const reused = Buffer.from("cd");
    collector.add(reused);
    reused.fill("x");
    expect(collector.whole().toString()).toBe("abcd");
  });

  test("of many short bodies take no more memory than a kibibyte for each", () => {
    const before = process.memoryUsage().arrayBuffers;
    const collectors = Array.from({ length: 1_000 }, () => {
      const collector = new ByteCollector();
      for (const text of ["a", "b", "c"]) collector.add(Buffer.from(text));
      return collector;
    });
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(4 * 2 ** 20);
    expect(collectors.map((collector) => collector.whole().toString())).toEqual(collectors.map(() => "abc"));
  });

  test("of one byte each take no more memory than blocks of them", () => {
    const before = process.memoryUsage().arrayBuffers;
    const collector = new ByteCollector();
    for (let piece = 0; piece < 200_000; piece++) collector.add(Buffer.allocUnsafe(1));
    // As objects of their own they would be 200 000; in blocks of 16 KiB they are 13.
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(4 * 2 ** 20);
    expect(collector.whole()).toHaveLength(200_000);
  });
});
