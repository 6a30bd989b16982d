/** Thousands of event streams in which nothing happens: what each holds, and how soon the first event of another one is there. */

import { setTimeout as sleep } from "node:timers/promises";
import { GATEWAY_FOR_STREAMS, withMemoryProbe } from "../contenders.ts";
import { type EventApi, listen, listenOften, startEventApi } from "../events.ts";
import { residentMemory } from "../processor.ts";
import type { Server } from "../server-process.ts";
import type { Scenario } from "../stage.ts";
import { median, percentile } from "../statistics.ts";

/** No bare pass-through beside it: that one holds the streams of callers who have gone. */
const CONTENDERS = [GATEWAY_FOR_STREAMS];
const USERS = 100;
const STREAMS = 5_000;
const QUICK_STREAMS = 1_000;
/** Opened and closed before, so that memory for code and for the first connections is not counted for the streams. */
const WARM_UP_STREAMS = 200;
const PROBES = 300;
const SILENCE_MS = 2_000;
const CLOSE_LIMIT_MS = 10_000;

interface Measured {
  /** Of one stream, KiB: resident memory, and bytes in use after a full collection. */
  readonly residentKiB: number;
  readonly usedKiB: number;
  /** From a request to its first event, ms: while no other stream is open, and while all are. */
  readonly alone: readonly number[];
  readonly among: readonly number[];
  /** Share of a core that the open streams take while nothing happens. */
  readonly idleShare: number;
  /** From an event on every stream until each caller has it, ms. */
  readonly everyoneMs: number;
}

export const streams: Scenario = {
  name: "streams",
  async run(stage) {
    const number = stage.quick ? QUICK_STREAMS : STREAMS;
    const tokens = await stage.tokens(USERS);
    const measured: Measured[] = [];
    for (const contender of CONTENDERS) {
      const api = await startEventApi();
      try {
        const server = await stage.start(withMemoryProbe(contender), { API_URL: api.url });
        measured.push(await measure(server, api, tokens, number));
      } finally {
        api.close();
      }
    }
    const [gateway] = measured as [Measured];
    const middle = (values: readonly number[]) => median(values);
    const tail = (values: readonly number[]) =>
      percentile(
        values.toSorted((one, other) => one - other),
        0.99,
      );
    return {
      title: `streams: ${number.toLocaleString("en")} event streams of ${USERS} users in which nothing happens`,
      columns: [
        { name: "KiB each", digits: 1 },
        { name: "in use", digits: 1 },
        { name: "idle CPU", digits: 2, unit: " %" },
        { name: "first p50", digits: 2 },
        { name: "p99 ms", digits: 2 },
        { name: "alone p50", digits: 2 },
        { name: "p99 ms", digits: 2 },
        { name: "to all ms", digits: 0 },
      ],
      rows: measured.map((one, index) => ({
        name: CONTENDERS[index]?.name ?? "",
        figures: [
          one.residentKiB,
          one.usedKiB,
          one.idleShare * 100,
          middle(one.among),
          tail(one.among),
          middle(one.alone),
          tail(one.alone),
          one.everyoneMs,
        ],
      })),
      targets: [
        {
          what: "memory of one idle event stream, the larger figure, KiB",
          // Room that closed streams have left makes the resident memory grow less than the streams take.
          value: Math.max(gateway.residentKiB, gateway.usedKiB),
          digits: 1,
          limit: { atMost: 40 },
        },
        {
          what: "first event among idle streams to the one alone, p50",
          value: middle(gateway.among) / middle(gateway.alone),
          digits: 2,
          limit: { atMost: 1.2 },
        },
      ],
      notes: [
        "a stream is one connection of a caller and one to the API; memory of the kernel for sockets is not counted",
      ],
    };
  },
};

async function measure(
  server: Server,
  api: EventApi,
  tokens: readonly string[],
  number: number,
): Promise<Measured> {
  await closeAll(await listenOften(server.port, tokens, WARM_UP_STREAMS), api);
  const alone = await probe(server, tokens, api);
  const usedBefore = Number(await server.ask("memory"));
  const residentBefore = residentMemory(server.pid) ?? Number.NaN;
  const listeners = await listenOften(server.port, tokens, number);
  const used = Number(await server.ask("memory")) - usedBefore;
  const resident = (residentMemory(server.pid) ?? Number.NaN) - residentBefore;
  const among = await probe(server, tokens, api);

  const before = server.processorUse()?.ran ?? Number.NaN;
  const began = performance.now();
  await sleep(SILENCE_MS);
  const idleShare = ((server.processorUse()?.ran ?? Number.NaN) - before) / (performance.now() - began);

  const saidAt = performance.now();
  api.say("second");
  // Callers are asked in turn: the last of them decides.
  for (const { heard } of listeners) while (!heard().includes("data: second\n\n")) await sleep(1);
  const everyoneMs = performance.now() - saidAt;
  const torn = listeners.filter(({ heard }) => !heard().includes("data: first\n\n")).length;
  if (torn > 0) throw new Error(`${server.name}: ${torn} streams did not say what the API had said`);
  await closeAll(listeners, api);
  return {
    residentKiB: (resident * 1024) / number,
    usedKiB: used / 1024 / number,
    alone,
    among,
    idleShare,
    everyoneMs,
  };
}

/** One stream after the other, each closed when its first event is there. */
async function probe(server: Server, tokens: readonly string[], api: EventApi): Promise<number[]> {
  const firsts: number[] = [];
  const open = api.streams();
  for (let n = 0; n < PROBES; n += 1) {
    const listener = await listen(server.port, tokens[n % tokens.length] ?? "");
    firsts.push(listener.firstMs);
    listener.close();
    await until(() => api.streams() <= open);
  }
  return firsts;
}

async function closeAll(listeners: readonly { close(): void }[], api: EventApi): Promise<void> {
  for (const listener of listeners) listener.close();
  await until(() => api.streams() === 0);
}

/** @throws when it does not happen: a stream whose caller has gone would be held on. */
async function until(isDone: () => boolean): Promise<void> {
  const endsAt = performance.now() + CLOSE_LIMIT_MS;
  while (!isDone()) {
    if (performance.now() > endsAt) throw new Error("streams of callers who have gone stay open");
    await sleep(1);
  }
}
