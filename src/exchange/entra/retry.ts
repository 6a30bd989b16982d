/** When one more attempt is worth it, and how many the authority can be asked to bear. */

import type { Refusal } from "./refusals.ts";

export interface RetryBudget {
  /** Counts a first attempt. */
  earn(): void;
  /** Whether one more attempt may be made; takes it from the budget. */
  spend(): boolean;
}

/** Extra load that retries may add over time, as a share of first attempts. */
const SHARE = 0.1;
/** Saved up at most, and at the start: so that a quiet gateway may retry at all. */
const MOST_SAVED = 10;
/** A `Retry-After` beyond this is no hiccup: the caller is refused instead of kept waiting. Seconds. */
const LONGEST_PAUSE_SECONDS = 2;
const PAUSE_MS = 50;
const JITTER_MS = 100;

export function createRetryBudget(): RetryBudget {
  let saved = MOST_SAVED;
  return {
    earn() {
      saved = Math.min(MOST_SAVED, saved + SHARE);
    },
    spend() {
      if (saved < 1) return false;
      saved -= 1;
      return true;
    },
  };
}

/** Milliseconds until a retry is due, or undefined when this refusal is to be passed on instead. */
export function pauseBeforeRetry({ transient, error }: Refusal, leftMs: number): number | undefined {
  const { retryAfterSeconds = 0 } = error;
  if (!transient || retryAfterSeconds > LONGEST_PAUSE_SECONDS) return undefined;
  const pauseMs = retryAfterSeconds * 1000 + PAUSE_MS + Math.random() * JITTER_MS;
  // Half of what is left stays for the attempt itself.
  return pauseMs * 2 < leftMs ? pauseMs : undefined;
}
