/** Stops asking a dependency that keeps failing, and lets one question through now and then to see whether it is back. */

export interface Breaker {
  /**
   * Undefined when a question may be asked now; the asker then reports `succeeded`, `failed` or `ended`. Otherwise the
   * time, ms, until the next question may be asked.
   */
  admit(): number | undefined;
  /** `admit`, for askers that do not need the time. */
  allows(): boolean;
  succeeded(): void;
  /** `reason` is a short stable label. */
  failed(reason: string): void;
  /** The question ended without showing whether the dependency works. */
  ended(): void;
  isOpen(): boolean;
}

export interface BreakerOptions {
  /** Milliseconds of any clock that only goes forward. */
  readonly now: () => number;
  /** Failures in a row that open it; one success starts the count anew, and 0 never opens it. */
  readonly failures: number;
  /** Time until the first question after it opened, ms; doubled after each one that fails. */
  readonly firstPauseMs: number;
  readonly longestPauseMs: number;
  /** Part by which a pause is longer or shorter at random: replicas that lost it together must not return together. */
  readonly spread: number;
  readonly onOpened?: (reason: string) => void;
  readonly onClosed?: () => void;
}

export function createBreaker({
  now,
  failures: limit,
  firstPauseMs,
  longestPauseMs,
  spread,
  onOpened,
  onClosed,
}: BreakerOptions): Breaker {
  let failures = 0;
  let pauseMs = firstPauseMs;
  let open = false;
  let probing = false;
  let nextProbe = 0;

  function schedule(): void {
    nextProbe = now() + pauseMs * (1 - spread + 2 * spread * Math.random());
    pauseMs = Math.min(pauseMs * 2, longestPauseMs);
  }

  function admit(): number | undefined {
    if (!open) return undefined;
    const left = nextProbe - now();
    if (left > 0) return left;
    if (probing) return pauseMs;
    probing = true;
    return undefined;
  }

  return {
    admit,
    allows: () => admit() === undefined,

    succeeded() {
      failures = 0;
      pauseMs = firstPauseMs;
      probing = false;
      if (!open) return;
      open = false;
      onClosed?.();
    },

    failed(reason) {
      if (open) {
        // Of the questions asked before it opened, the late failures show nothing new.
        if (probing) schedule();
        probing = false;
        return;
      }
      failures += 1;
      if (limit === 0 || failures < limit) return;
      open = true;
      schedule();
      onOpened?.(reason);
    },

    ended() {
      probing = false;
    },

    isOpen: () => open,
  };
}

/** For a dependency that is always asked. */
export const NO_BREAKER: Breaker = {
  admit: () => undefined,
  allows: () => true,
  succeeded() {},
  failed() {},
  ended() {},
  isOpen: () => false,
};
