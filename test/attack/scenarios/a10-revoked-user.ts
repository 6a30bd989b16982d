/** A user whose sessions were revoked and who calls on: the refusal is to be remembered, not asked for again. */

import { setTimeout as sleep } from "node:timers/promises";
import type { Attack, Scenario } from "../scenario.ts";
import { bearer, requestOf } from "../wire.ts";

const PER_SECOND = 20;

function callingOn(capabilities: readonly string[]): Attack {
  return async ({ attacker, emulator, isOver, over }) => {
    const user = emulator.addUser();
    const token = emulator.mintUserToken({ user, capabilities });
    const [socket] = await attacker.hold(1, "all", () => requestOf("/graph/me", bearer(token)));
    await sleep(300);
    emulator.revokeSessions(user);
    const asked = () =>
      emulator.requests.token.filter(({ userObjectId }) => userObjectId === user.objectId).length;
    const before = asked();
    let calls = 0;
    while (!isOver() && socket?.writable) {
      // The API challenges a token whose sessions have been revoked.
      socket.write(requestOf("/graph/me/challenged", bearer(token)));
      calls++;
      await sleep(1000 / PER_SECOND);
    }
    await over;
    return [
      {
        what: "requests to Entra for a call",
        value: (asked() - before) / calls,
        digits: 2,
        limit: { atMost: 0.2 },
      },
    ];
  };
}

export const a10: readonly Scenario[] = [
  {
    name: "a10-revoked",
    title: `a user whose sessions were revoked calls on, ${PER_SECOND} times a second`,
    quick: true,
    attack: callingOn(["cp1"]),
  },
  {
    name: "a10-revoked-plain",
    title: "the same by a client that cannot take claims challenges",
    attack: callingOn([]),
  },
];
