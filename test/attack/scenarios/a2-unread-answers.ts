/** Callers who ask and never read: their answers must not be held for ever, nor keep a process from its end. */

import type { Attack, AttackStage, Scenario } from "../scenario.ts";
import { bearer, repeated, requestOf } from "../wire.ts";

const CONNECTIONS = 60;
const MIB = 2 ** 20;

function unread(connections: number, bytes: (stage: AttackStage) => Buffer): Attack {
  return async (stage) => {
    const all = bytes(stage);
    await stage.attacker.hold(connections, "nothing", () => all);
    await stage.over;
    return [];
  };
}

const problems = () => repeated(Buffer.from("GET /graph/me HTTP/1.1\r\nHost:x\r\n\r\n"), 9_000);

function batchOf(parts: number, bytes: number): string {
  const requests = Array.from({ length: parts }, (_, index) => ({
    id: String(index),
    method: "GET",
    url: `/me/big?bytes=${bytes}`,
  }));
  return JSON.stringify({ requests });
}

export const a2: readonly Scenario[] = [
  {
    name: "a2-problems",
    title: `no token: ${CONNECTIONS} connections hold problems unread`,
    attack: unread(CONNECTIONS, problems),
  },
  {
    name: "a2-forwarded",
    title: `one user: ${CONNECTIONS} connections hold forwarded answers of 8 MiB unread`,
    quick: true,
    attack: unread(CONNECTIONS, ({ newToken }) =>
      requestOf(`/graph/me/big?bytes=${8 * MIB}`, bearer(newToken())),
    ),
  },
  {
    name: "a2-batch",
    title: `one user: ${CONNECTIONS / 2} connections hold $batch answers of 8 MiB unread`,
    attack: unread(CONNECTIONS / 2, ({ newToken }) =>
      requestOf(
        "/graph/$batch",
        { ...bearer(newToken()), "content-type": "application/json" },
        { method: "POST", body: batchOf(4, 2 * MIB) },
      ),
    ),
  },
  {
    name: "a2-handler",
    title: `one user: ${CONNECTIONS} connections hold a handler's answers unread`,
    needsRouteKey: "handler",
    settings: { routes: [{ path: "/profile", handler: "profile", downstreamApi: "graph" }] },
    attack: unread(CONNECTIONS, ({ newToken }) => repeated(requestOf("/profile", bearer(newToken())), 4_000)),
  },
  {
    name: "a2-connections-full",
    title: "no token: 300 connections, all that 200 are allowed, hold problems unread",
    settings: { http: { connections: { max: 200 } } },
    attack: unread(300, problems),
  },
  {
    name: "a2-connections-idle",
    title: "no token: 300 connections, all that 200 are allowed, say nothing at all",
    settings: { http: { connections: { max: 200 } } },
    attack: unread(300, () => Buffer.alloc(0)),
  },
];
