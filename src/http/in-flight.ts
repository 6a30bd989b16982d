/** The responses that are not closed yet. */

import type { ServerResponse } from "node:http";

export interface InFlight extends Iterable<ServerResponse> {
  readonly size: number;
  add(response: ServerResponse): void;
  delete(response: ServerResponse): void;
}

const PLACE = Symbol("place among the responses in flight");
type Placed = ServerResponse & { [PLACE]?: number | undefined };

/**
 * A Set would do, but for how V8 makes room in one that is always in use: each new table hangs on the one before, which
 * keeps its entries. Once such a table has grown old, everything after it does too: every request was seen to survive
 * young collections, which then took ten times as long.
 */
export function createInFlight(): InFlight {
  const responses: Placed[] = [];
  return {
    get size() {
      return responses.length;
    },
    add(response: Placed) {
      response[PLACE] = responses.length;
      responses.push(response);
    },
    delete(response: Placed) {
      const place = response[PLACE];
      if (place === undefined) return;
      response[PLACE] = undefined;
      const last = responses.pop();
      if (last === undefined || last === response) return;
      responses[place] = last;
      last[PLACE] = place;
    },
    [Symbol.iterator]: () => responses.values(),
  };
}
