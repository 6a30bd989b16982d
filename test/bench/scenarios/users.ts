/** One user, a hundred, a hundred thousand: what a request costs, and what a cached user takes in memory. */

import { GATEWAY, substituted, withMemoryProbe } from "../contenders.ts";
import { compare, run } from "../rounds.ts";
import { type Scenario, SMALL_BODY_BYTES } from "../stage.ts";
import { median, pairedRatio, spread } from "../statistics.ts";
import { rotate } from "../wire.ts";

const FEW = 100;
const CONNECTIONS = 32;

export const users: Scenario = {
  name: "users",
  async run(stage) {
    const many = stage.quick ? 10_000 : 100_000;
    const tokens = await stage.tokens(many);
    const crowded = await stage.start(
      withMemoryProbe(substituted(GATEWAY.name, { "exchange/msal.js": "./instant-wire.mjs" })),
    );
    const quiet = await stage.start(GATEWAY);
    const turn = (server: typeof quiet, number: number) => ({
      name: `${number.toLocaleString("en")} ${number === 1 ? "user" : "users"}`,
      server,
      rotation: rotate("/graph/me", tokens.slice(0, number)),
      connections: CONNECTIONS,
      bodyBytes: SMALL_BODY_BYTES,
    });
    await run(turn(crowded, FEW), { ms: stage.rounds.warmUpMs });
    const before = await crowded.ask();
    await run(turn(crowded, many), { requests: many });
    const bytes = ((await crowded.ask()) - before) / (many - FEW);

    const turns = [turn(quiet, 1), turn(quiet, FEW), turn(crowded, many)];
    const { rounds } = await compare(turns, stage.rounds);
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
          digits: 2,
          limit: { atLeast: 0.9 },
        },
        { what: "memory of one cached user, bytes", value: bytes, digits: 0, limit: { atMost: 4_096 } },
      ],
      notes: [
        `the gateway of ${many.toLocaleString("en")} users was filled by exchanges that ask nobody; everything else is the production build`,
      ],
    };
  },
};
