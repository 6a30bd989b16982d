/** Entra throttles some accounts: all others of the tenant must go on to get tokens. */

import { setTimeout as sleep } from "node:timers/promises";
import type { Attack, Scenario } from "../scenario.ts";
import { bearer, requestOf } from "../wire.ts";

/** Entra: this client and user ask too often. 90055 speaks of the whole tenant, and rightly holds it until a probe passes. */
const THROTTLED = 50196;

function throttled(accounts: number, retryAfterSeconds: number | undefined): Attack {
  return async ({ attacker, entra, isOver, over }) => {
    const users = await entra.addUsers(accounts);
    await entra.refuse({
      code: THROTTLED,
      users,
      ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
    });
    // A token of its own for each call: none is answered by what is remembered of a token alone.
    const mintTokens = () => entra.mintTokens(users.map((user) => ({ user })));
    let tokens = await mintTokens();
    const sockets = await attacker.hold(accounts, "all", () => "");
    while (!isOver()) {
      for (const [index, socket] of sockets.entries()) {
        const token = tokens[index];
        if (token !== undefined && socket.writable) socket.write(requestOf("/graph/me", bearer(token)));
      }
      // The next ones come while the attacker waits, so that calls follow each other as fast as if it signed them itself.
      [tokens] = await Promise.all([mintTokens(), sleep(200)]);
    }
    await over;
    return [];
  };
}

const NEWCOMERS = 5;

export const a7: readonly Scenario[] = [
  {
    name: "a7-two-accounts",
    title: "Entra throttles two accounts and names 300 s; newcomers need tokens",
    quick: true,
    newcomersPerSecond: NEWCOMERS,
    attack: throttled(2, 300),
  },
  {
    name: "a7-ten-accounts",
    title: "Entra throttles ten accounts and names 300 s; newcomers need tokens",
    newcomersPerSecond: NEWCOMERS,
    attack: throttled(10, 300),
  },
  {
    name: "a7-no-time-named",
    title: "Entra throttles two accounts and names no time; newcomers need tokens",
    newcomersPerSecond: NEWCOMERS,
    attack: throttled(2, undefined),
  },
];
