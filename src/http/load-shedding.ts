/** Turns requests away while the event loop lags: an answer that comes too late helps no caller, and makes the next one later still. */

import type { RequestListener } from "node:http";
import { GatewayError } from "../errors.ts";
import type { LoadEvent, Overload } from "./contract.ts";

export interface LoadSheddingOptions {
  /** Lag of the event loop at which shedding begins, ms; 0 never sheds. */
  readonly maxEventLoopLagMs: number;
  /** Answers a request with the refusal. */
  readonly refuseWith: (refusal: GatewayError) => RequestListener;
  /** The worst lag of the event loop since the last call, ms. Default: how late a timer is. */
  readonly sampleLag?: (() => number) | undefined;
  readonly onEvent: (event: LoadEvent) => void;
}

export interface LoadShedding extends Overload {
  /** The same load, for a listener that phrases its refusals in another way. */
  sheddingWith(refuseWith: LoadSheddingOptions["refuseWith"]): Overload;
  /** Of the last window, ms. */
  lagMs(): number;
  close(): void;
}

/** How often the lag is looked at, ms. */
const WINDOW_MS = 500;
/**
 * A request may wait for its turn this many times as long as the event loop may lag: a burst of callers whose tokens are
 * not known yet, as after a restart, is served, and those behind a flood are asked to come again.
 */
const LAGS_TO_WAIT = 4;
/** A single stall is over when it is seen, and turning requests away would not have shortened it. */
const WINDOWS_TO_BEGIN = 2;
/** How often the event loop is asked to be on time, ms. */
const RESOLUTION_MS = 20;

/** Undefined where it is switched off. */
export function createLoadShedding(options: LoadSheddingOptions): LoadShedding | undefined {
  const { maxEventLoopLagMs, onEvent } = options;
  if (maxEventLoopLagMs === 0) return undefined;
  const lag = options.sampleLag === undefined ? measureLag() : { sample: options.sampleLag, close() {} };
  // Waits are real time, as the lag is where it is measured.
  const longestWaitMs =
    options.sampleLag === undefined ? LAGS_TO_WAIT * maxEventLoopLagMs : Number.POSITIVE_INFINITY;
  const load = { isShedding: false, longestWaitMs };
  let windowsOver = 0;
  let lagMs = 0;

  const timer = setInterval(() => {
    lagMs = lag.sample();
    windowsOver = lagMs >= maxEventLoopLagMs ? windowsOver + 1 : 0;
    if (!load.isShedding && windowsOver >= WINDOWS_TO_BEGIN) {
      load.isShedding = true;
      onEvent({ type: "shedding_began", lagMs });
    }
    // Half, so that a lag about the threshold does not switch to and fro.
    if (load.isShedding && lagMs < maxEventLoopLagMs / 2) {
      load.isShedding = false;
      onEvent({ type: "shedding_ended", lagMs });
    }
  }, WINDOW_MS).unref();

  const sheddingWith: LoadShedding["sheddingWith"] = (refuseWith) => {
    const shedding = (refusal: GatewayError): RequestListener => {
      const refuse = refuseWith(refusal);
      return (request, response) => {
        onEvent(SHED);
        refuse(request, response);
      };
    };
    return { load, shed: shedding(eventLoopLags()), refuseToWait: shedding(headsWait()) };
  };
  return {
    ...sheddingWith(options.refuseWith),
    sheddingWith,
    lagMs: () => lagMs,
    close() {
      clearInterval(timer);
      lag.close();
    },
  };
}

function eventLoopLags(): GatewayError {
  return new GatewayError("overloaded", {
    detail: "This instance has more to do than it can do in time. Send the request again.",
    reason: "event_loop_lag",
    retryAfterSeconds: 1,
  });
}

function headsWait(): GatewayError {
  return new GatewayError("overloaded", {
    detail: "Requests that wait for their turn hold as much as they may. Send the request again.",
    reason: "heads_wait",
    retryAfterSeconds: 1,
  });
}

const SHED: LoadEvent = { type: "shed" };

/**
 * Not `monitorEventLoopDelay`: after its `reset` the first interval is not recorded, and where every turn of the event
 * loop outlasts a window, that is each one there is.
 */
function measureLag() {
  let worstMs = 0;
  let last = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    worstMs = Math.max(worstMs, now - last - RESOLUTION_MS);
    last = now;
  }, RESOLUTION_MS).unref();
  return {
    sample() {
      const sampled = worstMs;
      worstMs = 0;
      return sampled;
    },
    close: () => clearInterval(timer),
  };
}
