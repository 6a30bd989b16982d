/** The second user: steady requests on connections apart from the attacker's, each timed from when it was due. */

import { Agent, type ClientRequest, request } from "node:http";
import { type Sample, type Traffic, trafficOf } from "./bounds.ts";
import { HONEST_BODY } from "./honest-answer.ts";
import { type Journey, sharedClock } from "./where.ts";

export interface SecondUserOptions {
  readonly port: number;
  readonly token: string;
  readonly perSecond: number;
  /** Of these requests, how many a second come with the next one of the newcomers' tokens. */
  readonly newcomersPerSecond: number;
  /** Where they are used up the steady user takes their turns, and none is measured. */
  readonly newcomers: readonly string[];
  /** Keeps when each request was where. Default: not kept. */
  readonly journeys?: Journey[] | undefined;
}

export interface SecondUser {
  /** What became of the requests that were due in this time; the last ones are waited for. */
  during(work: () => Promise<unknown>): Promise<Traffic>;
  /** Sends no more; resolves when nothing is under way, its connections closed. */
  stop(): Promise<void>;
}

/** A person would have left by then. */
const ANSWER_LIMIT_MS = 5_000;
/** One request in so many opens a new connection, as new callers do. */
const NEW_CONNECTION_EVERY = 10;

export function startSecondUser(options: SecondUserOptions): SecondUser {
  const { port, token, perSecond, newcomersPerSecond, newcomers, journeys } = options;
  const kept = new Agent({ keepAlive: true, maxSockets: 256 });
  const fresh = new Agent({ keepAlive: false, maxSockets: 256 });
  const samples: Sample[] = [];
  const underWay = new Set<Promise<void>>();
  const startedAt = performance.now();
  const newcomerEvery = newcomersPerSecond === 0 ? 0 : Math.round(perSecond / newcomersPerSecond);
  let due = 0;
  let nextNewcomer = 0;

  const one = (dueAt: number, index: number): Promise<void> => {
    const newcomer = newcomerEvery > 0 && index % newcomerEvery === 1 ? newcomers[nextNewcomer++] : undefined;
    const isNewcomer = newcomer !== undefined;
    return new Promise((resolve) => {
      const settle = (isServed: boolean) => {
        clearTimeout(limit);
        ended?.(isServed);
        samples.push({ dueAt, ms: performance.now() - dueAt, isServed, isNewcomer });
        resolve();
      };
      const sent = request({
        port,
        host: "127.0.0.1",
        path: "/graph/me",
        agent: index % NEW_CONNECTION_EVERY === 0 ? fresh : kept,
        headers: {
          authorization: `Bearer ${newcomer ?? token}`,
          ...(journeys !== undefined && { "x-correlation-id": `second-user-${index}` }),
        },
      });
      const ended = journeys === undefined ? undefined : follow(journeys, sent, { dueAt, index, isNewcomer });
      const limit = setTimeout(() => sent.destroy(new Error("no answer in time")), ANSWER_LIMIT_MS);
      let settled = false;
      const once = (isServed: boolean) => {
        if (settled) return;
        settled = true;
        settle(isServed);
      };
      sent.on("error", () => once(false));
      sent.on("response", (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", () => once(false));
        response.on("end", () =>
          once(response.statusCode === 200 && Buffer.concat(chunks).toString() === HONEST_BODY),
        );
        response.on("close", () => once(false));
      });
      sent.end();
    });
  };

  const timer = setInterval(() => {
    for (; startedAt + (due * 1000) / perSecond <= performance.now(); due++) {
      const answered = one(startedAt + (due * 1000) / perSecond, due);
      underWay.add(answered);
      void answered.then(() => underWay.delete(answered));
    }
  }, 5);

  return {
    async during(work) {
      const from = performance.now();
      await work();
      const until = performance.now();
      await Promise.all(underWay);
      const due = samples.filter(({ dueAt }) => dueAt >= from && dueAt < until);
      return trafficOf(due, newcomersPerSecond > 0);
    },
    async stop() {
      clearInterval(timer);
      await Promise.all(underWay);
      kept.destroy();
      fresh.destroy();
    },
  };
}

/** Keeps the journey of a request; what it gives back is called at its end. */
function follow(
  journeys: Journey[],
  sent: ClientRequest,
  {
    dueAt,
    index,
    isNewcomer,
  }: { readonly dueAt: number; readonly index: number; readonly isNewcomer: boolean },
): (isServed: boolean) => void {
  const sentAt = sharedClock();
  const journey: Journey = {
    id: `second-user-${index}`,
    dueAt: sentAt - (performance.now() - dueAt),
    sentAt,
    connectedAt: undefined,
    isNewConnection: false,
    isNewcomer,
    endedAt: Number.NaN,
    isServed: false,
  };
  sent.once("socket", (socket) => {
    journey.isNewConnection = !sent.reusedSocket;
    if (journey.isNewConnection)
      socket.once("connect", () => {
        journey.connectedAt = sharedClock();
      });
  });
  return (isServed) => {
    journey.endedAt = sharedClock();
    journey.isServed = isServed;
    journeys.push(journey);
  };
}
