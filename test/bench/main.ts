/** Measures and compares: npm run bench [-- scenario...] [--quick] [--cpu-prof], -- compare or -- instructions <git revision>. A missed target is shown; only what broke is a failure. */

import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { benchCompare } from "./compare.ts";
import { benchDownstream } from "./downstream.ts";
import { benchInstructions } from "./instructions.ts";
import { isPinned, leaveServerCore } from "./processor.ts";
import { benchProfile } from "./profile.ts";
import type { Result } from "./result.ts";
import { bodies } from "./scenarios/bodies.ts";
import { connections } from "./scenarios/connections.ts";
import { console as flowConsole } from "./scenarios/console.ts";
import { cores } from "./scenarios/cores.ts";
import { benchCrowd } from "./scenarios/crowd.ts";
import { benchExchange } from "./scenarios/exchange.ts";
import { forwardAuth } from "./scenarios/forward-auth.ts";
import { hotPath } from "./scenarios/hot-path.ts";
import { benchHttp2 } from "./scenarios/http2.ts";
import { benchIdentity } from "./scenarios/identity.ts";
import { json } from "./scenarios/json.ts";
import { miss } from "./scenarios/miss.ts";
import { redis } from "./scenarios/redis.ts";
import { signals } from "./scenarios/signals.ts";
import { startUp } from "./scenarios/start-up.ts";
import { benchStore } from "./scenarios/store.ts";
import { streams } from "./scenarios/streams.ts";
import { users } from "./scenarios/users.ts";
import { play, type Scenario } from "./stage.ts";
import { resultTable, targetTable } from "./table.ts";

const SCENARIOS: readonly Scenario[] = [
  hotPath,
  users,
  miss,
  connections,
  bodies,
  json,
  streams,
  cores,
  signals,
  redis,
  startUp,
  forwardAuth,
];
/** Many turns for a small difference: it runs only by name. */
const BY_NAME: readonly Scenario[] = [flowConsole];

/** Those that a quick run leaves out. */
const LONG: ReadonlySet<string> = new Set([redis, forwardAuth, json, streams, cores].map(({ name }) => name));

/** Studies of one room, in this process, that print tables of their own. They run only by name. */
const STUDIES: Readonly<Record<string, () => Promise<boolean>>> = {
  identity: benchIdentity,
  exchange: benchExchange,
  downstream: benchDownstream,
  http2: benchHttp2,
  profile: benchProfile,
  crowd: benchCrowd,
  store: benchStore,
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: "boolean", default: false }, "cpu-prof": { type: "boolean", default: false } },
});
const ofRevision = { compare: benchCompare, instructions: benchInstructions }[positionals[0] ?? ""];
if (ofRevision !== undefined) {
  build();
  await ofRevision(positionals[1] ?? "HEAD");
  process.exit(0);
}
const known = [...SCENARIOS, ...BY_NAME].map(({ name }) => name).concat(Object.keys(STUDIES));
const unknown = positionals.filter((name) => !known.includes(name));
if (unknown.length > 0) {
  console.error(`no scenario named ${unknown.join(", ")}; there are: ${known.join(", ")}`);
  process.exit(2);
}
if (positionals.some((name) => name === "profile" || name === "crowd")) build();
for (const [name, study] of Object.entries(STUDIES)) if (positionals.includes(name)) await study();
// What takes longest and says least of a change: a quick run is to end within a minute.
const byName = values.quick ? SCENARIOS.filter(({ name }) => !LONG.has(name)) : SCENARIOS;
const scenarios =
  positionals.length === 0
    ? byName
    : [...SCENARIOS, ...BY_NAME].filter(({ name }) => positionals.includes(name));
if (scenarios.length > 0) await measure(scenarios);

function build(): void {
  const { status } = spawnSync("npm", ["run", "--loglevel=error", "--silent", "build"], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (status !== 0) throw new Error("the build failed");
}

async function measure(scenarios: readonly Scenario[]): Promise<void> {
  const began = Date.now();
  build();
  leaveServerCore();
  const profiles = values["cpu-prof"] ? "bench-profiles" : undefined;
  if (profiles !== undefined) mkdirSync(profiles, { recursive: true });

  const machine = `${cpus().length} × ${cpus()[0]?.model.trim()}, Node ${process.version}, ${process.platform}`;
  console.log(`${machine}; ${isPinned ? "each server on one core" : "servers not pinned to a core"}`);
  const results: (Result & { readonly scenario: string })[] = [];
  await play(scenarios, { quick: values.quick, profiles }, ({ name }, result, seconds) => {
    results.push({ scenario: name, ...result });
    console.log(`\n${resultTable(result)}\n  ${seconds.toFixed(0)} s`);
  });
  console.log(`\n${targetTable(results.flatMap(({ targets }) => targets))}`);
  const seconds = Math.round((Date.now() - began) / 1000);
  const report = {
    date: new Date(began).toISOString(),
    machine,
    isPinned,
    quick: values.quick,
    seconds,
    results,
  };
  writeFileSync("bench-results.json", `${JSON.stringify(report, undefined, 2)}\n`);
  console.log(`\n${seconds} s; bench-results.json holds the figures`);
  if (profiles !== undefined) console.log(`CPU profiles of the servers: ${profiles}/`);
}
