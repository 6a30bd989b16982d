/** This build and that of another revision under the same load, start after start: what a change costs or saves. */

import { setTimeout as delay } from "node:timers/promises";
import { startAuthority } from "./authority.ts";
import { environment, GATEWAY, PASS_THROUGH, unsheddingConfig } from "./contenders.ts";
import { leaveServerCore, residentMemory } from "./processor.ts";
import { buildRevision } from "./revision.ts";
import { compare } from "./rounds.ts";
import { IDLE_MS, untilReady } from "./scenarios/start-up.ts";
import { type Server, type ServerOptions, startServer } from "./server-process.ts";
import { SMALL_BODY_BYTES } from "./stage.ts";
import { median, medianInterval, percentile } from "./statistics.ts";
import { resultTable } from "./table.ts";
import { type Rotation, rotate, startFixedApi } from "./wire.ts";

const USERS = 100;
const CONNECTIONS = 32;
/**
 * One start of a build differs from the next by a quarter, for as long as it runs: a start is one sample, however often it
 * is measured. They take turns, in both orders, so that what else the machine does then hits all alike.
 */
const STARTS = 12;
const ROUNDS = { rounds: 4, roundMs: 400, warmUpMs: 3_000 };

/** What one start has shown. */
interface Sample {
  readonly processorUs: number;
  /** CPU time of all threads until `/readyz` agrees, ms. */
  readonly readyMs: number;
  readonly idleMiB: number;
}

/**
 * Needs `dist`. Takes four minutes.
 *
 * @throws when the revision does not exist or does not build.
 */
export async function benchCompare(revision: string): Promise<void> {
  const { commit, root } = buildRevision(revision);
  const authority = await startAuthority();
  const api = await startFixedApi(SMALL_BODY_BYTES);
  try {
    const rotation = rotate("/graph/me", await authority.mint(USERS));
    const env = environment(authority, api.url);
    leaveServerCore();
    const here = { ...GATEWAY, name: "obo-gateway here", env: { ...env, ...unsheddingConfig() } };
    const before = {
      ...GATEWAY,
      name: `obo-gateway at ${commit}`,
      env: { ...env, ...unsheddingConfig(root) },
      root,
    };
    const contenders: readonly ServerOptions[] = [{ ...PASS_THROUGH, env }, before, here];
    const samples = contenders.map((): Sample[] => []);
    for (let start = 0; start < STARTS; start += 1) {
      const inTurn = [...contenders.entries()];
      if (start % 2 === 1) inTurn.reverse();
      for (const [index, contender] of inTurn) samples[index]?.push(await sample(contender, rotation));
    }
    const [, base = []] = samples;
    const table = (title: string, value: (sample: Sample) => number, rows: readonly number[]) =>
      resultTable({
        title,
        columns: [
          { name: "1/4", digits: 1 },
          { name: "median", digits: 1 },
          { name: "3/4", digits: 1 },
          { name: `to ${commit}`, digits: 3 },
          { name: "from", digits: 3 },
          { name: "to", digits: 3 },
        ],
        rows: rows.map((row) => ({
          name: contenders[row]?.name ?? "",
          figures: figures(samples[row]?.map(value) ?? [], base.map(value)),
        })),
        targets: [],
        notes: [
          `quartiles of ${STARTS} starts; the ratio is the median of pairs of starts, and lies between the last two with 95 % confidence`,
        ],
      });
    const hit = `CPU µs of a hit: ${USERS} users, ${CONNECTIONS} connections, 1 KiB answers`;
    console.log(table(hit, ({ processorUs }) => processorUs, [0, 1, 2]));
    console.log(table("CPU ms from the start until ready", ({ readyMs }) => readyMs, [1, 2]));
    console.log(table("resident MiB when idle", ({ idleMiB }) => idleMiB, [1, 2]));
  } finally {
    api.close();
    authority.close();
  }
}

async function sample(options: ServerOptions, rotation: Rotation): Promise<Sample> {
  const server = await startServer(options);
  try {
    return { ...(await idle(server)), processorUs: await costOfHit(server, rotation) };
  } finally {
    await server.stop();
  }
}

async function idle({ pid, adminPort, processorUse }: Server): Promise<Omit<Sample, "processorUs">> {
  if (adminPort !== undefined) await untilReady(adminPort);
  const readyMs = processorUse()?.ran ?? Number.NaN;
  await delay(IDLE_MS);
  return { readyMs, idleMiB: residentMemory(pid) ?? Number.NaN };
}

async function costOfHit(server: Server, rotation: Rotation): Promise<number> {
  const load = { name: server.name, server, rotation, connections: CONNECTIONS, bodyBytes: SMALL_BODY_BYTES };
  const { rounds } = await compare([load], ROUNDS);
  return median(rounds.flat().map(({ processorUs }) => processorUs));
}

function figures(values: readonly number[], base: readonly number[]): number[] {
  const sorted = values.toSorted((one, other) => one - other);
  const ratios = values.map((value, start) => value / (base[start] ?? Number.NaN));
  return [
    percentile(sorted, 0.25),
    median(values),
    percentile(sorted, 0.75),
    median(ratios),
    ...medianInterval(ratios),
  ];
}
