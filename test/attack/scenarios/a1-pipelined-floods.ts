/** Requests without end on one connection after the other, whose answers are not read: what each costs must be bounded. */

import { setTimeout as sleep } from "node:timers/promises";
import type { Attack, AttackStage, Scenario } from "../scenario.ts";
import { bearer, type Reading, repeated, requestOf } from "../wire.ts";

const CONNECTIONS = 36;
const REOPEN_AFTER_MS = 50;
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

/** A body that never ends, on each connection, as fast as the gateway takes it; a new one for each that it closes. */
function bodies(head: (stage: AttackStage) => string, piece: Buffer): Attack {
  return async (stage) => {
    const begin = head(stage);
    const send = async () => {
      const socket = await stage.attacker.open("all");
      socket?.write(begin);
      while (!stage.isOver() && socket?.writable) {
        // Called as well when the connection goes.
        await new Promise<void>((resolve) => socket.write(piece, () => resolve()));
      }
    };
    const keepUp = async () => {
      while (!stage.isOver()) {
        await send();
        await sleep(REOPEN_AFTER_MS);
      }
    };
    for (let index = 0; index < CONNECTIONS; index++) void keepUp();
    await stage.over;
    return [];
  };
}

const CHUNKED = "Transfer-Encoding: chunked\r\n\r\n";
const HALF_MIB = 2 ** 19;
const TINY_CHUNKS = Buffer.alloc(6 * 10_000, "1\r\na\r\n");
const upload = (rest: string, token?: string) =>
  `POST /graph/me/upload HTTP/1.1\r\nHost: x\r\n${token === undefined ? "" : `Authorization: Bearer ${token}\r\n`}${rest}`;

const body = "a".repeat(256);

export const a1: readonly Scenario[] = [
  {
    name: "a1-no-token",
    title: `no token: ${CONNECTIONS} connections pipeline ${TIMES} requests of 34 bytes each and read nothing`,
    quick: true,
    comparesMemory: true,
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
  {
    name: "a1-again",
    title: `no token: ${CONNECTIONS} connections pipeline 2000 requests each, again and again`,
    attack: async ({ attacker, over }) => {
      const all = repeated(SMALLEST, 2_000);
      const again = () =>
        void attacker
          .open("nothing", { onClose: () => void sleep(REOPEN_AFTER_MS).then(again) })
          .then((socket) => socket?.write(all));
      for (let index = 0; index < CONNECTIONS; index++) again();
      await over;
      return [];
    },
  },
  {
    name: "a1-endless-bodies",
    title: `no token: ${CONNECTIONS} connections send a body without end`,
    attack: bodies(() => upload("Content-Length: 100000000000\r\n\r\n"), Buffer.alloc(HALF_MIB, "a")),
  },
  {
    name: "a1-tiny-chunks",
    title: `no token: ${CONNECTIONS} connections send a body without end, in chunks of one byte`,
    attack: bodies(() => upload(CHUNKED), TINY_CHUNKS),
  },
  {
    name: "a1-tiny-chunks-token",
    title: `one user: the same with a token`,
    attack: bodies(({ newToken }) => upload(CHUNKED, newToken()), TINY_CHUNKS),
  },
  {
    name: "a1-endless-bodies-token",
    title: `one user: ${CONNECTIONS} connections upload a body without end`,
    attack: bodies(
      ({ newToken }) => upload("Content-Length: 100000000\r\n\r\n", newToken()),
      Buffer.alloc(HALF_MIB, "a"),
    ),
  },
];
