/** Stops asking a dependency that keeps failing, and lets one question through now and then to see whether it is back. */

export interface Breaker {
  /** Whether a question may be asked now. Whoever is let through tells its outcome. */
  allows(): boolean;
  succeeded(): void;
  /** `reason` is a short stable label. */
  failed(reason: string): void;
  isOpen(): boolean;
}

export interface BreakerPorts {
  /** Milliseconds of any clock that only goes forward. */
  readonly now: () => number;
  readonly onOpened: (reason: string) => void;
  readonly onClosed: () => void;
}

/** Failures in a row that end the patience; one success starts the count anew. */
const PATIENCE = 5;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10_000;

export function createBreaker({ now, onOpened, onClosed }: BreakerPorts): Breaker {
  let failures = 0;
  let pauseMs = FIRST_PAUSE_MS;
  let open = false;
  let probing = false;
  let nextProbe = 0;

  /** Replicas that lost the dependency together must not come back to it together. */
  function schedule(): void {
    nextProbe = now() + pauseMs * (0.75 + Math.random() / 2);
    pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
  }

  return {
    allows() {
      if (!open) return true;
      if (probing || now() < nextProbe) return false;
      probing = true;
      return true;
    },

    succeeded() {
      failures = 0;
      pauseMs = FIRST_PAUSE_MS;
      probing = false;
      if (!open) return;
      open = false;
      onClosed();
    },

    failed(reason) {
      if (open) {
        // Of the questions asked before it opened, the late failures say nothing new.
        if (probing) schedule();
        probing = false;
        return;
      }
      failures += 1;
      if (failures < PATIENCE) return;
      open = true;
      schedule();
      onOpened(reason);
    },

    isOpen: () => open,
  };
}
