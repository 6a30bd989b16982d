/** The configuration that serves, and how another takes its place while requests go on. */

import { takeOver } from "./changes.ts";
import type { GatewayConfig } from "./config/load.ts";
import { ConfigurationError } from "./errors.ts";
import type { ServedCodeRoute } from "./http/code-route.ts";
import type { OptionalRooms } from "./optional-rooms.ts";
import type { ConfigurationEvent } from "./telemetry/contract.ts";

/** What serves because a configuration says so. */
export interface Served {
  readonly config: GatewayConfig;
  readonly routes: readonly ServedCodeRoute[];
  readonly rooms: OptionalRooms;
}

/** A configuration, and what follows from it alone; a reload replaces it as a whole. */
export interface Serving extends Served {
  readonly generation: number;
  readonly needRestart: readonly string[];
}

export type ReadConfig = () => GatewayConfig | Promise<GatewayConfig>;

/** What a running gateway made of another configuration. */
export type Reconfigured = ConfigurationEvent;

export interface ReplacingSteps {
  /** Rejects with a ConfigurationError when routes and APIs do not go together. */
  servedBy(config: GatewayConfig): Promise<Served>;
  /** Builds everything that can be refused; what it returns puts that in its place. */
  prepare(next: Serving): Promise<() => void>;
  onEvent(event: ConfigurationEvent): void;
}

export function openServing(first: Served) {
  let serving: Serving = { ...first, generation: 1, needRestart: [] };

  /** Rejects with a ConfigurationError when the configuration cannot serve; nothing has changed then. */
  async function replace(asked: GatewayConfig, { servedBy, prepare }: ReplacingSteps): Promise<Reconfigured> {
    const { config, changed, needRestart } = takeOver(serving.config, asked);
    if (changed.length === 0) {
      serving = { ...serving, needRestart };
      return { outcome: "unchanged", generation: serving.generation, needRestart };
    }
    const next = { ...(await servedBy(config)), generation: serving.generation + 1, needRestart };
    const begin = await prepare(next);
    begin();
    serving = next;
    return { outcome: "taken_over", generation: next.generation, changed, needRestart };
  }

  /** A configuration at fault becomes an event as well. */
  async function readInto(read: ReadConfig, steps: ReplacingSteps): Promise<Reconfigured> {
    try {
      return await replace(await read(), steps);
    } catch (error) {
      if (!(error instanceof ConfigurationError)) throw error;
      return { outcome: "refused", generation: serving.generation, faults: error.faults };
    }
  }

  return {
    current: () => serving,
    reconfigureBy: (steps: ReplacingSteps) =>
      inTurn(async (read: ReadConfig) => {
        const event = await readInto(read, steps);
        steps.onEvent(event);
        return event;
      }),
  };
}

/** One call after the other, so that what was read later also takes effect later. */
function inTurn<Argument, Result>(
  run: (argument: Argument) => Promise<Result>,
): (argument: Argument) => Promise<Result> {
  let last: Promise<unknown> = Promise.resolve();
  return (argument) => {
    const result = last.then(() => run(argument));
    last = result.catch(() => {});
    return result;
  };
}
