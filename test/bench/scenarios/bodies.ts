/** Larger answers: what streaming them through costs. */

import { EXPRESS_PROXY, FASTIFY, GATEWAY, PASS_THROUGH } from "../contenders.ts";
import { compare } from "../rounds.ts";
import type { Scenario } from "../stage.ts";
import { median, pairedRatio } from "../statistics.ts";
import { rotate } from "../wire.ts";

const CONTENDERS = [PASS_THROUGH, GATEWAY, EXPRESS_PROXY, FASTIFY];
const SIZES = [
  { name: "64 KiB", bytes: 64 * 1024 },
  { name: "1 MiB", bytes: 1024 * 1024 },
];
const CONNECTIONS = 16;
const USERS = 100;

export const bodies: Scenario = {
  name: "bodies",
  async run(stage) {
    const contenders = stage.quick ? CONTENDERS.slice(0, 2) : CONTENDERS;
    const rotation = rotate("/graph/me", await stage.tokens(USERS));
    const servers = await Promise.all(contenders.map((contender) => stage.known(contender)));
    const turns = SIZES.flatMap(({ name, bytes }) =>
      servers.map((server, index) => ({
        name: `${name}, ${contenders[index]?.name}`,
        server,
        rotation,
        connections: CONNECTIONS,
        bodyBytes: bytes,
        prepare: () => stage.api.answerWith(bytes),
      })),
    );
    const { rounds, conditions } = await compare(turns, stage.rounds);
    const rates = rounds.map((list) => list.map(({ perSecond }) => perSecond));
    const costs = rounds.map((list) => list.map(({ processorUs }) => processorUs));
    const base = (index: number) => index - (index % contenders.length);
    return {
      title: `bodies: ${USERS} users, ${CONNECTIONS} connections`,
      columns: [
        { name: "req/s", digits: 0 },
        { name: "MiB/s", digits: 0 },
        { name: "CPU µs/req", digits: 0 },
        { name: "ratio", digits: 2 },
        { name: "CPU ratio", digits: 2 },
      ],
      rows: turns.map(({ name, bodyBytes }, index) => ({
        name,
        figures: [
          median(rates[index] ?? []),
          (median(rates[index] ?? []) * bodyBytes) / 2 ** 20,
          median(costs[index] ?? []),
          pairedRatio(rates[index] ?? [], rates[base(index)] ?? []),
          pairedRatio(costs[base(index)] ?? [], costs[index] ?? []),
        ],
      })),
      targets: SIZES.map(({ name }, size) => {
        const bare = size * contenders.length;
        const ours = bare + contenders.indexOf(GATEWAY);
        return {
          what: `bodies of ${name} against ${PASS_THROUGH.name.split(",")[0]}`,
          value: pairedRatio(rates[ours] ?? [], rates[bare] ?? []),
          byProcessor: pairedRatio(costs[bare] ?? [], costs[ours] ?? []),
          digits: 2,
          limit: { atLeast: 0.9 },
        };
      }),
      notes: [conditions],
    };
  },
};
