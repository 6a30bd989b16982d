import { Buffer } from "node:buffer";
import { describe, expect, test } from "@jest/globals";
import { chunkPassed, createChunkMeter } from "../../src/foundation/chunk-memory.ts";

const MIB = 2 ** 20;

describe("chunks that have passed", () => {
  test("are collected each time that so many bytes of them did, whichever stream they were of", () => {
    let collections = 0;
    const meter = createChunkMeter({ everyBytes: 100, collect: () => collections++ });
    const counts = [40, 59, 1, 99, 250, 99].map((length) => {
      meter(Buffer.alloc(length));
      return collections;
    });
    expect(counts).toEqual([0, 0, 1, 1, 2, 2]);
  });

  test("do not pile up: of a quarter of a gigabyte there are never 24 MiB at once", () => {
    const { arrayBuffers: before } = process.memoryUsage();
    let peak = 0;
    for (let passed = 0; passed < 256 * MIB; passed += 65_536) {
      chunkPassed(Buffer.allocUnsafeSlow(65_536));
      peak = Math.max(peak, process.memoryUsage().arrayBuffers);
    }
    expect((peak - before) / MIB).toBeLessThan(24);
  });
});
