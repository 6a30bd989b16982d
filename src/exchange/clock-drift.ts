/** The difference between this host's clock and Entra's, by the Date field of Entra's answers (RFC 9110 §6.6.1). */

import type { ExchangeEvent } from "./contract.ts";

export interface ClockDrift {
  /** @param sentAt When the request was sent, by this host's clock; ms since the epoch. */
  observe(headers: Headers, sentAt: number): void;
  /** Ms that this host's clock is ahead (negative: behind); undefined before the first answer. */
  ms(): number | undefined;
}

/** Answers of which the middle one counts, so that one odd Date, as of a cache on the way, changes nothing. */
const SAMPLES = 5;
/** A change that is worth an event. The field counts whole seconds, so less means nothing. */
const NOTABLE_CHANGE_MS = 1_000;

export function createClockDrift({
  now,
  onEvent,
}: {
  readonly now: () => number;
  readonly onEvent: (event: ExchangeEvent) => void;
}): ClockDrift {
  const samples: number[] = [];
  let drift: number | undefined;
  let reported = 0;

  return {
    observe(headers, sentAt) {
      const date = Date.parse(headers.get("date") ?? "");
      if (Number.isNaN(date)) return;
      // Half of a second was cut off on average, and the answer was under way for half of the time, or so.
      samples.push(Math.round((sentAt + now()) / 2 - (date + 500)));
      if (samples.length > SAMPLES) samples.shift();
      drift = samples.toSorted((one, other) => one - other)[samples.length >> 1] ?? 0;
      if (Math.abs(drift - reported) < NOTABLE_CHANGE_MS) return;
      reported = drift;
      onEvent({ type: "clock_drift", driftMs: drift });
    },
    ms: () => drift,
  };
}
