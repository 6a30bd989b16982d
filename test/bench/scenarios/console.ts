/** What the flow console costs at a steady rate: without it, with it and no viewer, and with five viewers. */

import { type ClientRequest, get } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { Contender } from "../contenders.ts";
import { keepServerCoreAwake, type Server } from "../server-process.ts";
import { type Scenario, SMALL_BODY_BYTES } from "../stage.ts";
import { median, medianInterval, percentile } from "../statistics.ts";
import { load, type Rotation, rotate } from "../wire.ts";

const USERS = 100;
const CONNECTIONS = 32;
const PER_SECOND = 500;
const VIEWERS = 5;
/** Every variant once in each direction, so that a drift of the machine hits all of them alike. */
const BLOCKS = { blocks: 16, windowMs: 800, warmUpMs: 4_000 };
const QUICK_BLOCKS = { blocks: 6, windowMs: 600, warmUpMs: 1_500 };
/** From the first request of a window until its measurement begins: batches of events are then on their way. */
const SETTLING_MS = 300;

const PAIR: Contender = {
  name: "two gateways, one with the console",
  args: ["test/bench/substitutes/console-pair.mjs"],
  env: { GATEWAY_CONFIG: "test/bench/gateway-console.yaml" },
  ipc: true,
};

const ALONE: Contender = {
  name: "the console without a gateway",
  args: ["test/bench/substitutes/console-alone.mjs"],
  ipc: true,
};
const ALONE_TURNS = { turns: 10, ms: 1_200, warmUpMs: 4_000, warmUpPerSecond: 2_000 };

type Ports = readonly { readonly port: number; readonly adminPort: number }[];

/** What one window cost, all threads. */
interface Window {
  readonly percentOfCore: number;
  readonly usPerRequest: number;
  /** Share of the time in which the server could have run, but its core was taken. */
  readonly waitingShare: number;
}

/** A window in which other work took more of the core says more of that work than of the gateway. */
const MOST_WAITING = 0.2;
const ADDED_ROUNDS = 5;
const ADDED_CALLS = 200_000;

