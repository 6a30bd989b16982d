/** Types of this room that its files and other rooms share. */

/** How many callers may be connected, how much each may have under way, and how long each may take. */
export interface ConnectionLimits {
  /** Connections at once. One more takes the place of one without progress, or is closed. */
  readonly max: number;
  /** Requests of one connection that run at the same time; what comes behind them waits. */
  readonly maxPipelined: number;
  /** From the beginning of a connection, or of its next request, until all headers are here. */
  readonly headersTimeoutSeconds: number;
  /** The same until the body is here, too; 0 sets no limit. Not less than the headers' time. */
  readonly requestTimeoutSeconds: number;
  /** How long a connection without a request is kept. Longer than a balancer keeps it, or requests are lost between. */
  readonly keepAliveTimeoutSeconds: number;
  /** Requests after which the caller is asked to open another connection; 0 sets no limit. */
  readonly maxRequests: number;
  /** Longest pause in which a caller takes nothing of the answer that is there for it. */
  readonly writeStallSeconds: number;
  /** Least rate at which a caller takes an answer, bytes a second, once it has taken longer than such a pause. */
  readonly minWriteBytesPerSecond: number;
  /** Longest time until a caller has taken what was handed over last. */
  readonly writeTimeoutSeconds: number;
}

/** `dropped`: closed at once. `gave_way`: closed for a newcomer. `unread`: closed because its answer was not taken. */
export type ConnectionEvent = "opened" | "closed" | "dropped" | "gave_way" | "unread";
