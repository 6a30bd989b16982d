/** `npx tsx test/bench/console.ts`: CPU of a gateway without the console, with it and no viewer, and with five viewers. */

import { get } from "node:http";
import { Agent, fetch as undiciFetch } from "undici";
import { controlOf } from "../demo/tour.ts";
import { startEmulatorProcess, startGatewayProcess } from "../support/processes.ts";

const RATE = Number(process.argv[2] ?? 500);
const SECONDS = Number(process.argv[3] ?? 10);
const VIEWERS = 5;
const ROUNDS = 2;

const emulator = await startEmulatorProcess();
const token = await controlOf(emulator.facts.controlUrl).mint({ user: "ada" });
const agent = new Agent({ connections: 32 });
const means: Record<string, number> = {};
const YAML = { without: "false", "no viewer": "true", "five viewers": "true" } as const;

for (let round = 0; round < ROUNDS; round++) {
  for (const [name, enabled] of Object.entries(YAML)) {
    const gateway = await startGatewayProcess(emulator.facts, {
      credential: "workload-identity",
      entry: ["dist/main.js"],
      env: { CONSOLE: enabled, LOG_LEVEL: "info" },
    });
    const watching = name === "five viewers" ? VIEWERS : 0;
    let bytes = 0;
    const viewers = Array.from({ length: watching }, () =>
      get(`${gateway.adminUrl}/console/events`, (answer) => {
        answer.on("data", (chunk: Buffer) => {
          bytes += chunk.length;
        });
        answer.on("error", () => {});
      }).on("error", () => {}),
    );
    await load(gateway.url, 2);
    const before = await cpuSeconds(gateway.adminUrl);
    await load(gateway.url, SECONDS);
    const percent = (100 * ((await cpuSeconds(gateway.adminUrl)) - before)) / SECONDS;
    means[name] = (means[name] ?? 0) + percent / ROUNDS;
    console.log(
      `round ${round + 1}, ${name}: ${percent.toFixed(1)} % of one core, ${bytes} bytes to viewers`,
    );
    for (const viewer of viewers) viewer.destroy();
    await gateway.stop();
  }
}
for (const [name, percent] of Object.entries(means)) console.log(`${name}: ${percent.toFixed(1)} %`);
await agent.close();
await emulator.stop();
process.exit(0);

/** Requests at a steady rate, sent whether or not earlier ones have been answered. */
async function load(url: string, seconds: number): Promise<void> {
  const pending = new Set<Promise<void>>();
  const began = performance.now();
  for (let sent = 0; sent < RATE * seconds; ) {
    const due = Math.min(RATE * seconds, ((performance.now() - began) / 1000) * RATE);
    for (; sent < due; sent++) {
      const call = undiciFetch(`${url}/graph/me`, {
        headers: { authorization: `Bearer ${token}` },
        dispatcher: agent,
      }).then(async (response) => {
        await response.arrayBuffer();
        if (response.status !== 200) throw new Error(`status ${response.status}`);
      });
      pending.add(call);
      void call.finally(() => pending.delete(call));
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await Promise.all(pending);
}

async function cpuSeconds(adminUrl: string): Promise<number> {
  const text = await (await fetch(`${adminUrl}/metrics`)).text();
  return Number(/^process_cpu_seconds_total (\S+)/m.exec(text)?.[1]);
}
