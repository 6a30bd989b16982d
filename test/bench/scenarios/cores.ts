/** One process or two on a machine, behind nginx and by node:cluster: what a request costs the processor, and what all take in memory. */

import { type Balancer, startBalancer } from "../balancer.ts";
import { clusterOf, GATEWAY } from "../contenders.ts";
import {
  childrenOf,
  keepToServerCore,
  type ProcessorUse,
  processorUse,
  residentMemory,
} from "../processor.ts";
import { run } from "../rounds.ts";
import type { Server } from "../server-process.ts";
import { type Scenario, SMALL_BODY_BYTES } from "../stage.ts";
import { median, pairedRatio } from "../statistics.ts";
import { rotate } from "../wire.ts";

const USERS = 100;
const CONNECTIONS = 32;
const ROUNDS = 7;
const ROUND_MS = 500;
const WARM_UP_MS = 3_000;
const QUICK = 3;

interface Setting {
  readonly name: string;
  readonly server: Server;
  readonly balancer: Balancer | undefined;
  /** Every process of the gateway. */
  readonly pids: readonly number[];
}

export const cores: Scenario = {
  name: "cores",
  async run(stage) {
    const rotation = rotate("/graph/me", await stage.tokens(USERS));
    const alone = await stage.start(GATEWAY);
    const pair = await Promise.all([stage.start(GATEWAY), stage.start(GATEWAY)]);
    const clusters = await Promise.all([1, 2].map((workers) => stage.start(clusterOf(workers))));
    const balancers = [await startBalancer([alone.port]), await startBalancer(pair.map(({ port }) => port))];
    const [single, double] = balancers;
    const behind = (balancer: Balancer | undefined, servers: readonly Server[]): Setting[] => {
      if (balancer === undefined) return [];
      const pids = servers.map(({ pid }) => pid);
      return [
        {
          name: `nginx and ${servers.length} ${servers.length === 1 ? "process" : "processes"}`,
          server: asServer(balancer.port, [balancer.pid, ...pids]),
          balancer,
          pids,
        },
      ];
    };
    const settings: readonly Setting[] = [
      { name: "one process", server: alone, balancer: undefined, pids: [alone.pid] },
      ...behind(single, [alone]),
      ...behind(double, pair),
      ...clusters.map((server, index) => {
        const pids = [server.pid, ...childrenOf(server.pid)];
        for (const pid of pids) keepToServerCore(pid);
        return {
          name: `node:cluster of ${index + 1}`,
          server: asServer(server.port, pids),
          balancer: undefined,
          pids,
        };
      }),
    ];
    const turns = settings.map(({ name, server }) => ({
      name,
      server,
      rotation,
      connections: CONNECTIONS,
      bodyBytes: SMALL_BODY_BYTES,
    }));
    try {
      // Which process of several takes a connection is its balancer's affair; in so long a time each has seen all users.
      for (const turn of turns) await run(turn, { ms: stage.quick ? WARM_UP_MS / QUICK : WARM_UP_MS });
      const costs = settings.map((): { all: number; gateway: number; rate: number }[] => []);
      for (let round = 0; round < (stage.quick ? QUICK : ROUNDS); round += 1)
        for (const [index, turn] of turns.entries()) {
          const pids = settings[index]?.pids ?? [];
          const before = useOf(pids).ran;
          const { processorUs, requests, perSecond } = await run(turn, { ms: ROUND_MS });
          const gateway = ((useOf(pids).ran - before) * 1000) / requests;
          costs[index]?.push({ all: processorUs, gateway, rate: perSecond });
        }
      const of = (index: number, figure: "all" | "gateway" | "rate") =>
        (costs[index] ?? []).map((one) => one[figure]);
      return {
        title: `cores: ${USERS} users, ${CONNECTIONS} connections, 1 KiB answers; all processes of the gateway and nginx share one core`,
        columns: [
          { name: "req/s", digits: 0 },
          { name: "CPU µs/req", digits: 1 },
          { name: "gateway", digits: 1 },
          { name: "to one", digits: 2 },
          { name: "MiB", digits: 0 },
        ],
        rows: settings.map(({ name, pids }, index) => ({
          name,
          figures: [
            median(of(index, "rate")),
            median(of(index, "all")),
            median(of(index, "gateway")),
            pairedRatio(of(index, "gateway"), of(0, "gateway")),
            pids.reduce((sum, pid) => sum + (residentMemory(pid) ?? Number.NaN), 0),
          ],
        })),
        targets: [],
        notes: [
          "gateway: without nginx; to one: the same as a ratio to one process by itself; MiB: resident, of all processes of the gateway",
          "each process has caches of its own: without Redis a user costs an exchange in each",
          ...(single === undefined ? ["nginx is not on this machine, so its rows are left out"] : []),
        ],
      };
    } finally {
      await Promise.all(balancers.map((balancer) => balancer?.stop()));
    }
  },
};

function useOf(pids: readonly number[]): ProcessorUse {
  const uses = pids.map((pid) => processorUse(pid));
  const sum = (kind: keyof ProcessorUse) => uses.reduce((all, use) => all + (use?.[kind] ?? Number.NaN), 0);
  return { ran: sum("ran"), waited: sum("waited") };
}

/** Several processes behind one port, as one: their time on a processor is the sum. */
function asServer(port: number, pids: readonly number[]): Server {
  return {
    name: "several processes",
    pid: pids[0] ?? Number.NaN,
    port,
    adminPort: undefined,
    localPort: undefined,
    processorUse: () => useOf(pids),
    written: () => 0,
    ask: () => Promise.reject(new Error("several processes answer no messages")),
    profile: async () => {},
    stop: async () => {},
  };
}
