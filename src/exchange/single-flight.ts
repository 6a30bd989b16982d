/** Concurrent calls for the same key share one piece of work. */

export interface Boarding<T> {
  /** Whether another caller had started the work. */
  readonly joined: boolean;
  readonly result: Promise<T>;
}

export interface SingleFlight<T> {
  /**
   * Joins the flight under `key`, or starts it. A caller whose `signal` fires stops waiting, with `signal.reason` as
   * `fetch` would, while the flight goes on for the others and for the cache. A failure reaches all callers on board
   * and is then forgotten, so the next caller starts afresh. What `start` throws at once is thrown.
   */
  board(key: string, start: () => Promise<T>, signal?: AbortSignal): Boarding<T>;
  has(key: string): boolean;
  size(): number;
}

export function createSingleFlight<T>(): SingleFlight<T> {
  const flights = new Map<string, Promise<T>>();

  function depart(key: string, start: () => Promise<T>): Promise<T> {
    const flight = start().finally(() => flights.delete(key));
    flights.set(key, flight);
    return flight;
  }

  return {
    board(key, start, signal) {
      const underWay = flights.get(key);
      const flight = underWay ?? depart(key, start);
      return {
        joined: underWay !== undefined,
        result: signal === undefined ? flight : until(signal, flight),
      };
    },
    has: (key) => flights.has(key),
    size: () => flights.size,
  };
}

function until<T>(signal: AbortSignal, flight: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const leave = () => reject(signal.reason);
    // A signal may outlive many flights, so the listener goes when the flight is over.
    flight.finally(() => signal.removeEventListener("abort", leave)).then(resolve, reject);
    if (signal.aborted) leave();
    else signal.addEventListener("abort", leave, { once: true });
  });
}
