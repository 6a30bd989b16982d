/** What the log line and the metrics cost together. */

import { GATEWAY, substituted } from "../contenders.ts";
import { compare } from "../rounds.ts";
import { type Scenario, SMALL_BODY_BYTES } from "../stage.ts";
import { median, pairedRatio } from "../statistics.ts";
import { rotate } from "../wire.ts";

const USERS = 100;
const CONNECTIONS = 32;
const SILENT = substituted("obo-gateway without log line and metrics", {
  "signals.js": "./silent-signals.mjs",
});

export const signals: Scenario = {
  name: "signals",
  async run(stage) {
    const rotation = rotate("/graph/me", await stage.tokens(USERS));
    const contenders = [GATEWAY, SILENT];
    const servers = await Promise.all(contenders.map((contender) => stage.start(contender)));
    const { rounds } = await compare(
      servers.map((server, index) => ({
        name: contenders[index]?.name ?? "",
        server,
        rotation,
        connections: CONNECTIONS,
        bodyBytes: SMALL_BODY_BYTES,
      })),
      stage.rounds,
    );
    const rates = rounds.map((list) => list.map(({ perSecond }) => perSecond));
    const costs = rounds.map((list) => list.map(({ processorUs }) => processorUs));
    const [loud, silent] = servers.map((server) => server.written());
    if (loud === undefined || silent === undefined || loud < 100 * silent)
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
    };
  },
};
