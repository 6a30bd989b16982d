/** Servers take turns under the same load, round after round, so that a noisy moment of the machine hits all of them. */

import type { Server } from "./server-process.ts";
import { median } from "./statistics.ts";
import { type LoadOptions, type LoadResult, load, type Rotation } from "./wire.ts";

export interface Round extends LoadResult {
  readonly perSecond: number;
  /** Processor time of the server for one request, µs. */
  readonly processorUs: number;
  /** Share of its core that the load generator took, the downstream API and the authority included. */
  readonly generatorShare: number;
}

/** One line of a comparison: a server, and the load that is put on it. */
export interface Turn {
  readonly name: string;
  readonly server: Server;
  readonly rotation: Rotation;
  readonly connections: number;
  readonly bodyBytes: number;
  /** Whether all its users have been there, so that warming up need not bring every one of them. */
  readonly isFilled?: boolean;
  /** Called before each of its rounds. */
  readonly prepare?: () => void;
}

export interface RoundsOptions {
  readonly rounds: number;
  readonly roundMs: number;
  readonly warmUpMs: number;
}

export interface Compared {
  /** In the order of the turns; each holds one entry a round. */
  readonly rounds: readonly (readonly Round[])[];
  /** At its busiest turn. */
  readonly generatorShare: number;
}

const ENOUGH_REQUESTS = 4_000;
const MOST_WARM_UPS = 3;

/** @throws when any answer is not what was asked for: the figures would be those of refusals. */
export async function compare(turns: readonly Turn[], options: RoundsOptions): Promise<Compared> {
  for (const turn of turns) await warmUp(turn, turns, options.warmUpMs);
  const rounds = turns.map((): Round[] => []);
  const shares = turns.map((): number[] => []);
  for (let round = 0; round < options.rounds; round += 1)
    for (const [index, turn] of turns.entries()) {
      const result = await run(turn, { ms: options.roundMs });
      rounds[index]?.push(result);
      shares[index]?.push(result.generatorShare);
    }
  return { rounds, generatorShare: Math.max(...shares.map(median)) };
}

/** Every user once, whatever time that takes; and then until the compiler has seen enough. */
async function warmUp(turn: Turn, turns: readonly Turn[], warmUpMs: number): Promise<void> {
  if (turn.isFilled !== true) await run(turn, { requests: Math.max(turn.rotation.users, turn.connections) });
  const ms = warmUpMs / turns.filter(({ server }) => server === turn.server).length;
  let seen = 0;
  // On a machine that is busy with other things the time alone would say little.
  for (let tries = 0; tries < MOST_WARM_UPS && seen < ENOUGH_REQUESTS; tries += 1)
    seen += (await run(turn, { ms })).requests;
}

/** @throws when any answer is not what was asked for. */
export async function run(turn: Turn, until: LoadOptions["until"]): Promise<Round> {
  const { server, rotation, connections, bodyBytes } = turn;
  turn.prepare?.();
  let processorBefore: number | undefined;
  let ownBefore = process.cpuUsage();
  const result = await load({
    port: server.port,
    rotation,
    connections,
    until,
    bodyBytes,
    onStart() {
      processorBefore = server.processorTime();
      ownBefore = process.cpuUsage();
    },
  });
  const own = process.cpuUsage(ownBefore);
  const took = (server.processorTime() ?? Number.NaN) - (processorBefore ?? Number.NaN);
  if (result.refused > 0) throw new Error(`${turn.name}: ${result.refused} answers were not as asked for`);
  return {
    ...result,
    perSecond: result.requests / result.seconds,
    processorUs: (took * 1000) / result.requests,
    generatorShare: (own.user + own.system) / 1e6 / result.seconds,
  };
}
