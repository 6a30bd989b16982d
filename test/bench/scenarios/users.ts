/** One user, a hundred, a hundred thousand: what a request costs, and what a cached user takes in memory. */

import { GATEWAY, substituted, withMemoryProbe } from "../contenders.ts";
import { compare, run } from "../rounds.ts";
import type { Server } from "../server-process.ts";
import { type Scenario, SMALL_BODY_BYTES } from "../stage.ts";
import { median, pairedRatio, spread } from "../statistics.ts";
import { rotate } from "../wire.ts";

const FEW = 100;
const CONNECTIONS = 32;
/** How many, and what signing their tokens and filling the caches may take each, ms. */
const CROWD = { most: 100_000, limitMs: 70_000 };
const QUICK_CROWD = { most: 5_000, limitMs: 6_000 };

export const users: Scenario = {
  name: "users",
  async run(stage) {
    // A busy machine gets fewer of them, and the table says how many.
    const { most, limitMs } = stage.quick ? QUICK_CROWD : CROWD;
    const tokens = await stage.tokens(most, limitMs);
    const wanted = tokens.length;
    const [crowded, quiet] = await Promise.all([
      stage.start(
        withMemoryProbe(substituted(GATEWAY.name, { "exchange/entra/msal.js": "./instant-wire.mjs" })),
      ),
      stage.known(GATEWAY),
    ]);
    const turn = (server: Server, number: number) => ({
      name: `${number.toLocaleString("en")} ${number === 1 ? "user" : "users"}`,
      server,
      rotation: rotate("/graph/me", tokens.slice(0, number)),
      connections: CONNECTIONS,
      bodyBytes: SMALL_BODY_BYTES,
    });
    await run(turn(crowded, FEW), { ms: stage.rounds.warmUpMs });
    const before = Number(await crowded.ask("memory"));
    const { requests: many } = await run(turn(crowded, wanted), { requests: wanted, ms: limitMs });
    const bytes = (Number(await crowded.ask("memory")) - before) / (many - FEW);

    const turns = [turn(quiet, 1), turn(quiet, FEW), { ...turn(crowded, many), isFilled: true }];
    const verifiedBefore = await verifications(crowded);
    const { rounds, conditions } = await compare(turns, stage.rounds);
    const share = shareOfCache(verifiedBefore, await verifications(crowded));
    const rates = rounds.map((list) => list.map(({ perSecond }) => perSecond));
    const costs = rounds.map((list) => list.map(({ processorUs }) => processorUs));
    const ratio = (index: number) => pairedRatio(rates[index] ?? [], rates[1] ?? []);
    return {
      title: `users: ${CONNECTIONS} connections, tokens in rotation`,
      columns: [
        { name: "req/s", digits: 0 },
        { name: "spread", digits: 0, unit: " %" },
        { name: "CPU µs/req", digits: 1 },
        { name: "ratio", digits: 2 },
        { name: "CPU ratio", digits: 2 },
      ],
      rows: turns.map(({ name }, index) => ({
        name,
        figures: [
          median(rates[index] ?? []),
          spread(rates[index] ?? []) * 100,
          median(costs[index] ?? []),
          ratio(index),
          pairedRatio(costs[1] ?? [], costs[index] ?? []),
        ],
      })),
      targets: [
        {
          what: `rate among ${many.toLocaleString("en")} users to that among ${FEW}`,
          value: ratio(2),
          byProcessor: pairedRatio(costs[1] ?? [], costs[2] ?? []),
          digits: 2,
          limit: { atLeast: 0.95 },
        },
        { what: "memory of one cached user, bytes", value: bytes, digits: 0, limit: { atMost: 4_096 } },
      ],
      notes: [
        conditions,
        `the gateway of ${many.toLocaleString("en")} users was filled by exchanges that ask nobody; everything else is the production build`,
        `${(share * 100).toFixed(0)} % of their tokens came from the cache of verified tokens, the others were verified again`,
      ],
    };
  },
};

/** Tokens that the gateway has verified, by where the verdict came from, as its metrics tell. */
async function verifications({ adminPort }: Server): Promise<ReadonlyMap<string, number>> {
  const text = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text();
  const samples = text.matchAll(/^obo_gateway_tokens_verified_total\{origin="(\w+)"\} (\d+)/gm);
  return new Map([...samples].map(([, origin = "", count]) => [origin, Number(count)]));
}

function shareOfCache(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): number {
  let all = 0;
  for (const [origin, count] of after) all += count - (before.get(origin) ?? 0);
  return ((after.get("cache") ?? 0) - (before.get("cache") ?? 0)) / all;
}
