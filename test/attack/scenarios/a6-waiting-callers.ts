/** Callers who wait for a place and leave, again and again: their places in line must be free at once. */

import { setTimeout as sleep } from "node:timers/promises";
import type { Attack, Scenario } from "../scenario.ts";
import { bearer, leave, requestOf } from "../wire.ts";

const PLACES = 16;
const API = { maxConcurrent: PLACES, maxWaiting: PLACES };
const WAVE_MS = 300;

/** Fills every place with slow requests, then lets waves of others wait and go. */
function waves(slowMs: number): Attack {
  return async ({ attacker, newToken, isOver, over }) => {
    const slow = requestOf(`/graph/me/slow?ms=${slowMs}`, bearer(newToken()));
    attacker.pump({ connections: PLACES, depth: 1, request: () => slow });
    await sleep(WAVE_MS);
    while (!isOver()) {
      const waiting = await attacker.hold(PLACES, "all", () => slow);
      await sleep(WAVE_MS);
      for (const socket of waiting) leave(socket);
    }
    await over;
    return [];
  };
}

export const a6: readonly Scenario[] = [
  {
    name: "a6-waiting-leave",
    title: `one user takes all of ${PLACES} places of an API for 1 s each; waves of ${PLACES} more wait and leave`,
    quick: true,
    settings: { api: API },
    attack: waves(1_000),
  },
  {
    name: "a6-waiting-time-out",
    title: `one user takes all of ${PLACES} places of an API for longer than its timeout of 1 s`,
    settings: { api: { ...API, timeoutMs: 1_000 } },
    attack: waves(5_000),
  },
];
