/** How long requests spend in each room, and what happens on the way to APIs. */

import type { Instruments } from "./instruments.ts";

export interface RoomMetrics {
  /** A caller's token was judged. */
  verified(verdict: "verified" | "refused", seconds: number): void;
  /** A delegated token was had, or not (`none`), all waits included. */
  tokenAwaited(origin: string, seconds: number): void;
  /** A pause that an API asked for was made. */
  throttleWaited(route: string, seconds: number): void;
  /** Requests to APIs; durations in ms, since the request was handed over. */
  readonly transfers: {
    sent(api: string): void;
    repeated(api: string): void;
    left(api: string, waitedMs: number): void;
    answered(api: string, status: number, afterMs: number): void;
    failed(api: string, code: string, afterMs: number): void;
  };
}

const STATUS_CLASSES = ["1xx", "2xx", "3xx", "4xx", "5xx"];

export function createRoomMetrics({ counter, gauge, histogram }: Instruments): RoomMetrics {
  const verify = histogram(
    "obo_gateway_verify_duration_seconds",
    "Time to judge a caller's token, by verdict (verified or refused)",
    ["verdict"],
  );
  const token = histogram(
    "obo_gateway_token_duration_seconds",
    "Time of a request in the exchange, by the token's origin (none: refused)",
    ["origin"],
  );
  const waits = counter(
    "obo_gateway_throttle_waits_total",
    "Requests in which the gateway waited out an API's Retry-After",
    ["route"],
  );
  const waitSeconds = counter("obo_gateway_throttle_wait_seconds_total", "Time that they waited", ["route"]);
  const waiting = gauge(
    "obo_gateway_downstream_requests_waiting",
    "Requests that wait for a connection to an API",
    ["api"],
  );
  const connection = histogram(
    "obo_gateway_downstream_wait_seconds",
    "Time until a request had a connection to its API, making one included",
    ["api"],
  );
  const duration = histogram(
    "obo_gateway_downstream_duration_seconds",
    "Time until the headers of an API's answer, by class of status, or why there was none",
    ["api", "outcome"],
  );
  const throttled = counter(
    "obo_gateway_downstream_throttled_total",
    "Answers of an API with status 429 or 503",
    ["api", "status"],
  );

  const repeated = counter(
    "obo_gateway_downstream_repeats_total",
    "Requests sent again because their connection could not be made, or was lost before an answer",
    ["api"],
  );

  return {
    verified: (verdict, seconds) => verify.observe(seconds, verdict),
    tokenAwaited: (origin, seconds) => token.observe(seconds, origin),
    throttleWaited(route, seconds) {
      waits.inc(route);
      waitSeconds.add(seconds, route);
    },
    transfers: {
      sent: (api) => waiting.add(1, api),
      repeated: repeated.inc,
      left(api, waitedMs) {
        waiting.add(-1, api);
        connection.observe(waitedMs / 1000, api);
      },
      answered(api, status, afterMs) {
        duration.observe(afterMs / 1000, api, STATUS_CLASSES[Math.floor(status / 100) - 1] ?? "other");
        if (status === 429 || status === 503) throttled.inc(api, status);
      },
      failed: (api, code, afterMs) => duration.observe(afterMs / 1000, api, code),
    },
  };
}
