/** Counts requests in windows of time, alone or together with other processes: the only file that knows rate-limiter-flexible. */

import RateLimiterMemory from "rate-limiter-flexible/lib/RateLimiterMemory.js";
import RateLimiterRedis from "rate-limiter-flexible/lib/RateLimiterRedis.js";
import RateLimiterRes from "rate-limiter-flexible/lib/RateLimiterRes.js";
import type { SharedCounters } from "../redis/contract.ts";
import type { RateLimit, RateLimitEvent } from "./contract.ts";

/** The window that a request was counted in. */
export interface RequestWindow {
  /** Whether the request was one too many. */
  readonly exceeded: boolean;
  /** Requests that still fit. */
  readonly remaining: number;
  /** Until its end, ms. */
  readonly resetMs: number;
}

export interface RequestCounterOptions {
  /** Without it, each process counts by itself. */
  readonly counters?: SharedCounters | undefined;
  /** Windows that are open at once in this process, 350 bytes each; for tests. */
  readonly maxWindows?: number;
  readonly onEvent: (event: RateLimitEvent) => void;
}

/** Counts one request of the subject. Never rejects. */
export type CountRequest = (subject: string) => Promise<RequestWindow>;

const MAX_WINDOWS = 100_000;

/** Subjects past their limit that are refused without asking Redis again. The package walks all of them for each new one. */
const MOST_BLOCKED = 2_000;

const UNAVAILABLE = new Error("the shared counter did not answer");

export function createRequestCounter(limit: RateLimit, options: RequestCounterOptions): CountRequest {
  const alone = countAlone(limit, options);
  return options.counters === undefined ? alone : countTogether(limit, options.counters, alone, options);
}

function countAlone(
  { requests, perSeconds }: RateLimit,
  { maxWindows = MAX_WINDOWS, onEvent }: RequestCounterOptions,
): CountRequest {
  const limiter = new RateLimiterMemory({ points: requests, duration: perSeconds, keyPrefix: "" });
  // A ring of what is open. All windows are equally long, so they end in the order in which they began.
  const subjects: string[] = [];
  const ends: number[] = [];
  let first = 0;
  let open = 0;

  function opened(subject: string): void {
    const now = Date.now();
    while (open > 0) {
      const isOver = (ends[first] ?? 0) <= now;
      if (!isOver && open < maxWindows) break;
      if (!isOver) {
        limiter.delete(subjects[first] ?? "");
        onEvent({ type: "window_forgotten" });
      }
      first = (first + 1) % maxWindows;
      open -= 1;
    }
    const place = (first + open) % maxWindows;
    subjects[place] = subject;
    ends[place] = now + perSeconds * 1000;
    open += 1;
  }

  return async (subject) => {
    const result = await outcome(limiter.consume(subject));
    if (result.isFirstInDuration) opened(subject);
    return windowOf(result, requests);
  };
}

function countTogether(
  { requests, perSeconds }: RateLimit,
  counters: SharedCounters,
  alone: CountRequest,
  { onEvent }: RequestCounterOptions,
): CountRequest {
  const limiter = new RateLimiterRedis({
    // The connection, its time budget and its breaker are the shared tier's. The package speaks to it as it would to
    // the client of node-redis, whose `eval` is the narrowest way in.
    storeClient: {
      eval: async (
        script: string,
        sent: { readonly keys: readonly [string]; readonly arguments: string[] },
      ) => {
        const answer = await counters.run(script, sent.keys[0], sent.arguments);
        // Anything else than two numbers would compare as "within the limit".
        if (!Array.isArray(answer) || answer.length !== 2 || !answer.every(Number.isInteger))
          throw UNAVAILABLE;
        return answer;
      },
    },
    useRedisPackage: true,
    points: requests,
    duration: perSeconds,
    keyPrefix: "",
    // Who has used up the window is refused by this process alone until its end.
    inMemoryBlockOnConsumed: requests,
  });
  let blocked = 0;

  return async (subject) => {
    try {
      const result = await outcome(limiter.consume(counters.nameOf(subject)));
      if (result.consumedPoints >= requests && ++blocked > MOST_BLOCKED) {
        limiter.deleteInMemoryBlockedAll();
        blocked = 0;
      }
      return windowOf(result, requests);
    } catch (error) {
      if (error !== UNAVAILABLE) throw error;
      // Not the package's `insurance`, whose windows have no bound.
      onEvent({ type: "counted_alone" });
      return alone(subject);
    }
  };
}

/** The package rejects with the window of a request that is one too many, and with an Error for everything else. */
function outcome(consumed: Promise<RateLimiterRes>): Promise<RateLimiterRes> {
  return consumed.catch((rejected: unknown) => {
    if (rejected instanceof RateLimiterRes) return rejected;
    throw rejected;
  });
}

/** A subject that is refused from memory has not consumed: then the package leaves the count at 0. */
function windowOf({ consumedPoints, remainingPoints, msBeforeNext }: RateLimiterRes, requests: number) {
  const exceeded = consumedPoints === 0 || consumedPoints > requests;
  return { exceeded, remaining: remainingPoints, resetMs: Math.max(0, msBeforeNext) };
}
