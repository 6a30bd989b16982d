/** A clock that stands still until a test moves it. */

export interface TestClock {
  /** Milliseconds since the epoch; hand it to the emulator and to the gateway alike. */
  readonly now: () => number;
  /** @throws {RangeError} when the time would run backwards. */
  advance(ms: number): void;
}

/** @param start Milliseconds since the epoch. Default: the time of the call. */
export function createTestClock(start = Date.now()): TestClock {
  let time = start;
  return {
    now: () => time,
    advance(ms) {
      if (!(ms >= 0)) throw new RangeError(`a clock advances by 0 ms or more, not by ${ms}`);
      time += ms;
    },
  };
}
