/** When bodies behind refusals are thrown away: rarely enough that their senders take little of the event loop. */

import { createQueue } from "../foundation/members.ts";

/** Pieces of bodies behind refusals, of all connections of a listener. */
export interface Discards {
  /** Throws a piece away when its turn comes. */
  wait(discard: () => void): void;
}

/** At most one piece in so many ms: senders without a token would otherwise have what they send moved as fast as the machine can. */
const EVERY_MS = 1;

/** A piece that took long, as one of tiny chunks does, is followed by a pause of so many times as long. */
const PAUSES = 4;

/**
 * A body behind a refusal is read so that its sender gets to see that, and thrown away: one piece in a turn of the event
 * loop, for a fifth of its time at most, in the order in which they came.
 *
 * One timer for all: of one for each connection, all that are due would run in the same turn.
 */
export function createDiscards(now: () => number = () => performance.now()): Discards {
  const waiting = createQueue<{ readonly discard: () => void }>();
  let isArmed = false;
  let freeAt = 0;

  function arm(): void {
    isArmed = true;
    setTimeout(discardNext, Math.max(EVERY_MS, freeAt - now())).unref();
  }

  function discardNext(): void {
    isArmed = false;
    const next = waiting.first();
    if (next === undefined) return;
    waiting.delete(next);
    const began = now();
    next.discard();
    const ended = now();
    freeAt = ended + PAUSES * (ended - began);
    if (!isArmed && waiting.first() !== undefined) arm();
  }

  return {
    wait(discard) {
      waiting.add({ discard });
      if (!isArmed) arm();
    },
  };
}
