/** From 32 to 1 024 connections at once, beside the bare pass-through. */

import { GATEWAY, PASS_THROUGH } from "../contenders.ts";
import { compare } from "../rounds.ts";
import { type Scenario, SMALL_BODY_BYTES } from "../stage.ts";
import { median, pairedRatio } from "../statistics.ts";
import { rotate } from "../wire.ts";

const CONNECTIONS = [32, 1_024];
const USERS = 100;

export const connections: Scenario = {
  name: "connections",
  async run(stage) {
    const rotation = rotate("/graph/me", await stage.tokens(USERS));
    const [bare, gateway] = await Promise.all([stage.known(PASS_THROUGH), stage.known(GATEWAY)]);
    const turns = CONNECTIONS.flatMap((number) =>
      [bare, gateway].map((server) => ({
        name: `${number} connections, ${server === gateway ? GATEWAY.name : "bare pass-through"}`,
        server,
        rotation,
        connections: number,
        bodyBytes: SMALL_BODY_BYTES,
      })),
    );
    const { rounds, conditions } = await compare(turns, stage.rounds);
    const rates = rounds.map((list) => list.map(({ perSecond }) => perSecond));
    const tails = rounds.map((list) => list.map(({ p99 }) => p99));
    const last = turns.length - 1;
    return {
      title: `connections: ${USERS} users, 1 KiB answers; each ratio is to the pass-through's figure in the row above`,
      columns: [
        { name: "req/s", digits: 0 },
        { name: "CPU µs/req", digits: 1 },
        { name: "p50 ms", digits: 1 },
        { name: "p99 ms", digits: 1 },
        { name: "rate ratio", digits: 2 },
        { name: "p99 ratio", digits: 2 },
      ],
      rows: turns.map(({ name, server }, index) => ({
        name,
        figures: [
          median(rates[index] ?? []),
          median((rounds[index] ?? []).map(({ processorUs }) => processorUs)),
          median((rounds[index] ?? []).map(({ p50 }) => p50)),
          median(tails[index] ?? []),
          ...(server === bare
            ? []
            : [
                pairedRatio(rates[index] ?? [], rates[index - 1] ?? []),
                pairedRatio(tails[index] ?? [], tails[index - 1] ?? []),
              ]),
        ],
      })),
      targets: [
        {
          what: `p99 with ${CONNECTIONS.at(-1)} connections to the pass-through's`,
          value: pairedRatio(tails[last] ?? [], tails[last - 1] ?? []),
          digits: 2,
          limit: { atMost: 2.5 },
        },
      ],
      notes: [conditions],
    };
  },
};
