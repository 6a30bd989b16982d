/** Servers take turns under the same load, round after round, so that a noisy moment of the machine hits all of them. */

import type { Server } from "./server-process.ts";
import { median } from "./statistics.ts";
import { type Callers, connectCallers, type LoadOptions, type LoadResult, type Rotation } from "./wire.ts";

export interface Round extends LoadResult {
  readonly perSecond: number;
  /** Processor time of the server for one request, µs. */
  readonly processorUs: number;
  /** Share of its core that the load generator took, the downstream API and the authority included. */
  readonly generatorShare: number;
  /** Share of the time in which the server could have run, but its core was taken. */
  readonly waitingShare: number;
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
  /** A sentence on what the figures may be doubted for. */
  readonly conditions: string;
}

/** Of the time for warming up, what the server must have had on a processor: waiting for its core makes nobody warm. */
const LEAST_SHARE = 0.6;
const MOST_WARM_UPS = 3;

/**
 * Each turn has connections of its own, which stay open from its warming up to its last round: opened anew for each round,
 * they would be a part of what is measured that depends on how long a round takes.
 *
 * @throws when any answer is not what was asked for: the figures would be those of refusals.
 */
export async function compare(turns: readonly Turn[], options: RoundsOptions): Promise<Compared> {
  const inTurn = turns.map((turn) => ({ turn, callers: callersOf(turn), rounds: [] as Round[] }));
  try {
    for (const { turn, callers } of inTurn) await warmUp(turn, callers, turns, options.warmUpMs);
    for (const { server } of turns) await server.profile();
    for (let round = 0; round < options.rounds; round += 1)
      for (const { turn, callers, rounds } of inTurn)
        rounds.push(await runOn(callers, turn, { ms: options.roundMs }));
  } finally {
    for (const { callers } of inTurn) callers.close();
  }
  const rounds = inTurn.map((one) => one.rounds);
  return { rounds, conditions: conditionsOf(rounds) };
}

/** The connections of a turn, not open yet. */
export function callersOf({ server, connections }: Turn): Callers {
  return connectCallers({ port: server.port, connections });
}

function conditionsOf(rounds: readonly (readonly Round[])[]): string {
  const busiest = Math.max(...rounds.map((list) => median(list.map(({ generatorShare }) => generatorShare))));
  const waiting = median(rounds.flat().map(({ waitingShare }) => waitingShare));
  const percent = (share: number) => `${(share * 100).toFixed(0)} %`;
  return [
    `load generator and downstream API together took ${percent(busiest)} of a core at most`,
    busiest > 0.95 ? " (at its limit: read the CPU time of the fastest)" : "",
    Number.isNaN(waiting) ? "" : `; servers waited for their core ${percent(waiting)} of the time`,
    waiting > 0.1 ? " (other work ran on it: read the CPU time, not the rates)" : "",
  ].join("");
}

/** Every user once, whatever time that takes; and then until the compiler has seen enough. */
async function warmUp(turn: Turn, callers: Callers, turns: readonly Turn[], warmUpMs: number): Promise<void> {
  if (turn.isFilled !== true)
    await runOn(callers, turn, { requests: Math.max(turn.rotation.users, turn.connections) });
  const ms = warmUpMs / turns.filter(({ server }) => server === turn.server).length;
  const before = turn.server.processorUse()?.ran ?? Number.NaN;
  for (let tries = 0; tries < MOST_WARM_UPS; tries += 1) {
    await runOn(callers, turn, { ms });
    const ran = (turn.server.processorUse()?.ran ?? Number.NaN) - before;
    if (!(ran < LEAST_SHARE * ms)) return;
  }
}

/**
 * On connections of its own.
 *
 * @throws when any answer is not what was asked for.
 */
export async function run(turn: Turn, until: LoadOptions["until"]): Promise<Round> {
  const callers = callersOf(turn);
  try {
    return await runOn(callers, turn, until);
  } finally {
    callers.close();
  }
}

/** @throws when any answer is not what was asked for. */
export async function runOn(callers: Callers, turn: Turn, until: LoadOptions["until"]): Promise<Round> {
  const { server, rotation, bodyBytes } = turn;
  turn.prepare?.();
  let before: ReturnType<Server["processorUse"]>;
  let ownBefore = process.cpuUsage();
  const result = await callers.load({
    rotation,
    until,
    bodyBytes,
    onStart() {
      before = server.processorUse();
      ownBefore = process.cpuUsage();
    },
  });
  const own = process.cpuUsage(ownBefore);
  const after = server.processorUse();
  const since = (kind: "ran" | "waited") => (after?.[kind] ?? Number.NaN) - (before?.[kind] ?? Number.NaN);
  if (result.refused > 0) throw new Error(`${turn.name}: ${result.refused} answers were not as asked for`);
  return {
    ...result,
    perSecond: result.requests / result.seconds,
    processorUs: (since("ran") * 1000) / result.requests,
    generatorShare: (own.user + own.system) / 1e6 / result.seconds,
    waitingShare: since("waited") / 1000 / result.seconds,
  };
}
