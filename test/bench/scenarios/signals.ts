/** What the log line and the metrics cost together. */

import { GATEWAY, substituted } from "../contenders.ts";
import { compare } from "../rounds.ts";
import { type Scenario, SMALL_BODY_BYTES } from "../stage.ts";
import { median, pairedRatio } from "../statistics.ts";
import { rotate } from "../wire.ts";

const USERS = 100;
const CONNECTIONS = 32;
/** Two servers that differ by little need many turns, and a compiler that has come to rest in both. */
const ROUNDS = { rounds: 15, roundMs: 400, warmUpMs: 3_000 };
const QUICK_ROUNDS = { rounds: 4, roundMs: 300, warmUpMs: 700 };
const SILENT = substituted("obo-gateway without log line and metrics", {
  "telemetry/signals.js": "./silent-signals.mjs",
});

export const signals: Scenario = {
  name: "signals",
  async run(stage) {
    const rotation = rotate("/graph/me", await stage.tokens(USERS));
    const contenders = [GATEWAY, SILENT];
    const servers = await Promise.all(contenders.map((contender) => stage.start(contender)));
    const { rounds, conditions } = await compare(
      servers.map((server, index) => ({
        name: contenders[index]?.name ?? "",
        server,
        rotation,
        connections: CONNECTIONS,
        bodyBytes: SMALL_BODY_BYTES,
      })),
      stage.quick ? QUICK_ROUNDS : ROUNDS,
    );
    const rates = rounds.map((list) => list.map(({ perSecond }) => perSecond));
    const costs = rounds.map((list) => list.map(({ processorUs }) => processorUs));
    const [loud = 0, silent = 0] = servers.map((server) => server.written());
    if (loud < 100 * silent)
      throw new Error(`${loud} bytes of log with signals, ${silent} without: the stand-in is not in place`);
    return {
      title: `log line and metrics: ${USERS} users, ${CONNECTIONS} connections`,
      columns: [
        { name: "req/s", digits: 0 },
        { name: "CPU µs/req", digits: 1 },
      ],
      rows: contenders.map(({ name }, index) => ({
        name,
        figures: [median(rates[index] ?? []), median(costs[index] ?? [])],
      })),
      targets: [
        {
          what: "share of log line and metrics in CPU per request",
          value: 1 - pairedRatio(costs[1] ?? [], costs[0] ?? []),
          digits: 2,
          limit: { atMost: 0.1 },
        },
      ],
      notes: [conditions, "both started for this scenario, so that neither is the warmer one"],
    };
  },
};
