/** A breaker for one host: while it cannot be connected to, requests are refused at once instead of waiting each. */

export interface BreakerOptions {
  /** Consecutive failures to connect that open it; 0 never does. */
  readonly failures: number;
  /** How long it stays open before one request may try, ms. */
  readonly openMs: number;
  /** Ms since the epoch. */
  readonly now: () => number;
  readonly onChange?: (state: "opened" | "closed") => void;
}

export interface Breaker {
  /** How long it stays open, ms, when a request may not pass. Whoever passes reports one of the three ends. */
  admit(): number | undefined;
  /** The host was connected to. */
  succeeded(): void;
  /** The host could not be connected to. */
  failed(): void;
  /** The request ended without telling anything about the host. */
  ended(): void;
}

/** Closed, open, and half-open: then a single request is let through, and its end decides. */
export function createBreaker({ failures, openMs, now, onChange = () => {} }: BreakerOptions): Breaker {
  let consecutive = 0;
  let openUntil: number | undefined;
  let probing = false;

  return {
    admit() {
      if (openUntil === undefined) return undefined;
      const left = openUntil - now();
      if (left > 0) return left;
      if (probing) return openMs;
      probing = true;
      return undefined;
    },
    succeeded() {
      consecutive = 0;
      probing = false;
      if (openUntil === undefined) return;
      openUntil = undefined;
      onChange("closed");
    },
    failed() {
      consecutive += 1;
      probing = false;
      if (failures === 0 || consecutive < failures) return;
      const wasClosed = openUntil === undefined;
      openUntil = now() + openMs;
      if (wasClosed) onChange("opened");
    },
    ended() {
      probing = false;
    },
  };
}
