/** The admin port: it shares the process, so a flood there must not be felt here. */

import type { Attack, Scenario } from "../scenario.ts";
import { requestOf } from "../wire.ts";

function flood(path: string): Attack {
  return async ({ attacker, adminPort, over }) => {
    const request = requestOf(path, { host: "localhost" });
    attacker.pump({ connections: 32, depth: 4, port: adminPort, request: () => request });
    await over;
    return [];
  };
}

function held(connections: number, bytes: Buffer, reading: "all" | "nothing"): Attack {
  return async ({ attacker, adminPort, over }) => {
    for (let opened = 0; opened < connections; opened++)
      (await attacker.open(reading, { port: adminPort }))?.write(bytes);
    await over;
    return [];
  };
}

const METRICS = requestOf("/metrics", { host: "localhost" });

export const adminPort: readonly Scenario[] = [
  {
    name: "admin-metrics",
    title: "admin port: 32 connections fetch /metrics as fast as they are answered",
    quick: true,
    attack: flood("/metrics"),
  },
  {
    name: "admin-readyz",
    title: "admin port: 32 connections fetch /readyz as fast as they are answered",
    attack: flood("/readyz"),
  },
  {
    name: "admin-idle",
    title: "admin port: 1000 connections say nothing",
    attack: held(1_000, Buffer.alloc(0), "all"),
  },
  {
    name: "admin-unread",
    title: "admin port: 50 connections pipeline 400 requests for /metrics each and read nothing",
    attack: held(50, Buffer.alloc(METRICS.length * 400, METRICS), "nothing"),
  },
];
