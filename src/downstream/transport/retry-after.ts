/** The pause that a downstream API asks for, and whether the gateway makes it. */

import { parseRetryAfter } from "../../foundation/retry-after.ts";

/** How often a throttled request is sent at most. */
const MAX_ATTEMPTS = 3;

/** Nothing is done twice by repeating these (RFC 9110 §9.2.2). */
const IDEMPOTENT: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);

/**
 * How long the gateway waits before it repeats a request by itself, ms; undefined when the answer is to be passed on:
 * it does not throttle, came for the third time, names no pause, or one longer than the API's `maxThrottleWaitMs` or what is left of the
 * deadline. A 429 says that nothing was done; a 503 does not, so it is believed for idempotent methods alone.
 */
import type { AnswerHeaders, DownstreamApiOptions } from "../contract.ts";
export function throttlePauseMs(
  { maxThrottleWaitMs }: DownstreamApiOptions,
  answer: {
    /** 1 for the first. */
    readonly attempt: number;
    readonly method: string;
    readonly status: number;
    readonly headers: AnswerHeaders;
    readonly msLeft: number;
    readonly nowMs: number;
  },
): number | undefined {
  const { attempt, method, status, headers, msLeft, nowMs } = answer;
  if (maxThrottleWaitMs === 0 || attempt === MAX_ATTEMPTS) return undefined;
  if (status !== 429 && !(status === 503 && IDEMPOTENT.has(method))) return undefined;
  const field = headers["retry-after"];
  const pauseMs = parseRetryAfter(typeof field === "string" ? field : undefined, nowMs);
  return pauseMs !== undefined && pauseMs <= maxThrottleWaitMs && pauseMs < msLeft ? pauseMs : undefined;
}
