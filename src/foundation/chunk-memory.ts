/** Frees the memory of chunks that have passed, before the engine would. */

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/**
 * How many bytes of bodies may pass between two collections. At half of that the collections cost more than the fresh
 * memory that they save; from twice of that on it is the other way round.
 */
const COLLECT_EVERY_BYTES = 8 * 2 ** 20;

/** Of smaller chunks the objects around them take as much memory as they do, and V8 collects those in time, bytes. */
export const LEAST_COUNTED_BYTES = 2_048;

/**
 * Takes note that a chunk of a body was read from a connection, or has been handed on.
 *
 * node:http and node:net read each chunk into memory of its own, which stays until its JavaScript object is
 * collected. That object is small, so V8 waits: for 32 MiB of chunks in Node 20 and 64 MiB in Node 24, which then
 * collects the whole heap, old generation included, for every 64 MiB that pass. A collection of the young generation
 * alone takes half a millisecond and frees the same.
 */
export const chunkPassed = createChunkMeter({ everyBytes: COLLECT_EVERY_BYTES, collect: collectYoung });

export interface ChunkMeterOptions {
  readonly everyBytes: number;
  readonly collect: () => void;
}

/** Calls `collect` each time that `everyBytes` have passed. One count for all streams, for they share the heap. */
export function createChunkMeter({ everyBytes, collect }: ChunkMeterOptions): (chunk: Uint8Array) => void {
  let passed = 0;
  return ({ length }) => {
    passed += length;
    if (passed < everyBytes) return;
    passed = 0;
    collect();
  };
}

let gc: ((options: { readonly type: "minor" }) => void) | undefined;

function collectYoung(): void {
  gc ??= exposedGc();
  gc({ type: "minor" });
}

/** Not a flag of the start command, so that a gateway embedded in another program is as frugal. */
function exposedGc(): (options: { readonly type: "minor" }) => void {
  try {
    // The one flag that may be set late: it is read when a context is made, and adds `gc` to that alone.
    setFlagsFromString("--expose-gc");
    return runInNewContext("gc");
  } catch {
    // An engine without it collects at its own pace, as it would have anyway.
    return () => {};
  }
}
