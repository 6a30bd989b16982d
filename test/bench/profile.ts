/** Where the processor time and the memory of one hit and of one decision go: by room and by dependency, beside the bare pass-through. */

import { mkdirSync, writeFileSync } from "node:fs";
import type { HeapProfiler, Profiler } from "node:inspector";
import { startAuthority } from "./authority.ts";
import {
  type Contender,
  environment,
  GATEWAY,
  GATEWAY_WITH_LOCAL,
  PASS_THROUGH,
  unsheddingConfig,
} from "./contenders.ts";
import { leaveServerCore, threadUse } from "./processor.ts";
import { PROFILER, type Server, startServer } from "./server-process.ts";
import { allocations, functionOf, partOf, type Shares, scaled, selfTimes } from "./shares.ts";
import { QUESTION, SMALL_BODY_BYTES } from "./stage.ts";
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

/** What is asked of a server, and how large the body of each answer is. */
interface Asked {
  readonly contender: Contender;
  readonly env: Readonly<Record<string, string>>;
  readonly rotation: Rotation;
  readonly bodyBytes: number;
  readonly portOf: (server: Server) => number;
}

/** Needs `dist`. Prints two tables and leaves the profiles in `bench-profiles`. */
export async function benchProfile(): Promise<boolean> {
  const authority = await startAuthority();
  const api = await startFixedApi(SMALL_BODY_BYTES);
  mkdirSync(DIRECTORY, { recursive: true });
  try {
    const tokens = await authority.mint(USERS);
    const env = environment(authority, api.url);
    const hit = {
      env: { ...env, ...unsheddingConfig() },
      rotation: rotate("/graph/me", tokens),
      bodyBytes: SMALL_BODY_BYTES,
      portOf: ({ port }: Server) => port,
    };
    const decision = {
      env: { ...env, ...GATEWAY_WITH_LOCAL.env, ...unsheddingConfig(".", "gateway-local.yaml") },
      rotation: rotate("/forward-auth/graph", tokens, QUESTION),
      bodyBytes: 0,
      portOf: ({ localPort = 0 }: Server) => localPort,
    };
    leaveServerCore();
    const all: readonly Asked[] = [
      { ...hit, contender: PASS_THROUGH },
      { ...hit, contender: GATEWAY },
      { ...decision, contender: { ...GATEWAY_WITH_LOCAL, env: {} } },
    ];
    const profiled: Profiled[] = [];
    for (const asked of all) profiled.push(await profile(asked));
    console.log(`\n${comparison("CPU µs a request", 1, "usByPart", profiled)}`);
    console.log(`\n${comparison("allocated bytes a request", 0, "bytesByPart", profiled)}`);
    for (const [index, name] of COLUMNS.entries())
      if (index > 0)
        console.log(`\n${name}, CPU µs a request by function\n${list(profiled[index]?.usByFunction)}`);
    console.log(`\nprofiles: ${DIRECTORY}/`);
    return true;
  } finally {
    api.close();
    authority.close();
  }
}

async function profile(asked: Asked): Promise<Profiled> {
  const { contender, env } = asked;
  const server = await startServer({
    name: contender.name,
    args: [...PROFILER, ...contender.args],
    env: { ...env, ...contender.env },
    ipc: true,
  });
  try {
    const run = (requests: number) => send(server, asked, requests);
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
async function send(server: Server, { rotation, bodyBytes, portOf }: Asked, requests: number) {
  let before = threadUse(server.pid);
  const { refused } = await load({
    port: portOf(server),
    rotation,
    connections: CONNECTIONS,
    until: { requests },
    bodyBytes,
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

const COLUMNS = ["pass-through", "hit", "decision"] as const;

/** The last column is what a hit takes more than the pass-through. */
function comparison(
  title: string,
  digits: number,
  of: "usByPart" | "bytesByPart",
  profiled: readonly Profiled[],
): string {
  const shares = profiled.map((one) => one[of]);
  const sum = (all: Shares) => [...all.values()].reduce((sum, one) => sum + one, 0);
  const cell = (value: number) => value.toFixed(digits).padStart(14);
  const line = (name: string, values: readonly number[]) =>
    name.padEnd(NAME_WIDTH) + [...values, (values[1] ?? 0) - (values[0] ?? 0)].map(cell).join("");
  const most = (part: string) => Math.max(...shares.map((all) => all.get(part) ?? 0));
  const parts = [...new Set(shares.flatMap((all) => [...all.keys()]))].sort(
    (one, other) => most(other) - most(one),
  );
  return [
    title.padEnd(NAME_WIDTH) + [...COLUMNS, "more"].map((name) => name.padStart(14)).join(""),
    ...parts.map((part) =>
      line(
        part,
        shares.map((all) => all.get(part) ?? 0),
      ),
    ),
    line("total", shares.map(sum)),
  ].join("\n");
}

function list(shares: Shares = new Map()): string {
  return [...shares]
    .sort(([, one], [, other]) => other - one)
    .slice(0, LISTED_FUNCTIONS)
    .map(([name, value]) => `${value.toFixed(1).padStart(8)}  ${name}`)
    .join("\n");
}
