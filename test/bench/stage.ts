/** What every scenario plays on: an authority, a downstream API, and the means to start servers that use both. */

import { type Authority, startAuthority } from "./authority.ts";
import { type Contender, environment } from "./contenders.ts";
import { leaveServerCore, useEveryCore } from "./processor.ts";
import type { Result } from "./result.ts";
import type { RoundsOptions } from "./rounds.ts";
import { type Server, startServer } from "./server-process.ts";
import { type FixedApi, startFixedApi } from "./wire.ts";

export const SMALL_BODY_BYTES = 1024;

/** The fields by which nginx asks about a request, as lines of a head. */
export const QUESTION = "x-original-uri: /graph/me\r\nx-original-method: GET\r\n";

export interface Stage {
  readonly quick: boolean;
  readonly rounds: RoundsOptions;
  readonly authority: Authority;
  readonly api: FixedApi;
  /** Access tokens of so many users, the same ones whenever asked; of fewer where the limit does not allow more. */
  tokens(users: number, limitMs?: number): Promise<readonly string[]>;
  /** Access tokens of so many users that nobody has seen before. */
  newTokens(users: number): Promise<readonly string[]>;
  /** As told to nobody else, running and warm from earlier scenarios, if there were any. */
  known(contender: Contender): Promise<Server>;
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

const ROUNDS = { rounds: 5, roundMs: 500, warmUpMs: 1_500 };
const QUICK_ROUNDS = { rounds: 3, roundMs: 300, warmUpMs: 400 };

/** Longest that one scenario may take, ms: what hangs must not hang the run. */
const SCENARIO_LIMIT_MS = 180_000;

/** @throws when something broke. A missed target is a result. */
export async function play(
  scenarios: readonly Scenario[],
  { quick, profiles }: StageOptions,
  onResult: (scenario: Scenario, result: Result, seconds: number) => void,
): Promise<void> {
  const [authority, api] = await Promise.all([startAuthority(), startFixedApi(SMALL_BODY_BYTES)]);
  const tokens: string[] = [];
  const knownServers = new Map<Contender, Promise<Server>>();
  const launch = (name: string, contender: Contender, env: Readonly<Record<string, string>>) =>
    startServer({
      name: `${name}-${contender.name}`.replaceAll(/[^A-Za-z0-9]+/g, "-"),
      args: contender.args,
      env: { ...environment(authority, api.url), ...contender.env, ...env },
      ipc: contender.ipc ?? false,
      profiles,
    });
  try {
    for (const scenario of scenarios) {
      const servers: Promise<Server>[] = [];
      const stage: Stage = {
        quick,
        rounds: quick ? QUICK_ROUNDS : ROUNDS,
        authority,
        api,
        async tokens(users, limitMs) {
          if (users > tokens.length) tokens.push(...(await mint(authority, users - tokens.length, limitMs)));
          return tokens.slice(0, users);
        },
        newTokens: (users) => mint(authority, users),
        known(contender) {
          const server = knownServers.get(contender) ?? launch("bench", contender, {});
          knownServers.set(contender, server);
          return server;
        },
        start(contender, env = {}) {
          const server = launch(`${scenario.name}-${servers.length}`, contender, env);
          servers.push(server);
          return server;
        },
      };
      const began = performance.now();
      const result = await bounded(scenario, stage);
      await stopAll(servers);
      api.answerWith(SMALL_BODY_BYTES);
      authority.answerAfter(0);
      onResult(scenario, result, (performance.now() - began) / 1000);
    }
    await stopAll([...knownServers.values()]);
  } finally {
    api.close();
    authority.close();
  }
}

async function stopAll(servers: readonly Promise<Server>[]): Promise<void> {
  await Promise.all(servers.map(async (server) => (await server).stop()));
}

/** No server is under measurement meanwhile, so its core may sign, too. */
async function mint(authority: Authority, users: number, limitMs?: number): Promise<string[]> {
  useEveryCore();
  const minted = await authority.mint(users, limitMs);
  leaveServerCore();
  return minted;
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
