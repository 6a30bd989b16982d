/** One breaker for each host that APIs live on. */

import type { DownstreamApiOptions, TransportEvent } from "../contract.ts";
import { readBaseUrl } from "../target/downstream-api.ts";
import { type Breaker, createBreaker } from "./breaker.ts";

const DEFAULT_BREAKER = { failures: 5, openMs: 5000 };

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
      ...(api.breaker ?? DEFAULT_BREAKER),
      now,
      onChange: (state) => onEvent({ type: `breaker_${state}`, api: api.name }),
    });
    breakers.set(origin, breaker);
    return breaker;
  };
}
