/** The pause that a downstream API asks for (RFC 9110 §10.2.3). */

/** Nothing is done twice by repeating these (RFC 9110 §9.2.2). */
const IDEMPOTENT: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);

/**
 * How long the gateway waits before it repeats a request by itself, ms; undefined when the answer is to be passed on:
 * it does not throttle, names no pause, or one longer than the API's `maxThrottleWaitMs` or what is left of the
 * deadline. A 429 says that nothing was done; a 503 does not, so it is believed for idempotent methods alone.
 */
import type { AnswerHeaders, DownstreamApiOptions } from "../contract.ts";
export function throttlePauseMs(
  { maxThrottleWaitMs = 0 }: DownstreamApiOptions,
  answer: {
    readonly method: string;
    readonly status: number;
    readonly headers: AnswerHeaders;
    readonly msLeft: number;
    readonly nowMs: number;
  },
): number | undefined {
  const { method, status, headers, msLeft, nowMs } = answer;
  if (maxThrottleWaitMs === 0) return undefined;
  if (status !== 429 && !(status === 503 && IDEMPOTENT.has(method))) return undefined;
  const field = headers["retry-after"];
  const pauseMs = retryAfterMs(typeof field === "string" ? field : undefined, nowMs);
  return pauseMs !== undefined && pauseMs <= maxThrottleWaitMs && pauseMs < msLeft ? pauseMs : undefined;
}

/** RFC 9110 §5.6.7 IMF-fixdate, the one form that may still be generated. */
const HTTP_DATE = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/;

/** Ms to wait as of `nowMs` (since the epoch), never negative; undefined when the field is absent or means nothing. */
export function retryAfterMs(value: string | undefined, nowMs: number): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000;
  return HTTP_DATE.test(value) ? Math.max(0, Date.parse(value) - nowMs) : undefined;
}
