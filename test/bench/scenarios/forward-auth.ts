/** nginx carries the bytes and asks: the gateway's decision beside its own proxy, and beside a decision made of Microsoft's libraries. */

import { programOf, type RunningFront, startFront } from "../../support/front.ts";
import { DECISION, GATEWAY_WITH_LOCAL } from "../contenders.ts";
import { keepToServerCore, type ProcessorUse, processorUse } from "../processor.ts";
import { compare } from "../rounds.ts";
import type { Server } from "../server-process.ts";
import { QUESTION, type Scenario, SMALL_BODY_BYTES } from "../stage.ts";
import { median, pairedRatio, spread } from "../statistics.ts";
import { rotate } from "../wire.ts";

const USERS = 100;
const CONNECTIONS = 32;
const ROUNDS = { rounds: 7, roundMs: 600, warmUpMs: 1_200 };
const QUICK_ROUNDS = { rounds: 3, roundMs: 400, warmUpMs: 600 };

/** The configurations of docker/nginx are for a route at /orders. */
const forGraph = (text: string) =>
  text
    .replaceAll("location /orders/", "location /graph/")
    .replaceAll("$obo_route /orders;", "$obo_route /graph;");
/** nginx with its dictionary in memory is measured where its module is. */
const hasLua = programOf("nginx with Lua") !== undefined;
const withoutQuestion = (text: string) =>
  forGraph(text).replaceAll(/include obo-(?:maps|decision|protect)\.conf;/g, "");

export const forwardAuth: Scenario = {
  name: "forward-auth",
  async run(stage) {
    const tokens = await stage.tokens(USERS);
    const [gateway, decision] = await Promise.all([stage.start(GATEWAY_WITH_LOCAL), stage.start(DECISION)]);
    const api = Number(new URL(stage.api.url).port);
    const asksGateway = { gateway: gateway.localPort ?? 0, api };
    const fronts = await Promise.all([
      startFront("nginx", asksGateway, withoutQuestion, true),
      startFront("nginx", asksGateway, forGraph, true),
      startFront("nginx with its cache", asksGateway, forGraph, true),
      startFront("nginx", { gateway: decision.port, api }, forGraph, true),
      ...(hasLua ? [startFront("nginx with Lua", asksGateway, forGraph, true)] : []),
    ]);
    for (const { pid } of fronts) keepToServerCore(pid);
    const [bare, asking, keeping, other, remembering] = fronts as [
      RunningFront,
      RunningFront,
      RunningFront,
      RunningFront,
      RunningFront | undefined,
    ];
    const proxied = { rotation: rotate("/graph/me", tokens), bodyBytes: SMALL_BODY_BYTES };
    const turns = [
      { name: "nginx, no authentication", server: asServer(bare), ...proxied },
      { name: "obo-gateway's own proxy", server: gateway, ...proxied },
      {
        name: "obo-gateway, the decision alone",
        server: { ...gateway, port: gateway.localPort ?? 0 },
        rotation: rotate("/forward-auth/graph", tokens, QUESTION),
        bodyBytes: 0,
      },
      { name: "nginx asks obo-gateway", server: asServer(asking, gateway), ...proxied },
      { name: "nginx asks obo-gateway, and keeps decisions", server: asServer(keeping, gateway), ...proxied },
      { name: `nginx asks ${DECISION.name.split(",")[0]}`, server: asServer(other, decision), ...proxied },
      ...(remembering === undefined
        ? []
        : [
            {
              name: "nginx asks obo-gateway, and keeps decisions by Lua",
              server: asServer(remembering, gateway),
              ...proxied,
            },
          ]),
    ];
    try {
      const { rounds, conditions } = await compare(
        turns.map((turn) => ({ ...turn, connections: CONNECTIONS })),
        stage.quick ? QUICK_ROUNDS : ROUNDS,
      );
      const rates = rounds.map((list) => list.map(({ perSecond }) => perSecond));
      const costs = rounds.map((list) => list.map(({ processorUs }) => processorUs));
      const versus = (values: readonly (readonly number[])[], one: number, another: number) =>
        pairedRatio(values[one] ?? [], values[another] ?? []);
      return {
        title: `forward-auth: ${USERS} users, ${CONNECTIONS} connections, 1 KiB answers, tokens of ${tokens[0]?.length} bytes`,
        columns: [
          { name: "req/s", digits: 0 },
          { name: "spread", digits: 0, unit: " %" },
          { name: "p99 ms", digits: 1 },
          { name: "CPU µs/req", digits: 1 },
          { name: "of nginx", digits: 2 },
          { name: "CPU of own proxy", digits: 2 },
        ],
        rows: turns.map(({ name }, index) => ({
          name,
          figures: [
            median(rates[index] ?? []),
            spread(rates[index] ?? []) * 100,
            median((rounds[index] ?? []).map(({ p99 }) => p99)),
            median(costs[index] ?? []),
            versus(rates, index, 0),
            versus(costs, index, 1),
          ],
        })),
        targets: [
          {
            what: "CPU of a hot decision against a proxied request",
            value: versus(costs, 2, 1),
            digits: 2,
            limit: { atMost: 0.5 },
          },
          {
            what: "rate of nginx with kept decisions (Lua) against without authentication",
            value: hasLua ? versus(rates, 6, 0) : Number.NaN,
            byProcessor: hasLua ? versus(costs, 0, 6) : Number.NaN,
            digits: 2,
            limit: { atLeast: 0.8 },
          },
          {
            what: "rate of nginx with its own cache against nginx without authentication",
            value: versus(rates, 4, 0),
            byProcessor: versus(costs, 0, 4),
            digits: 2,
            limit: { atLeast: 0.8 },
          },
        ],
        notes: [
          conditions,
          "CPU of nginx that asks is the sum of both processes, which share one core where servers are pinned",
        ],
      };
    } finally {
      await Promise.all(fronts.map((front) => front.stop()));
    }
  },
};

/** nginx in one process, with what it asks: time on a processor is that of both. */
function asServer({ pid, port }: RunningFront, asked?: Server): Server {
  return {
    name: "nginx",
    pid,
    port,
    adminPort: undefined,
    localPort: undefined,
    processorUse() {
      const [own, more] = [processorUse(pid), asked?.processorUse()];
      if (own === undefined || asked === undefined) return own;
      return more && ({ ran: own.ran + more.ran, waited: own.waited + more.waited } satisfies ProcessorUse);
    },
    written: () => 0,
    ask: () => Promise.reject(new Error("nginx answers no messages")),
    profile: async () => {},
    stop: async () => {},
  };
}
