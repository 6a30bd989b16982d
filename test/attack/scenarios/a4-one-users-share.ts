/** One user who asks for more than a fair part: places of the downstream API, and places in line for them. */

import { setTimeout as sleep } from "node:timers/promises";
import type { Attack, Scenario } from "../scenario.ts";
import { bearer, leave, leavePolitely, repeated, requestOf } from "../wire.ts";

/** Longer than any scenario. */
const SLOW = "/graph/me/slow?ms=28000";
const MIB = 2 ** 20;

interface Share {
  readonly users?: number;
  readonly connections: number;
  readonly requests: number;
  readonly path?: string;
  /** What the attacker does halfway. */
  readonly leaving?: "reset" | "end";
}

function greedy({ users = 1, connections, requests, path = SLOW, leaving }: Share): Attack {
  return async ({ attacker, newToken, ms, over }) => {
    const each = Array.from({ length: users }, () => repeated(requestOf(path, bearer(newToken())), requests));
    const held = await attacker.hold(
      connections * users,
      "nothing",
      (index) => each[index % users] ?? Buffer.alloc(0),
    );
    if (leaving !== undefined) {
      await sleep(ms / 3);
      for (const socket of held) (leaving === "reset" ? leave : leavePolitely)(socket);
    }
    await over;
    return [];
  };
}

export const a4: readonly Scenario[] = [
  {
    name: "a4-pipelined-slow",
    title: "one user, one connection: 2100 pipelined requests to which the API is slow",
    quick: true,
    attack: greedy({ connections: 1, requests: 2_100 }),
  },
  {
    name: "a4-pipelined-unread",
    title: "one user, one connection: 2100 pipelined answers of 256 KiB unread",
    attack: greedy({ connections: 1, requests: 2_100, path: `/graph/me/big?bytes=${MIB / 4}` }),
  },
  {
    name: "a4-many-connections",
    title: "one user, 300 connections: 8 slow requests on each",
    quick: true,
    attack: greedy({ connections: 300, requests: 8 }),
  },
  {
    name: "a4-single-requests",
    title: "one user, 2200 connections: one slow request on each",
    attack: greedy({ connections: 2_200, requests: 1 }),
  },
  {
    name: "a4-leaves",
    title:
      "one user, one connection: 2100 pipelined slow requests; the attacker resets it after a third of the time",
    attack: greedy({ connections: 1, requests: 2_100, leaving: "reset" }),
  },
  {
    name: "a4-leaves-politely",
    title:
      "one user, 16 connections: 140 unread answers each; the attacker ends them after a third of the time",
    attack: greedy({ connections: 16, requests: 140, path: `/graph/me/big?bytes=${MIB}`, leaving: "end" }),
  },
  {
    name: "a4-four-users",
    title: "four users in concert, 75 connections each: 8 slow requests on each",
    attack: greedy({ users: 4, connections: 75, requests: 8 }),
  },
];