export const console: Scenario = {
  name: "console",
  async run(stage) {
    const { blocks, windowMs, warmUpMs } = stage.quick ? QUICK_BLOCKS : BLOCKS;
    const rotation = rotate("/graph/me", await stage.tokens(USERS));
    const server = await stage.start(PAIR);
    const [without, having] = (await server.ask("ports")) as Ports;
    if (without === undefined || having === undefined) throw new Error("two gateways were asked for");
    const watchers = createWatchers(having.adminPort);

    const variants = [
      { name: "without the console", port: without.port, viewers: 0 },
      { name: "with the console and no viewer", port: having.port, viewers: 0 },
      { name: `with ${VIEWERS} viewers`, port: having.port, viewers: VIEWERS },
    ];
    for (const { port, viewers } of variants) {
      await watchers.change(viewers);
      for (const perSecond of [undefined, PER_SECOND])
        await measured({ server, rotation, port, perSecond, ms: warmUpMs / 2 });
    }
    await server.profile();
    const letSleep = keepServerCoreAwake();
    const windows: Window[][] = variants.map(() => []);
    for (let block = 0; block < blocks; block += 1) {
      const there = [...variants.entries()];
      for (const [index, { port, viewers }] of [...there, ...there.toReversed()]) {
        await watchers.change(viewers);
        windows[index]?.push(await measured({ server, rotation, port, perSecond: PER_SECOND, ms: windowMs }));
      }
    }
    letSleep();
    await watchers.change(0);
    const { seen, passedOver } = watchers;
    if (seen() === 0) throw new Error("viewers saw no request");

    const isCalm = ({ waitingShare }: Window) => !(waitingShare > MOST_WAITING);
    const calm = windows.map((list) => list.filter(isCalm));
    const costs = calm.map((list) => list.map(({ usPerRequest }) => usPerRequest));
    /** Of neighbours in time that were both calm. */
    const over = (index: number) =>
      (windows[index] ?? []).flatMap((window, turn) => {
        const base = windows[0]?.[turn];
        if (base === undefined || !isCalm(base) || !isCalm(window)) return [];
        return [(window.usPerRequest / base.usPerRequest - 1) * 100];
      });
    const addedUs = await costWithoutViewers();
    const alone = await costAlone(await stage.start(ALONE));
    const baseOfCore = median((calm[0] ?? []).map(({ percentOfCore }) => percentOfCore));
    return {
      title: `console: ${PER_SECOND} requests a second, ${USERS} users, ${CONNECTIONS} connections, ${2 * blocks} windows of ${windowMs} ms each`,
      columns: [
        { name: "% of core", digits: 1 },
        { name: "CPU µs/req", digits: 1 },
        { name: "1/4", digits: 1 },
        { name: "3/4", digits: 1 },
        { name: "over none", digits: 2, unit: " %" },
        { name: "from", digits: 2, unit: " %" },
        { name: "to", digits: 2, unit: " %" },
      ],
      rows: variants.map(({ name }, index) => {
        const values = costs[index] ?? [];
        const sorted = values.toSorted((one, other) => one - other);
        return {
          name,
          figures: [
            median((calm[index] ?? []).map(({ percentOfCore }) => percentOfCore)),
            median(values),
            percentile(sorted, 0.25),
            percentile(sorted, 0.75),
            ...(index === 0 ? [] : [median(over(index)), ...medianInterval(over(index))]),
          ],
        };
      }),
      targets: [
        {
          what: `CPU of the console alone with ${VIEWERS} viewers, % of the gateway's without`,
          value: (median(alone) / baseOfCore) * 100,
          digits: 2,
          limit: { atMost: 5 },
        },
        {
          what: "CPU of the console's calls without viewers, % of a request's",
          value: (addedUs / median(costs[0] ?? [])) * 100,
          digits: 2,
          limit: { atMost: 0.5 },
        },
      ],
      notes: [
        `both gateways in one process, in turns forth and back; "from" and "to" hold the median with 95 % confidence`,
        `${windows.flat().length - calm.flat().length} of ${windows.flat().length} windows left out, in which the server waited for its core more than ${MOST_WAITING * 100} % of the time; in all of them it did ${(median(windows.flat().map(({ waitingShare }) => waitingShare)) * 100).toFixed(0)} %`,
        `the console alone, fed with as many requests: ${alone.map((share) => share.toFixed(2)).join(", ")} % of a core more than an observer that counts`,
        `what the console does for a request without viewers takes ${addedUs.toFixed(2)} µs, which whole requests are too unlike each other to show`,
        `viewers saw ${seen()} requests, and ${passedOver()} were counted for them`,
      ],
    };
  },
};

/** CPU of all threads while requests come at a steady rate, from when they have come for a while. */
async function measured(options: {
  readonly server: Server;
  readonly rotation: Rotation;
  readonly port: number;
  readonly perSecond: number | undefined;
  readonly ms: number;
}): Promise<Window> {
  const { server, rotation, port, perSecond, ms } = options;
  const use = () => {
    const { ran = Number.NaN, waited = Number.NaN } = server.processorUse() ?? {};
    return { ran, waited, at: performance.now() };
  };
  const settled = sleep(SETTLING_MS).then(use);
  const over = sleep(SETTLING_MS + ms).then(use);
  const result = await load({
    port,
    rotation,
    connections: CONNECTIONS,
    perSecond,
    until: { ms: SETTLING_MS + ms + 10 },
    bodyBytes: SMALL_BODY_BYTES,
  });
  if (result.refused > 0) throw new Error(`${result.refused} answers were not as asked for`);
  const [before, after] = await Promise.all([settled, over]);
  const share = (after.ran - before.ran) / (after.at - before.at);
  return {
    percentOfCore: share * 100,
    usPerRequest: (share * 1e6) / (result.requests / result.seconds),
    waitingShare: (after.waited - before.waited) / (after.at - before.at),
  };
}

/**
 * What the console adds to the beginning and the end of a request while nobody watches, µs: the same calls with it and
 * without, in this process, where nothing else varies.
 */
