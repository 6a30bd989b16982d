/** Instructions of a hit and of a decision in this build and in that of another revision, counted by valgrind: no other work moves them. */

import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { startAuthority } from "./authority.ts";
import { type Instructions, instructionsOf } from "./callgrind.ts";
import { environment, GATEWAY_WITH_LOCAL, unsheddingConfig } from "./contenders.ts";
import { buildRevision } from "./revision.ts";
import { end, endWithUs } from "./server-process.ts";
import { QUESTION, SMALL_BODY_BYTES } from "./stage.ts";
import { median, spread } from "./statistics.ts";
import { resultTable } from "./table.ts";
import { type LoadResult, load, type Rotation, rotate, startFixedApi } from "./wire.ts";

const USERS = 100;
const CONNECTIONS = 32;
/** What the compiler needs to see before it has optimised a request; fewer, and the counts are those of the interpreter. */
const WARM_UP_REQUESTS = 7_000;
const ROUNDS = 3;
const ROUND_REQUESTS = 800;
const START_LIMIT_MS = 90_000;
/** Of the main thread, the first one. */
const MAIN_THREAD = /\.\d+-01$/;

const execute = promisify(execFile);
const SLOW_CLOCK = new URL("./substitutes/slow-clock.mjs", import.meta.url).href;

/**
 * Needs `dist`. Takes minutes, in which both builds run at the same time.
 *
 * @throws when the revision does not exist or does not build.
 */
export async function benchInstructions(revision: string): Promise<void> {
  if (spawnSync("valgrind", ["--version"]).status !== 0) {
    console.log("instructions are left out: valgrind is not on this machine");
    return;
  }
  const { commit, root } = buildRevision(revision);
  const authority = await startAuthority();
  const api = await startFixedApi(SMALL_BODY_BYTES);
  try {
    const tokens = await authority.mint(USERS);
    const env = { ...environment(authority, api.url), ...GATEWAY_WITH_LOCAL.env };
    // Both builds are to do the same, and a revision may be older than the local API.
    const hasLocal = existsSync(join(root, "test/bench", LOCAL_CONFIG));
    const kinds = hasLocal ? KINDS : (["hit"] as const);
    const countOf = (root: string) =>
      count(root, kinds, { ...env, ...unsheddingConfig(root, hasLocal ? LOCAL_CONFIG : undefined) }, tokens);
    const [before, here] = await Promise.all([countOf(root), countOf(process.cwd())]);
    const middle = (rounds: readonly Instructions[], part: keyof Instructions) =>
      median(rounds.map((round) => round[part])) / 1000;
    const row = (name: string, kind: Kind, counts: Counts) => ({
      name,
      figures: [
        middle(counts[kind], "work"),
        spread(counts[kind].map(({ work }) => work)) * 100,
        middle(counts[kind], "work") / middle(before[kind], "work"),
        middle(counts.decision, "work") / middle(counts.hit, "work"),
        middle(counts[kind], "collector"),
        middle(counts[kind], "compiler"),
      ],
    });
    console.log(
      resultTable({
        title: `instructions of a request in the main thread, thousands: ${USERS} users, ${CONNECTIONS} connections, 1 KiB answers; median of ${ROUNDS} rounds of ${ROUND_REQUESTS} requests`,
        columns: [
          { name: "work", digits: 1 },
          { name: "spread", digits: 1, unit: " %" },
          { name: `to ${commit}`, digits: 3 },
          { name: "dec. / hit", digits: 3 },
          { name: "collector", digits: 1 },
          { name: "compiler", digits: 1 },
        ],
        rows: kinds.flatMap((kind) => [
          row(`${kind} at ${commit}`, kind, before),
          row(`${kind} here`, kind, here),
        ]),
        targets: [],
        notes: [
          "work: JavaScript, V8's builtins, Node and libc, without the kernel. What V8's collector and compiler do in a round is chance",
        ],
      }),
    );
  } finally {
    api.close();
    authority.close();
  }
}

const LOCAL_CONFIG = "gateway-local.yaml";

