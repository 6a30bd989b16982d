/** From the start of the process until `/readyz` agrees, and what an idle gateway takes in memory. */

import { setTimeout as delay } from "node:timers/promises";
import { freePort } from "../../support/free-port.ts";
import { GATEWAY } from "../contenders.ts";
import { residentMemory } from "../processor.ts";
import type { Scenario } from "../stage.ts";
import { median } from "../statistics.ts";

const POLL_MS = 5;
const LIMIT_MS = 20_000;
/** By then the work of the start is over. */
export const IDLE_MS = 500;

export const startUp: Scenario = {
  name: "start-up",
  async run(stage) {
    const times: number[] = [];
    const memories: number[] = [];
    for (let count = stage.quick ? 1 : 7; count > 0; count -= 1) {
      const adminPort = await freePort();
      const began = performance.now();
      const starting = stage.start(GATEWAY, { ADMIN_PORT: `${adminPort}` });
      await untilReady(adminPort);
      times.push(performance.now() - began);
      const server = await starting;
      await delay(IDLE_MS);
      memories.push(residentMemory(server.pid) ?? Number.NaN);
      await server.stop();
    }
    return {
      title: `start-up: median of ${times.length} starts, keys fetched from an authority near by`,
      columns: [
        { name: "median", digits: 0 },
        { name: "lowest", digits: 0 },
        { name: "highest", digits: 0 },
      ],
      rows: [
        {
          name: "process start to ready, ms",
          figures: [median(times), Math.min(...times), Math.max(...times)],
        },
        {
          name: "resident memory when idle, MiB",
          figures: [median(memories), Math.min(...memories), Math.max(...memories)],
        },
      ],
      targets: [
        { what: "process start to ready, ms", value: median(times), digits: 0, limit: { atMost: 600 } },
        { what: "resident memory when idle, MiB", value: median(memories), digits: 0, limit: { atMost: 90 } },
      ],
    };
  },
};

/** @throws when the gateway does not become ready. */
export async function untilReady(port: number): Promise<void> {
  for (const deadline = performance.now() + LIMIT_MS; performance.now() < deadline; ) {
    const response = await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined);
    await response?.body?.cancel();
    if (response?.status === 200) return;
    await delay(POLL_MS);
  }
  throw new Error("the gateway did not become ready");
}
