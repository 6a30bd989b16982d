/** How often a recurring event may be logged: one line in an interval, and how many events the line stands for. */

export interface LogThrottle {
  /**
   * Undefined while the interval of the last line runs. Otherwise the number of events that went without a line since
   * then, 0 for the first, and a new interval begins.
   */
  due(): number | undefined;
}

/** Interval that suits a fault which lasts: an operator sees it at once, and once more if it is still there. */
export const LOG_INTERVAL_MS = 30_000;

/** @param now Milliseconds of a clock that only goes forward. */
export function createLogThrottle(
  intervalMs = LOG_INTERVAL_MS,
  now: () => number = () => performance.now(),
): LogThrottle {
  let quietUntil = Number.NEGATIVE_INFINITY;
  let unlogged = 0;
  return {
    due() {
      const time = now();
      if (time < quietUntil) {
        unlogged += 1;
        return undefined;
      }
      const passedOver = unlogged;
      quietUntil = time + intervalMs;
      unlogged = 0;
      return passedOver;
    },
  };
}

/**
 * One throttle for each key. Keys come from a closed set, such as codes of refusals and routes of the configuration,
 * so that the map needs no bound.
 */
export function createLogThrottles(
  intervalMs = LOG_INTERVAL_MS,
  now?: () => number,
): { due(key: string): number | undefined } {
  const throttles = new Map<string, LogThrottle>();
  return {
    due(key) {
      let throttle = throttles.get(key);
      if (throttle === undefined) {
        throttle = createLogThrottle(intervalMs, now);
        throttles.set(key, throttle);
      }
      return throttle.due();
    },
  };
}
