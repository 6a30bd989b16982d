/** Known users, known tokens: the gateway among its peers. */

import { EXPRESS_PROXY, FASTIFY, GATEWAY, PASS_THROUGH, SAMPLE } from "../contenders.ts";
import { compare } from "../rounds.ts";
import { type Scenario, SMALL_BODY_BYTES } from "../stage.ts";
import { median, pairedRatio, spread } from "../statistics.ts";
import { rotate } from "../wire.ts";

const USERS = 100;
const CONNECTIONS = 32;

/** More than others take: everything is compared with this. */
const ROUNDS = { rounds: 9, roundMs: 800, warmUpMs: 2_000 };
const QUICK_ROUNDS = { rounds: 3, roundMs: 400, warmUpMs: 600 };

const CONTENDERS = [PASS_THROUGH, GATEWAY, EXPRESS_PROXY, FASTIFY, SAMPLE];
/** Smallest ratio of the gateway to each of them. */
const AT_LEAST = new Map([
  [PASS_THROUGH, 0.78],
  [EXPRESS_PROXY, 3.6],
  [FASTIFY, 3.2],
  [SAMPLE, 20],
]);

export const hotPath: Scenario = {
  name: "hot-path",
  async run(stage) {
    const tokens = await stage.tokens(USERS);
    const servers = await Promise.all(CONTENDERS.map((contender) => stage.known(contender)));
    const { rounds, conditions } = await compare(
      servers.map((server, index) => ({
        name: CONTENDERS[index]?.name ?? "",
        server,
        rotation: rotate("/graph/me", tokens),
        connections: CONNECTIONS,
        bodyBytes: SMALL_BODY_BYTES,
      })),
      stage.quick ? QUICK_ROUNDS : ROUNDS,
    );
    const rates = rounds.map((list) => list.map(({ perSecond }) => perSecond));
    const costs = rounds.map((list) => list.map(({ processorUs }) => processorUs));
    const ours = CONTENDERS.indexOf(GATEWAY);
    const versus = (values: readonly (readonly number[])[], one: number, other: number) =>
      pairedRatio(values[one] ?? [], values[other] ?? []);
    return {
      title: `hot path: ${USERS} users, ${CONNECTIONS} connections, 1 KiB answers, tokens of ${tokens[0]?.length} bytes`,
      columns: [
        { name: "req/s", digits: 0 },
        { name: "spread", digits: 0, unit: " %" },
        { name: "p99 ms", digits: 1 },
        { name: "CPU µs/req", digits: 1 },
        { name: "ratio", digits: 2 },
        { name: "CPU ratio", digits: 2 },
        { name: "gateway is", digits: 2, unit: "×" },
        { name: "by CPU", digits: 2, unit: "×" },
      ],
      rows: CONTENDERS.map(({ name }, index) => ({
        name,
        figures: [
          median(rates[index] ?? []),
          spread(rates[index] ?? []) * 100,
          median((rounds[index] ?? []).map(({ p99 }) => p99)),
          median(costs[index] ?? []),
          versus(rates, index, 0),
          versus(costs, 0, index),
          ...(index === ours ? [] : [versus(rates, ours, index), versus(costs, index, ours)]),
        ],
      })),
      targets: CONTENDERS.flatMap((contender, index) => {
        const atLeast = AT_LEAST.get(contender);
        if (atLeast === undefined) return [];
        return {
          what: `rate against ${contender.name.split(",")[0]}`,
          value: versus(rates, ours, index),
          byProcessor: versus(costs, index, ours),
          digits: 2,
          limit: { atLeast },
        };
      }),
      notes: [conditions],
    };
  },
};
