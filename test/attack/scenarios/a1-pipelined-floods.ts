/** Requests without end on one connection after the other, whose answers are not read: what each costs must be bounded. */

import type { Attack, AttackStage, Scenario } from "../scenario.ts";
import { bearer, type Reading, repeated, requestOf } from "../wire.ts";

const CONNECTIONS = 36;
/** More than 3000: the kernel of the loopback interface takes some megabytes of answers that stay unread. */
const TIMES = 12_000;
const SMALLEST = Buffer.from("GET /graph/me HTTP/1.1\r\nHost:x\r\n\r\n");
const JUNK_TOKEN = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImEifQ.e30.c2ln";

function flood(bytes: (stage: AttackStage) => Buffer, times: number, reading: Reading = "nothing"): Attack {
  return async ({ attacker, over, ...stage }) => {
    const all = repeated(bytes({ attacker, over, ...stage }), times);
    await attacker.hold(CONNECTIONS, reading, () => all);
    await over;
    return [];
  };
}

const body = "a".repeat(256);

export const a1: readonly Scenario[] = [
  {
    name: "a1-no-token",
    title: `no token: ${CONNECTIONS} connections pipeline ${TIMES} requests of 34 bytes each and read nothing`,
    quick: true,
    attack: flood(() => SMALLEST, TIMES),
  },
  {
    name: "a1-bad-token",
    title: `a token that is none: ${CONNECTIONS} connections pipeline ${TIMES / 2} requests each and read nothing`,
    attack: flood(() => requestOf("/graph/me", bearer(JUNK_TOKEN)), TIMES / 2),
  },
  {
    name: "a1-bodies",
    title: `no token: ${CONNECTIONS} connections pipeline ${TIMES / 4} POSTs with bodies of 256 bytes and read nothing`,
    attack: flood(() => requestOf("/graph/me", {}, { method: "POST", body }), TIMES / 4),
  },
  {
    name: "a1-chunked-bodies",
    title: `no token: the same POSTs in chunks`,
    attack: flood(
      () =>
        Buffer.from(
          `POST /graph/me HTTP/1.1\r\nHost:x\r\nTransfer-Encoding: chunked\r\n\r\n100\r\n${body}\r\n0\r\n\r\n`,
        ),
      TIMES / 4,
    ),
  },
  {
    name: "a1-slow-readers",
    title: `no token: ${CONNECTIONS} connections pipeline ${TIMES} requests each and read 1 KiB in 100 ms`,
    attack: flood(() => SMALLEST, TIMES, { bytes: 1024, everyMs: 100 }),
  },
  {
    name: "a1-unknown-route",
    title: `no token: ${CONNECTIONS} connections pipeline ${TIMES} requests to no route each and read nothing`,
    attack: flood(() => Buffer.from("GET / HTTP/1.1\r\nHost:x\r\n\r\n"), TIMES),
  },
  {
    name: "a1-preflight",
    title: `no token: ${CONNECTIONS} connections pipeline ${TIMES / 2} OPTIONS requests each and read nothing`,
    attack: flood(
      () =>
        Buffer.from(
          "OPTIONS /graph/me HTTP/1.1\r\nHost:x\r\nOrigin: https://a.example\r\nAccess-Control-Request-Method: GET\r\n\r\n",
        ),
      TIMES / 2,
    ),
  },
];
