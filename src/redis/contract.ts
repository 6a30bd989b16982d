/** Types of the Redis room: what its connection tells telemetry. */

/** A connection's failures. They cost exchanges with Entra and exact counts of limits, and nothing else. */
export type RedisEvent =
  /** One operation came to nothing; the reason is a short label such as `timeout` or `OOM`. */
  | { readonly type: "shared_failed"; readonly reason: string }
  /** Failures in a row: nothing is asked until it answers again. */
  | { readonly type: "shared_suspended"; readonly reason: string }
  | { readonly type: "shared_resumed" };
