/** One breaker for each host that APIs live on. */

import { type Breaker, createBreaker } from "../../foundation/breaker.ts";
import type { DownstreamApiOptions, TransportEvent } from "../contract.ts";
import { readBaseUrl } from "../target/downstream-api.ts";

/** Finds an API's breaker, made at the first call for its origin: APIs of one host share its fate. */
export function createHostBreakers(
  now: () => number,
  onEvent: (event: TransportEvent) => void = () => {},
): (api: DownstreamApiOptions) => Breaker {
  const breakers = new Map<string, Breaker>();
  return (api) => {
    const { origin } = readBaseUrl(api);
    const known = breakers.get(origin);
    if (known !== undefined) return known;
    const breaker = createBreaker({
      failures: api.breaker.failures,
      firstPauseMs: api.breaker.openMs,
      longestPauseMs: api.breaker.openMs,
      spread: 0,
      now,
      onOpened: () => onEvent({ type: "breaker_opened", api: api.name }),
      onClosed: () => onEvent({ type: "breaker_closed", api: api.name }),
    });
    breakers.set(origin, breaker);
    return breaker;
  };
}