async function costWithoutViewers(): Promise<number> {
  const built = new URL("../../../dist/console/console.js", import.meta.url);
  const { createConsole } = (await import(built.href)) as {
    createConsole(options: object): Promise<{ tap(signals: object): Observed; close(): void }>;
  };
  const counts = { began: 0, ended: 0 };
  const ignore = () => {};
  const bare: Observed = {
    requests: {
      began: () => void counts.began++,
      ended: () => void counts.ended++,
    },
    ...{ identity: ignore, downstream: ignore, rateLimit: ignore, load: ignore, connection: ignore },
  };
  const flow = await createConsole({ explain: ignore, now: Date.now });
  const tapped = flow.tap(bare);
  const time = ({ requests }: Observed) => {
    const end = { method: "GET", status: 200, completed: true };
    const began = performance.now();
    for (let call = 0; call < ADDED_CALLS; call += 1) {
      const record = { startedAt: performance.now(), refusal: undefined };
      requests.began(record, end);
      requests.ended(record, end);
    }
    return ((performance.now() - began) * 1e3) / ADDED_CALLS;
  };
  const added: number[] = [];
  for (let round = 0; round < ADDED_ROUNDS; round += 1) {
    const without = time(bare);
    added.push(time(tapped) - without);
  }
  flow.close();
  if (counts.ended !== 2 * ADDED_ROUNDS * ADDED_CALLS) throw new Error("the console did not pass signals on");
  return median(added);
}

/** What the console takes with viewers, admin thread included, in % of a core, turn by turn. */
async function costAlone(server: Server): Promise<number[]> {
  const watchers = createWatchers(server.adminPort ?? 0);
  const feed = async (isWatched: boolean, ms: number, perSecond = PER_SECOND) => {
    await server.ask({ isWatched, perSecond });
    await sleep(SETTLING_MS);
    const before = server.processorUse()?.ran ?? Number.NaN;
    const began = performance.now();
    await sleep(ms);
    return (((server.processorUse()?.ran ?? Number.NaN) - before) / (performance.now() - began)) * 100;
  };
  await watchers.change(VIEWERS);
  for (const isWatched of [false, true])
    await feed(isWatched, ALONE_TURNS.warmUpMs / 2, ALONE_TURNS.warmUpPerSecond);
  const added: number[] = [];
  for (let turn = 0; turn < ALONE_TURNS.turns; turn += 1) {
    await watchers.change(0);
    const without = await feed(false, ALONE_TURNS.ms);
    await watchers.change(VIEWERS);
    added.push((await feed(true, ALONE_TURNS.ms)) - without);
  }
  await watchers.change(0);
  return added;
}

interface Observed {
  readonly requests: {
    began(record: object, incoming: object): void;
    ended(record: object, end: object): void;
  };
}

/** Viewers that read everything, as a page does. */
function createWatchers(adminPort: number) {
  let open: ClientRequest[] = [];
  let seen = 0;
  let passedOver = 0;

  function watch(): Promise<ClientRequest> {
    return new Promise((resolve, reject) => {
      const asked = get(
        { host: "127.0.0.1", port: adminPort, path: "/console/events", agent: false },
        (answer) => {
          if (answer.statusCode !== 200) reject(new Error(`a viewer got ${answer.statusCode}`));
          answer.setEncoding("latin1");
          answer.on("data", (text: string) => {
            seen += text.split('{"kind":"request"').length - 1;
            for (const [, count] of text.matchAll(/"passed_over","requests":(\d+)/g))
              passedOver += Number(count);
          });
          answer.on("error", () => {});
          resolve(asked);
        },
      );
      asked.on("error", reject);
    });
  }

  return {
    seen: () => seen,
    passedOver: () => passedOver,
    async change(count: number): Promise<void> {
      if (count === open.length) return;
      for (const viewer of open) viewer.destroy();
      open = await Promise.all(Array.from({ length: count }, watch));
      // The gateway learns of it in another thread.
      await sleep(100);
    },
  };
}
