/** How often a caller of the local API may pass by the token cache: each time is a request to Entra, whose throttling hits every user. */

import { createBoundedMap } from "../foundation/bounded-map.ts";

/** Once in so long for one assertion, ms. */
const ONCE_IN_MS = 30_000;
/** Assertions that are remembered; past it the oldest is forgotten, which costs one request to Entra too many. */
const MOST_REMEMBERED = 50_000;

export interface Freshness {
  /** Takes note of a request past the cache, where there was none for so long; else when, and with which claims. */
  pass(
    assertion: string,
    claims: string | undefined,
  ): { readonly at: number; readonly claims: string | undefined } | undefined;
  /** Seconds until the next may pass. */
  waitSeconds(at: number): number;
}

export function createFreshness(now: () => number): Freshness {
  const passed = createBoundedMap<{ readonly at: number; readonly claims: string | undefined }>({
    maxEntries: MOST_REMEMBERED,
  });
  return {
    pass(assertion, claims) {
      const at = now();
      const earlier = passed.get(assertion, at);
      if (earlier !== undefined) return earlier;
      passed.set(assertion, { at, claims }, at + ONCE_IN_MS);
      return undefined;
    },
    waitSeconds: (at) => Math.max(1, Math.ceil((at + ONCE_IN_MS - now()) / 1000)),
  };
}
