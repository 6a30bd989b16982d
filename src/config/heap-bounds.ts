/** Bounds of the caches against the heap of this process: defaults follow it, and what does not fit is a fault. */

import type { ConfigurationFault } from "../errors.ts";

/** Bounds in bytes; undefined where the file leaves one out. */
export interface ConfiguredBounds {
  /** `exchange.cache.maxBytes`. */
  readonly tokens: number | undefined;
  /** `identity.cache.maxBytes`. */
  readonly verified: number | undefined;
}

export interface CacheBounds {
  readonly tokens: number;
  readonly verified: number;
}

const MEBIBYTE = 2 ** 20;

/** Defaults where the heap is large, bytes, and parts of the heap where it is not. */
const TOKENS = { most: 512 * MEBIBYTE, part: 0.3 };
const VERIFIED = { most: 96 * MEBIBYTE, part: 0.1 };

/**
 * Part of the heap that caches may take together. The rest is for code, requests under way, and the room without
 * which V8 collects garbage all the time.
 */
const CACHES = 0.45;

/**
 * @param heapBytes V8's `heap_size_limit`: it follows the container's memory, or `--max-old-space-size`.
 */
export function boundsFor(
  configured: ConfiguredBounds,
  heapBytes: number,
  faults: ConfigurationFault[],
): CacheBounds {
  const bounds = {
    tokens: configured.tokens ?? Math.min(TOKENS.most, Math.floor(heapBytes * TOKENS.part)),
    verified: configured.verified ?? Math.min(VERIFIED.most, Math.floor(heapBytes * VERIFIED.part)),
  };
  const together = bounds.tokens + bounds.verified;
  if (together <= heapBytes * CACHES) return bounds;
  const problem =
    `the caches may take ${mebibytes(together)} MiB (exchange.cache.maxBytes and identity.cache.maxBytes together), ` +
    `and the heap of this process ends at ${mebibytes(heapBytes)} MiB, of which caches get ${mebibytes(heapBytes * CACHES)} MiB; ` +
    "lower the bounds, leave them out so that they follow the heap, or raise the heap (memory of the container, NODE_OPTIONS=--max-old-space-size)";
  if (configured.tokens !== undefined) faults.push({ path: "exchange.cache.maxBytes", problem });
  else faults.push({ path: "identity.cache.maxBytes", problem });
  return bounds;
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / MEBIBYTE);
}
