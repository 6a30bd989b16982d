/** Bounds of the caches follow the heap. */

import { describe, expect, test } from "@jest/globals";
import { boundsFor, type ConfiguredBounds } from "../../src/config/heap-bounds.ts";
import type { ConfigurationFault } from "../../src/errors.ts";

const MIB = 2 ** 20;

function bounds(configured: Partial<ConfiguredBounds>, heapMib: number) {
  const faults: ConfigurationFault[] = [];
  const found = boundsFor({ tokens: undefined, verified: undefined, ...configured }, heapMib * MIB, faults);
  return { ...found, faults };
}

describe("bounds that the file leaves out", () => {
  test("are those of the documentation where the heap is large", () => {
    expect(bounds({}, 4_144)).toEqual({ tokens: 512 * MIB, verified: 96 * MIB, faults: [] });
  });

  test.each([64, 195, 243, 304, 512, 1_024, 2_048])("fit into a heap of %d MiB", (heapMib) => {
    const { tokens, verified, faults } = bounds({}, heapMib);
    expect(faults).toEqual([]);
    expect(tokens + verified).toBeLessThanOrEqual(0.4 * heapMib * MIB);
    expect(tokens).toBeGreaterThan(0.1 * heapMib * MIB);
  });
});

describe("bounds that the file names", () => {
  test("are taken as they are when they fit", () => {
    expect(bounds({ tokens: 64 * MIB, verified: 16 * MIB }, 304)).toEqual({
      tokens: 64 * MIB,
      verified: 16 * MIB,
      faults: [],
    });
  });

  test.each<[string, Partial<ConfiguredBounds>, string]>([
    ["delegated tokens alone", { tokens: 512 * MIB }, "exchange.cache.maxBytes"],
    ["verified tokens alone", { verified: 300 * MIB }, "identity.cache.maxBytes"],
    [
      "both together, of which each would fit",
      { tokens: 100 * MIB, verified: 100 * MIB },
      "exchange.cache.maxBytes",
    ],
  ])("are a fault when they do not fit: %s", (_, configured, path) => {
    const { faults } = bounds(configured, 304);
    expect(faults.map((fault) => fault.path)).toEqual([path]);
  });

  test("are a fault that names what was asked for, where the heap ends, and what caches get of it", () => {
    const [fault] = bounds({ tokens: 512 * MIB }, 304).faults;
    expect(fault?.problem).toMatch(/may take 542 MiB .* ends at 304 MiB, of which caches get 137 MiB/);
    expect(fault?.problem).toContain("--max-old-space-size");
  });

  test("fit to the byte, and not with one more", () => {
    const most = Math.floor(0.45 * 304 * MIB);
    expect(bounds({ tokens: most - 16 * MIB, verified: 16 * MIB }, 304).faults).toEqual([]);
    expect(bounds({ tokens: most - 16 * MIB + 1, verified: 16 * MIB }, 304).faults).toHaveLength(1);
  });
});
