/** With and without Redis: what it costs a hit, and what it saves a replica that meets a user for the first time. */

import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { freePort } from "../../support/free-port.ts";
import { GATEWAY } from "../contenders.ts";
import { compare, type Round, run } from "../rounds.ts";
import { end, endWithUs } from "../server-process.ts";
import { type Scenario, SMALL_BODY_BYTES, type Stage } from "../stage.ts";
import { median, pairedRatio } from "../statistics.ts";
import { rotate } from "../wire.ts";

const USERS = 100;
const CONNECTIONS = 32;
const AUTHORITY_MS = 20;
const START_LIMIT_MS = 5_000;
const COLUMNS = [
  { name: "req/s", digits: 0 },
  { name: "CPU µs/req", digits: 1 },
  { name: "p50 ms", digits: 1 },
  { name: "ratio", digits: 2 },
];

export const redis: Scenario = {
  name: "redis",
  async run(stage) {
    const title = `Redis: ${USERS} users, ${CONNECTIONS} connections; then new users, with an authority of ${AUTHORITY_MS} ms`;
    if (spawnSync("redis-server", ["--version"]).status !== 0)
      return { title, columns: [], rows: [], targets: [], notes: ["left out: no redis-server on PATH"] };
    const port = await freePort();
    const database = spawn(
      "redis-server",
      ["--port", `${port}`, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
      { stdio: "ignore" },
    );
    endWithUs(database);
    await untilListening(port);
    try {
      const env = {
        REDIS_URL: `redis://127.0.0.1:${port}`,
        TOKEN_CACHE_KEYS: randomBytes(32).toString("base64"),
      };
      return { title, columns: COLUMNS, targets: [], ...(await measure(stage, env)) };
    } finally {
      await end(database);
    }
  },
};

async function measure(stage: Stage, env: Readonly<Record<string, string>>) {
  const known = await stage.tokens(USERS);
  const fresh = await stage.newTokens(stage.quick ? 200 : 1_500);
  const [alone, first, second] = await Promise.all([
    // Not the one that has been running: it would be the warmest.
    stage.start(GATEWAY),
    stage.start(GATEWAY, env),
    stage.start(GATEWAY, env),
  ]);
  const turn = (name: string, server: typeof alone, tokens: readonly string[]) => ({
    name,
    server,
    rotation: rotate("/graph/me", tokens),
    connections: CONNECTIONS,
    bodyBytes: SMALL_BODY_BYTES,
  });
  const hits = [turn("hit, without Redis", alone, known), turn("hit, with Redis", first, known)];
  const { rounds, conditions } = await compare(hits, stage.rounds);
  // The second replica warms up on users whom the first one has met.
  await run(turn("warm-up", second, known), { ms: stage.rounds.warmUpMs });

  stage.authority.answerAfter(AUTHORITY_MS);
  stage.authority.takeDurations();
  const misses: { readonly name: string; readonly round: Round }[] = [];
  for (const [name, server] of [
    ["new user, without Redis", alone],
    ["new user, with Redis", first],
    ["new user, whom another replica has met", second],
  ] as const) {
    misses.push({ name, round: await run(turn(name, server, fresh), { requests: fresh.length }) });
  }
  const shared = 3 * fresh.length - stage.authority.takeDurations().length;
  if (shared <= 0) throw new Error("Redis shared no token");

  const rates = rounds.map((list) => list.map(({ perSecond }) => perSecond));
  return {
    notes: [
      conditions,
      // On a busy machine Redis may miss its limit of 50 ms; the gateway then goes on without it, as it should.
      `the other replica found ${((shared / fresh.length) * 100).toFixed(0)} % of the new users in Redis`,
    ],
    rows: [
      ...hits.map(({ name }, index) => ({
        name,
        figures: [
          median(rates[index] ?? []),
          median((rounds[index] ?? []).map(({ processorUs }) => processorUs)),
          median((rounds[index] ?? []).map(({ p50 }) => p50)),
          pairedRatio(rates[index] ?? [], rates[0] ?? []),
        ],
      })),
      ...misses.map(({ name, round }) => ({
        name,
        figures: [
          round.perSecond,
          round.processorUs,
          round.p50,
          round.perSecond / (misses[0]?.round.perSecond ?? Number.NaN),
        ],
      })),
    ],
  };
}

async function untilListening(port: number): Promise<void> {
  const deadline = performance.now() + START_LIMIT_MS;
  while (performance.now() < deadline) {
    const socket = connect(port, "127.0.0.1");
    const [listens] = await Promise.race([
      once(socket, "connect").then(() => [true]),
      once(socket, "error").then(() => [false]),
    ]).catch(() => [false]);
    socket.destroy();
    if (listens) return;
    await delay(20);
  }
  throw new Error("redis-server did not start");
}