/** A hit of the gateway's own proxy, and a decision for a proxy in front. */
const KINDS = ["hit", "decision"] as const;
type Kind = (typeof KINDS)[number];

/** Of one request, in each round. */
type Counts = Readonly<Record<Kind, readonly Instructions[]>>;

async function count(
  root: string,
  kinds: readonly Kind[],
  env: Readonly<Record<string, string>>,
  tokens: readonly string[],
): Promise<Counts> {
  const directory = mkdtempSync(join(tmpdir(), "obo-bench-callgrind-"));
  const remove = () => rmSync(directory, { recursive: true, force: true });
  process.once("exit", remove);
  const child = spawn(
    "valgrind",
    [
      "--tool=callgrind",
      "--instr-atstart=no",
      "--separate-threads=yes",
      "--compress-strings=no",
      // V8 writes its code while it runs; what comes from files does not change.
      "--smc-check=all-non-file",
      `--callgrind-out-file=${join(directory, "out")}`,
      process.execPath,
      "--single-threaded-gc",
      "--import",
      SLOW_CLOCK,
      ...GATEWAY_WITH_LOCAL.args,
    ],
    {
      cwd: root,
      env: { PATH: process.env.PATH ?? "", NODE_ENV: "production", ...env },
      stdio: ["ignore", "pipe", "ignore"],
    },
  );
  endWithUs(child);
  try {
    const { port, localPort } = await portsOf(child);
    const sends: Readonly<Record<Kind, (requests: number) => Promise<LoadResult>>> = {
      hit: sending(port, rotate("/graph/me", tokens), SMALL_BODY_BYTES),
      decision: sending(localPort ?? 0, rotate("/forward-auth/graph", tokens, QUESTION), 0),
    };
    const control = (...args: readonly string[]) => execute("callgrind_control", [...args, `${child.pid}`]);
    // An exchange may take longer than it is given while nothing has been compiled; that user's next request has another.
    for (const kind of kinds) await sends[kind](WARM_UP_REQUESTS);
    await control("-i", "on");
    const counted: Record<Kind, Instructions[]> = { hit: [], decision: [] };
    for (let round = 0; round < ROUNDS; round += 1)
      for (const kind of kinds) {
        await control("-z");
        const earlier = new Set(readdirSync(directory));
        const { refused } = await sends[kind](ROUND_REQUESTS);
        if (refused > 0) throw new Error(`${refused} answers of ${root} were not as asked for`);
        await control("-d");
        const dump = readdirSync(directory).find((name) => !earlier.has(name) && MAIN_THREAD.test(name));
        if (dump === undefined) throw new Error("callgrind has written nothing of the main thread");
        const { work, collector, compiler } = instructionsOf(readFileSync(join(directory, dump), "utf8"));
        counted[kind].push({
          work: work / ROUND_REQUESTS,
          collector: collector / ROUND_REQUESTS,
          compiler: compiler / ROUND_REQUESTS,
        });
      }
    return counted;
  } finally {
    await end(child);
    remove();
  }
}

function sending(port: number, rotation: Rotation, bodyBytes: number) {
  return (requests: number) =>
    load({ port, rotation, connections: CONNECTIONS, until: { requests }, bodyBytes });
}

/** @throws when it ends before it says where it listens, or says nothing for too long. */
function portsOf(child: ChildProcess): Promise<{ readonly port: number; readonly localPort?: number }> {
  if (child.stdout === null) throw new Error("a pipe was asked for");
  const lines = createInterface({ input: child.stdout });
  return new Promise((resolve, reject) => {
    const limit = setTimeout(() => reject(new Error("the gateway does not come up")), START_LIMIT_MS);
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`ended with code ${code} before it listened`)));
    // Read to the end: a log that is not taken would block its writer.
    lines.on("line", (line) => {
      const { port, localPort } = JSON.parse(line) as { port?: number; localPort?: number };
      if (port === undefined) return;
      clearTimeout(limit);
      resolve({ port, ...(localPort !== undefined && { localPort }) });
    });
  });
}
