/** A user whose sessions were revoked and who calls on: the refusal is to be remembered, not asked for again. */

import { setTimeout as sleep } from "node:timers/promises";
import type { Attack, Scenario } from "../scenario.ts";
import { bearer, requestOf } from "../wire.ts";

const PER_SECOND = 20;
/** One learns of the refusal, and one more may be under way by then. */
const MOST_EXCHANGES = 2;

/** `isNew`: each call is challenged for another time, as by an API that asks for tokens of this very moment. */
function callingOn(capabilities: readonly string[], isNew = false): Attack {
  return async ({ attacker, entra, isOver, over }) => {
    const [user = ""] = await entra.addUsers(1);
    const [token = ""] = await entra.mintTokens([{ user, capabilities }]);
    const [socket] = await attacker.hold(1, "all", () => requestOf("/graph/me", bearer(token)));
    await sleep(300);
    await entra.revokeSessions(user);
    const before = await entra.tokenRequests(user);
    let calls = 0;
    while (!isOver() && socket?.writable) {
      // The API challenges a token whose sessions have been revoked.
      const since = isNew ? `?since=${Math.floor(Date.now() / 1000) + calls}` : "";
      socket.write(requestOf(`/graph/me/challenged${since}`, bearer(token)));
      calls++;
      await sleep(1000 / PER_SECOND);
    }
    await over;
    return [
      {
        what: `requests to Entra for ${calls} calls`,
        value: (await entra.tokenRequests(user)) - before,
        digits: 0,
        limit: { atMost: MOST_EXCHANGES },
      },
    ];
  };
}

export const a10: readonly Scenario[] = [
  {
    name: "a10-revoked",
    title: `a user whose sessions were revoked calls on, ${PER_SECOND} times a second`,
    attack: callingOn(["cp1"]),
  },
  {
    name: "a10-new-challenges",
    title: "the same, and each call is challenged for a token of another time",
    quick: true,
    attack: callingOn(["cp1"], true),
  },
  {
    name: "a10-revoked-plain",
    title: "a revoked user calls on by a client that cannot take claims challenges",
    attack: callingOn([]),
  },
];
