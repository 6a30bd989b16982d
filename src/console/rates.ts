/** Fifteen minutes of rates and percentiles, in buckets of ten seconds: counting costs a few additions a request. */

const BUCKET_MS = 10_000;
const BUCKETS = 90;
/** Upper bounds of times, ms. */
const BOUNDS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000];

interface Bucket {
  /** Number of its ten seconds since the epoch. */
  slot: number;
  requests: number;
  refused: number;
  readonly times: Uint32Array;
}

export interface ShownRate {
  readonly at: number;
  readonly requests: number;
  readonly refused: number;
  /** Upper bounds of the times within which half and 95 of 100 requests ended, ms. */
  readonly p50: number;
  readonly p95: number;
}

export function createRates() {
  const buckets = Array.from(
    { length: BUCKETS },
    (): Bucket => ({ slot: -1, requests: 0, refused: 0, times: new Uint32Array(BOUNDS.length + 1) }),
  );

  return {
    /** @param at Milliseconds since the epoch. */
    count(at: number, ms: number, isRefused: boolean): void {
      const slot = Math.floor(at / BUCKET_MS);
      const bucket = buckets[slot % BUCKETS] as Bucket;
      if (bucket.slot !== slot) {
        bucket.slot = slot;
        bucket.requests = 0;
        bucket.refused = 0;
        bucket.times.fill(0);
      }
      bucket.requests += 1;
      if (isRefused) bucket.refused += 1;
      let index = 0;
      while (index < BOUNDS.length && ms > (BOUNDS[index] as number)) index += 1;
      bucket.times[index] = (bucket.times[index] as number) + 1;
    },

    /** The oldest first; ten seconds without a request are left out. */
    summary(at: number): readonly ShownRate[] {
      const oldest = Math.floor(at / BUCKET_MS) - BUCKETS;
      return buckets
        .filter(({ slot }) => slot > oldest)
        .toSorted((one, other) => one.slot - other.slot)
        .map(({ slot, requests, refused, times }) => ({
          at: slot * BUCKET_MS,
          requests,
          refused,
          p50: bound(times, requests * 0.5),
          p95: bound(times, requests * 0.95),
        }));
    },
  };
}

/** Shown for what took longer than the last bound, ms. */
const PAST_ALL_MS = 60_000;

function bound(times: Uint32Array, rank: number): number {
  let seen = 0;
  for (const [index, count] of times.entries()) {
    seen += count;
    if (seen >= rank) return BOUNDS[index] ?? PAST_ALL_MS;
  }
  return PAST_ALL_MS;
}
