/** Why a request of one among many users costs more than of one among a hundred: each cause is taken away by itself. */

import { startAuthority } from "../authority.ts";
import {
  type Contender,
  environment,
  GATEWAY,
  PASS_THROUGH,
  substituted,
  unsheddingConfig,
  withMemoryProbe,
} from "../contenders.ts";
import { leaveServerCore, useEveryCore } from "../processor.ts";
import { run } from "../rounds.ts";
import { type Server, startServer } from "../server-process.ts";
import { SMALL_BODY_BYTES } from "../stage.ts";
import { median } from "../statistics.ts";
import { resultTable } from "../table.ts";
import { type Rotation, rotate, startFixedApi } from "../wire.ts";

const FEW = 100;
/** More than any of a processor's caches holds, and few enough to be there in a minute. */
const MANY = 15_000;
const CONNECTIONS = 32;
const ROUNDS = 7;
const ROUND_MS = 400;
const WARM_UP_MS = 2_500;

type Edits = Readonly<Record<string, readonly (readonly [string, string])[]>>;

/** No SHA-256 of a token: the level of tokens that are kept whole takes all of them. */
const KEEPS_ALL_WHOLE: Edits = {
  "identity/verified-tokens.js": [
    ["const MOST_RECENT = 1_024;", "const MOST_RECENT = 1_000_000;"],
    ["maxBytes: maxBytes * RECENT_SHARE,", "maxBytes: Infinity,"],
  ],
};
/** Every user is served one entry, so that neither its record nor its token is far away in memory. */
const ONE_ENTRY: Edits = {
  "exchange/cache/token-cache.js": [["function want(digest) {", 'function want(digest) {\n digest = "one";']],
};

/** Keeps nothing of any user: what tokens that differ cost before any of them is looked at. */
const BARE = "the bare pass-through";

const VARIANTS: readonly { readonly name: string; readonly edits?: Edits }[] = [
  { name: "as in production", edits: {} },
  { name: "every token kept whole, no SHA-256", edits: KEEPS_ALL_WHOLE },
  { name: "one entry of the token cache", edits: ONE_ENTRY },
  { name: "both", edits: { ...KEEPS_ALL_WHOLE, ...ONE_ENTRY } },
  { name: BARE },
];

interface Costs {
  readonly us: number[];
  readonly collectorUs: number[];
}

/** Needs `dist`. Prints a table of the causes. */
export async function benchCrowd(): Promise<boolean> {
  const authority = await startAuthority();
  const api = await startFixedApi(SMALL_BODY_BYTES);
  const servers: Server[] = [];
  try {
    useEveryCore();
    const tokens = await authority.mint(MANY);
    leaveServerCore();
    const env = { ...environment(authority, api.url), ...unsheddingConfig() };
    const turns: { name: string; server: Server; rotation: Rotation; costs: Costs }[] = [];
    for (const { name, edits } of VARIANTS) {
      const contender: Contender = withMemoryProbe(
        edits === undefined
          ? PASS_THROUGH
          : substituted(GATEWAY.name, { "exchange/entra/msal.js": "./instant-wire.mjs" }),
      );
      const server = await startServer({
        name,
        args: contender.args,
        env: { ...env, ...contender.env, BENCH_EDITS: JSON.stringify(edits ?? {}) },
        ipc: true,
      });
      servers.push(server);
      await send(server, rotate("/graph/me", tokens), { requests: MANY });
      await server.ask("memory");
      await server.ask("watch collector");
      for (const users of [FEW, MANY])
        turns.push({
          name: `${name}, ${users.toLocaleString("en")} users`,
          server,
          rotation: rotate("/graph/me", tokens.slice(0, users)),
          costs: { us: [], collectorUs: [] },
        });
    }
    for (const { server, rotation } of turns) await send(server, rotation, { ms: WARM_UP_MS / 2 });
    for (let round = 0; round < ROUNDS; round += 1)
      for (const { server, rotation, costs } of turns) {
        const before = Number(await server.ask("collector"));
        const { processorUs, requests } = await send(server, rotation, { ms: ROUND_MS });
        costs.us.push(processorUs);
        costs.collectorUs.push(((Number(await server.ask("collector")) - before) * 1000) / requests);
      }
    const few = turns[0]?.costs.us ?? [];
    console.log(
      resultTable({
        title: `crowd: ${CONNECTIONS} connections, 1 KiB answers; each variant in its own process; median of ${ROUNDS} rounds`,
        columns: [
          { name: "CPU µs/req", digits: 1 },
          { name: "more", digits: 1 },
          { name: "collector", digits: 1 },
        ],
        rows: turns.map(({ name, costs }, index) => ({
          name,
          figures: [
            median(costs.us),
            // Of the same process with few users: what both variants share, a round's mood included, falls out.
            median(
              costs.us.map(
                (us, round) => us - ((index % 2 === 0 ? few : turns[index - 1]?.costs.us)?.[round] ?? NaN),
              ),
            ),
            median(costs.collectorUs),
          ],
        })),
        targets: [],
        notes: [
          "more: than the same variant with few users in the same round, or, for few users, than production",
        ],
      }),
    );
    return true;
  } finally {
    await Promise.all(servers.map((server) => server.stop()));
    api.close();
    authority.close();
  }
}

function send(
  server: Server,
  rotation: Rotation,
  until: { readonly ms?: number; readonly requests?: number },
) {
  return run(
    { name: server.name, server, rotation, connections: CONNECTIONS, bodyBytes: SMALL_BODY_BYTES },
    until,
  );
}
