/** Attacks the production build: npm run attack [-- --only a1,a3] [--quick] [--json] [--markdown]. Exits with 1 when a bound is broken. */

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { BOUNDS, QUICK_BOUNDS, verdictsOf } from "./bounds.ts";
import { HEAP_MIB, startParticipant } from "./children.ts";
import { play, type Times } from "./play.ts";
import { boundsText, markdownOf, type Row, textOf } from "./report.ts";
import type { Scenario } from "./scenario.ts";
import { CALM, chosen, SCENARIOS } from "./scenarios/all.ts";

const TIMES: Times = { warmUp: 1_000, calm: 4_000, attack: 10_000, shutdown: 28_000 };
const QUICK_TIMES: Times = { warmUp: 500, calm: 1_500, attack: 3_500, shutdown: 8_000 };
/** The default; and shorter, for a calm process lets newcomers in for a tenth of it. */
const GRACE_SECONDS = 25;
const QUICK_GRACE_SECONDS = 10;
const LAST_WORDS_SHOWN = 4;
const LONGEST_SECONDS = 20;
/** Slowest requests that are shown with what they waited for. */
const FOLLOWED = 15;

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    quick: { type: "boolean", default: false },
    seconds: { type: "string" },
    where: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    markdown: { type: "boolean", default: false },
    list: { type: "boolean", default: false },
  },
});
const { quick } = values;
const times = quick ? QUICK_TIMES : TIMES;
const seconds = values.seconds === undefined ? times.attack / 1000 : Number(values.seconds);
if (!(seconds >= 1 && seconds <= LONGEST_SECONDS)) {
  console.error(`--seconds takes 1 to ${LONGEST_SECONDS}, the length of the measured window`);
  process.exit(2);
}
if (values.list) {
  for (const { name, title } of SCENARIOS) console.log(`${name.padEnd(28)}${title}`);
  process.exit(0);
}
const selection = chosen(SCENARIOS, { only: values.only?.split(","), quick });
if (selection.length === 0) {
  console.error(`no scenario begins with ${values.only}; --list prints all`);
  process.exit(2);
}

const build = spawnSync("npm", ["run", "--loglevel=error", "--silent", "build"], {
  stdio: ["ignore", "inherit", "inherit"],
});
if (build.status !== 0) throw new Error("the build failed");

const isQuiet = values.json || values.markdown;
const note = (text: string) => (isQuiet ? console.error(text) : console.log(text));
const bounds = quick ? QUICK_BOUNDS : BOUNDS;
const began = performance.now();
const machine = `${cpus().length} × ${cpus()[0]?.model.trim()}, Node ${process.version}, ${process.platform}`;
note(`${machine}; heap of the gateway ${HEAP_MIB} MiB\n${boundsText(bounds)}\n`);

const api = startParticipant("./api-main.ts", []);
const apiUrl = `http://127.0.0.1:${await api.heard<number>("port")}`;
const options = {
  quick,
  apiUrl,
  api,
  times: { ...times, attack: seconds * 1000, calm: Math.min(times.calm, seconds * 500) },
  shutdownGraceSeconds: quick ? QUICK_GRACE_SECONDS : GRACE_SECONDS,
  followed: values.where ? FOLLOWED : 0,
};
const rows: Row[] = [];
/** Scenarios that could not be played to their end. */
const failed: string[] = [];
// What the machine, the second user and an orderly end cost without any attack.
let calmShutdownMs = 0;
try {
  const missing: string[] = [];
  for (const scenario of [CALM, ...selection]) {
    if (!isPossible(scenario)) {
      missing.push(scenario.name);
      continue;
    }
    const played = await play(scenario, options).catch((error: unknown) => {
      // Without the calm process there is nothing to compare with; another scenario is only one row less.
      if (scenario === CALM) throw error;
      failed.push(scenario.name);
      note(`FAILED ${scenario.name}: ${error instanceof Error ? error.message : error}`);
    });
    if (played === undefined) continue;
    const { lastWords, where, ...measured } = played;
    if (scenario === CALM) {
      if (measured.shutdown?.ms === undefined) throw new Error("the calm process did not end in time");
      calmShutdownMs = measured.shutdown.ms;
    }
    const { name, title } = scenario;
    const row = { name, title, measured, verdicts: verdictsOf(measured, calmShutdownMs, bounds) };
    rows.push(row);
    note(textOf(row, calmShutdownMs));
    for (const line of where) note(`       > ${line}`);
    if (measured.died !== undefined) for (const line of reasonOf(lastWords)) note(`       | ${line}`);
  }
  if (missing.length > 0) note(`left out, for this build has no such surface: ${missing.join(", ")}`);
} finally {
  await api.end();
}

const broken = rows.filter(({ verdicts }) => verdicts.some(({ isKept }) => !isKept));
const tookSeconds = Math.round((performance.now() - began) / 1000);
if (values.markdown) console.log(markdownOf(rows, calmShutdownMs));
if (values.json) {
  const date = new Date().toISOString();
  console.log(
    JSON.stringify(
      { date, machine, quick, seconds, tookSeconds, bounds, calmShutdownMs, rows },
      undefined,
      2,
    ),
  );
}
note(
  `\n${rows.length} scenarios in ${tookSeconds} s, SIGTERM of the calm process took ${(calmShutdownMs / 1000).toFixed(1)} s; ` +
    (broken.length === 0
      ? "every bound was kept"
      : `bounds were broken in ${broken.length}: ${broken.map(({ name }) => name).join(", ")}`),
);
if (failed.length > 0) note(`not played to the end: ${failed.join(", ")}`);
process.exitCode = broken.length + failed.length === 0 ? 0 : 1;

/** Asked of the schema that ships with the build, so that a surface is attacked as soon as it exists. */
function isPossible({ needsRouteKey }: Scenario): boolean {
  if (needsRouteKey === undefined) return true;
  const file = fileURLToPath(new URL("../../config/gateway.schema.json", import.meta.url));
  const schema = JSON.parse(readFileSync(file, "utf8"));
  return needsRouteKey in schema.properties.routes.items.properties;
}

function reasonOf(lastWords: string): readonly string[] {
  const lines = lastWords.split("\n").filter((line) => /error|fatal|heap limit/i.test(line));
  return lines.slice(0, LAST_WORDS_SHOWN);
}
