/** Connections that cost the attacker next to nothing: slow ones, short ones, and heads full of fields. */

import { setTimeout as sleep } from "node:timers/promises";
import type { Attack, Scenario } from "../scenario.ts";
import { bearer, leave, requestOf } from "../wire.ts";

const DRIP_MS = 500;
const HEAD = "GET /graph/me HTTP/1.1\r\nhost: x\r\n";

function dripping(connections: number, begin: (token: string) => Buffer | string): Attack {
  return async ({ attacker, newToken, isOver, over }) => {
    const start = begin(newToken());
    const sockets = await attacker.hold(connections, "all", () => start);
    while (!isOver()) {
      for (const socket of sockets) if (socket.writable) socket.write("a");
      await sleep(DRIP_MS);
    }
    await over;
    return [];
  };
}

function heads(fields: (token: string) => string, head = HEAD): Attack {
  return async ({ attacker, newToken, over }) => {
    const request = Buffer.from(`${head}${fields(newToken())}\r\n`);
    attacker.pump({ connections: 16, depth: 4, request: () => request });
    await over;
    return [];
  };
}

const churn: Attack = async ({ attacker, isOver, over }) => {
  const one = async (index: number) => {
    while (!isOver()) {
      const socket = await attacker.open("all");
      if (socket === undefined) await sleep(10);
      else {
        if (index % 2 === 0) socket.write("GET /graph/me HTT");
        leave(socket);
      }
    }
  };
  await Promise.all(Array.from({ length: 48 }, (_, index) => one(index)));
  await over;
  return [];
};

/** The gateway answers each, and its connection stays open without another request. */
const atRest: Attack = async ({ attacker, over }) => {
  const head = `${HEAD}x-long: ${"a".repeat(30_000)}\r\n\r\n`;
  await attacker.hold(8_000, "all", () => head);
  await over;
  return [];
};

const fields = (count: number) =>
  Array.from({ length: count }, (_, index) => `${index.toString(36)}:\r\n`).join("");

export const connections: readonly Scenario[] = [
  {
    name: "slow-heads",
    title: "no token: 1000 connections send their head a byte in half a second",
    attack: dripping(1_000, () => `${HEAD}x-drip: `),
  },
  {
    name: "slow-bodies",
    title: "one user: 500 connections send their body a byte in half a second",
    attack: dripping(500, (token) =>
      requestOf("/graph/me/upload", { ...bearer(token), "content-length": "100000" }, { method: "POST" }),
    ),
  },
  {
    name: "slow-batches",
    title: "one user: 500 connections send a $batch a byte in half a second",
    attack: dripping(500, (token) =>
      requestOf(
        "/graph/$batch",
        { ...bearer(token), "content-type": "application/json", "content-length": "100000" },
        { method: "POST" },
      ),
    ),
  },
  {
    name: "many-fields",
    title: "no token: 16 connections send heads of 1990 fields as fast as they are answered",
    attack: heads(() => fields(1_990)),
  },
  {
    name: "many-fields-allowed",
    title: "no token: 16 connections send heads of 190 fields as fast as they are answered",
    attack: heads(() => fields(190)),
  },
  {
    name: "many-fields-token",
    title: "one user: 16 connections send heads of 190 fields as fast as they are answered",
    attack: heads((token) => `authorization: Bearer ${token}\r\n${fields(190)}`),
  },
  {
    name: "many-fields-empty",
    title:
      "no token: 16 connections send heads of 8000 fields, a name of one letter each, as fast as they are answered",
    attack: heads(() => "a:\r\n".repeat(8_000)),
  },
  {
    name: "many-fields-trailers",
    title: "one user: 16 connections upload bodies with 7000 fields behind, as fast as they are answered",
    attack: heads(
      (token) =>
        `authorization: Bearer ${token}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n${"a:\r\n".repeat(7_000)}`,
      "POST /graph/me/upload HTTP/1.1\r\nhost: x\r\n",
    ),
  },
  {
    name: "heads-at-rest",
    title: "no token: 8000 connections send a head of 30 KB, and stay open when it is answered",
    attack: atRest,
  },
  {
    name: "churn",
    title: "no token: 48 connections at a time are opened and reset, half of them amid a head",
    attack: churn,
  },
];
