/** What every scenario plays on: an authority, a downstream API, and the means to start servers that use both. */

import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { type Contender, environment } from "./contenders.ts";
import type { Result } from "./result.ts";
import type { RoundsOptions } from "./rounds.ts";
import { type Server, startServer } from "./server-process.ts";
import { type FixedApi, startFixedApi } from "./wire.ts";

export const SMALL_BODY_BYTES = 1024;

export interface Stage {
  readonly quick: boolean;
  readonly rounds: RoundsOptions;
  readonly emulator: Emulator;
  readonly api: FixedApi;
  /** Access tokens of so many users, the same ones whenever asked. */
  tokens(users: number): readonly string[];
  /** Runs until the scenario ends. `env` is added to what every contender is told. */
  start(contender: Contender, env?: Readonly<Record<string, string>>): Promise<Server>;
}

export interface Scenario {
  readonly name: string;
  run(stage: Stage): Promise<Result>;
}

export interface StageOptions {
  readonly quick: boolean;
  /** Directory for CPU profiles of the servers. */
  readonly profiles: string | undefined;
}

/** Make a token as long as genuine ones with a few groups and roles: 1.9 KB. */
const CLAIMS = {
  roles: ["Reader"],
  groups: Array.from({ length: 11 }, (_, n) => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`),
};

/** Longest that one scenario may take, ms: what hangs must not hang the run. */
const SCENARIO_LIMIT_MS = 180_000;

/** @throws when something broke. A missed target is a result. */
export async function play(
  scenarios: readonly Scenario[],
  { quick, profiles }: StageOptions,
  onResult: (scenario: Scenario, result: Result) => void,
): Promise<void> {
  const [emulator, api] = await Promise.all([startEmulator(), startFixedApi(SMALL_BODY_BYTES)]);
  const tokens: string[] = [];
  const rounds = quick
    ? { rounds: 5, roundMs: 400, warmUpMs: 800 }
    : { rounds: 7, roundMs: 1_000, warmUpMs: 2_000 };
  try {
    for (const scenario of scenarios) {
      const servers: Server[] = [];
      const stage: Stage = {
        quick,
        rounds,
        emulator,
        api,
        tokens(users) {
          while (tokens.length < users)
            tokens.push(emulator.mintUserToken({ user: emulator.addUser(), claims: CLAIMS }));
          return tokens.slice(0, users);
        },
        async start(contender, env = {}) {
          const server = await startServer({
            name: `${scenario.name}-${servers.length}-${contender.name.replaceAll(/[^A-Za-z0-9]+/g, "-")}`,
            args: contender.args,
            env: { ...environment(emulator, api.url), ...env },
            profiles,
          });
          servers.push(server);
          return server;
        },
      };
      onResult(scenario, await bounded(scenario, stage));
      await Promise.all(servers.map((server) => server.stop()));
      api.answerWith(SMALL_BODY_BYTES);
    }
  } finally {
    api.close();
    await emulator.close();
  }
}

async function bounded(scenario: Scenario, stage: Stage): Promise<Result> {
  let limit: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    limit = setTimeout(
      () => reject(new Error(`${scenario.name} took longer than ${SCENARIO_LIMIT_MS / 1000} s`)),
      SCENARIO_LIMIT_MS,
    );
  });
  try {
    return await Promise.race([scenario.run(stage), late]);
  } finally {
    clearTimeout(limit);
  }
}
