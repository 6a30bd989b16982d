/** Where the processor time and the memory of one hit go: by room and by dependency, in the gateway and in the bare pass-through. */

import { mkdirSync, writeFileSync } from "node:fs";
import type { HeapProfiler, Profiler } from "node:inspector";
import { startAuthority } from "./authority.ts";
import { type Contender, environment, GATEWAY, PASS_THROUGH, unsheddingConfig } from "./contenders.ts";
import { leaveServerCore, threadUse } from "./processor.ts";
import { PROFILER, type Server, startServer } from "./server-process.ts";
import { allocations, functionOf, partOf, type Shares, scaled, selfTimes } from "./shares.ts";
import { SMALL_BODY_BYTES } from "./stage.ts";
import { median } from "./statistics.ts";
import { load, type Rotation, rotate, startFixedApi } from "./wire.ts";

const USERS = 100;
const CONNECTIONS = 32;
const WARM_UP_REQUESTS = 30_000;
const ROUNDS = 5;
const ROUND_REQUESTS = 5_000;
const PROFILED_REQUESTS = 30_000;
const DIRECTORY = "bench-profiles";
const LISTED_FUNCTIONS = 25;

interface Profiled {
  readonly name: string;
  /** CPU µs of a request without the profiler, all threads. */
  readonly totalUs: number;
  readonly usByPart: Shares;
  readonly usByFunction: Shares;
  readonly bytesByPart: Shares;
}

/** Needs `dist`. Prints two tables and leaves the profiles in `bench-profiles`. */
export async function benchProfile(): Promise<boolean> {
  const authority = await startAuthority();
  const api = await startFixedApi(SMALL_BODY_BYTES);
  mkdirSync(DIRECTORY, { recursive: true });
  try {
    const rotation = rotate("/graph/me", await authority.mint(USERS));
    const env = { ...environment(authority, api.url), ...unsheddingConfig() };
    leaveServerCore();
    const profiled: Profiled[] = [];
    for (const contender of [PASS_THROUGH, GATEWAY]) profiled.push(await profile(contender, env, rotation));
    const [bare, gateway] = profiled as [Profiled, Profiled];
    console.log(`\n${comparison("CPU µs a request", 1, "usByPart", bare, gateway)}`);
    console.log(`\n${comparison("allocated bytes a request", 0, "bytesByPart", bare, gateway)}`);
    console.log(`\ngateway, CPU µs a request by function\n${list(gateway.usByFunction)}`);
    console.log(`\nprofiles: ${DIRECTORY}/`);
    return true;
  } finally {
    api.close();
    authority.close();
  }
}

async function profile(
  contender: Contender,
  env: Readonly<Record<string, string>>,
  rotation: Rotation,
): Promise<Profiled> {
  const server = await startServer({
    name: contender.name,
    args: [...PROFILER, ...contender.args],
    env: { ...env, ...contender.env },
    ipc: true,
  });
  try {
    const run = (requests: number) => send(server, rotation, requests);
    await run(USERS);
    await run(WARM_UP_REQUESTS);
    const costs: { main: number; others: number }[] = [];
    for (let round = 0; round < ROUNDS; round += 1) costs.push(await run(ROUND_REQUESTS));
    const main = median(costs.map((cost) => cost.main));
    const others = median(costs.map((cost) => cost.others));

    await server.ask("start cpu");
    await run(PROFILED_REQUESTS);
    const cpu = (await server.ask("stop cpu")) as Profiler.Profile;
    await server.ask("start heap");
    await run(PROFILED_REQUESTS);
    const heap = (await server.ask("stop heap")) as HeapProfiler.SamplingHeapProfile;

    const file = contender.name.replaceAll(/[^A-Za-z0-9]+/g, "-");
    writeFileSync(`${DIRECTORY}/${file}.cpuprofile`, JSON.stringify(cpu));
    writeFileSync(`${DIRECTORY}/${file}.heapprofile`, JSON.stringify(heap));
    return {
      name: contender.name,
      totalUs: main + others,
      // The profiler costs time itself, so its samples say only how the unprofiled time is shared out.
      usByPart: new Map([...scaled(selfTimes(cpu, partOf), main), ["other threads", others]]),
      usByFunction: scaled(selfTimes(cpu, functionOf), main),
      bytesByPart: allocations(heap, PROFILED_REQUESTS),
    };
  } finally {
    await server.stop();
  }
}

/** CPU µs of a request: of the main thread, and of all others (collector, compiler, admin listener). */
async function send(server: Server, rotation: Rotation, requests: number) {
  let before = threadUse(server.pid);
  const { refused } = await load({
    port: server.port,
    rotation,
    connections: CONNECTIONS,
    until: { requests },
    bodyBytes: SMALL_BODY_BYTES,
    onStart() {
      before = threadUse(server.pid);
    },
  });
  const after = threadUse(server.pid);
  if (refused > 0) throw new Error(`${server.name}: ${refused} answers were not as asked for`);
  const us = (ms: number) => (ms * 1000) / requests;
  return { main: us(after.main - before.main), others: us(after.others - before.others) };
}

const NAME_WIDTH = 48;

function comparison(
  title: string,
  digits: number,
  of: "usByPart" | "bytesByPart",
  bare: Profiled,
  gateway: Profiled,
): string {
  const sum = (shares: Shares) => [...shares.values()].reduce((all, one) => all + one, 0);
  const cell = (value: number) => value.toFixed(digits).padStart(14);
  const line = (name: string, one: number, other: number) =>
    name.padEnd(NAME_WIDTH) + cell(one) + cell(other) + cell(other - one);
  const parts = [...new Set([...gateway[of].keys(), ...bare[of].keys()])].sort(
    (one, other) => (gateway[of].get(other) ?? 0) - (gateway[of].get(one) ?? 0),
  );
  return [
    title.padEnd(NAME_WIDTH) + ["pass-through", "gateway", "more"].map((name) => name.padStart(14)).join(""),
    ...parts.map((part) => line(part, bare[of].get(part) ?? 0, gateway[of].get(part) ?? 0)),
    line("total", sum(bare[of]), sum(gateway[of])),
  ].join("\n");
}

function list(shares: Shares): string {
  return [...shares]
    .sort(([, one], [, other]) => other - one)
    .slice(0, LISTED_FUNCTIONS)
    .map(([name, value]) => `${value.toFixed(1).padStart(8)}  ${name}`)
    .join("\n");
}
