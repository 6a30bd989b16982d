/**
 * `npm run mutants`: changes the code of the rooms that decide about tokens and requests in one place at a time, and
 * counts the changes that their tests notice. Ends with status 1 where less than the due part is noticed.
 */

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { RSA_KEYS_DIRECTORY } from "../emulator/rsa-keys.ts";
import { equivalenceOf, readEquivalents } from "./equivalents.ts";
import { ROOMS, type Room } from "./rooms.ts";
import { type Mutant, mutantsOf, type Result, runRoom, sourcesOf, testsOf } from "./runner.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

const { values } = parseArgs({
  options: {
    room: { type: "string", multiple: true },
    file: { type: "string", multiple: true },
    sample: { type: "string" },
    seed: { type: "string", default: "1" },
    changed: { type: "boolean", default: false },
    since: { type: "string", default: "main" },
    workers: { type: "string", default: "1" },
    json: { type: "string" },
    again: { type: "string" },
    // Goes on where the run ended that wrote this file, and keeps its results beside the new ones.
    after: { type: "string" },
    // After which no further mutant is begun.
    seconds: { type: "string" },
    // Of the mutants that are not equivalent, percent.
    due: { type: "string", default: "95" },
    list: { type: "boolean", default: false },
  },
});

/** Lines of each file that differ from where the branch began, in commits and in the working tree. */
function changedLines(since: string): ReadonlyMap<string, ReadonlySet<number>> {
  const git = (...args: string[]) => execFileSync("git", args, { cwd: root, encoding: "utf8" });
  const base = git("merge-base", since, "HEAD").trim();
  const changed = new Map<string, Set<number>>();
  let lines = new Set<number>();
  for (const line of git("diff", "--unified=0", base, "--", "src").split("\n")) {
    const file = /^\+\+\+ b\/(.*)$/.exec(line)?.[1];
    if (file !== undefined) {
      lines = new Set();
      changed.set(file, lines);
    }
    const [, first, count = "1"] = /^@@ -\S+ \+(\d+)(?:,(\d+))? @@/.exec(line) ?? [];
    for (let each = 0; first !== undefined && each < Number(count); each++) lines.add(Number(first) + each);
  }
  return changed;
}

/** Numbers that a seed decides, from 0 up to 1: mulberry32. */
function numbersFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const rooms = ROOMS.filter(({ name }) => values.room === undefined || values.room.includes(name));
const unknown = (values.room ?? []).filter((name) => !ROOMS.some((room) => room.name === name));
if (unknown.length > 0)
  throw new Error(`no room is called ${unknown.join(", ")}: ${ROOMS.map(({ name }) => name).join(", ")}`);

const noticed = ({ verdict }: Result) => verdict === "killed" || verdict === "timed out";
const equivalents = readEquivalents();
const lines = values.changed ? changedLines(values.since) : undefined;
/** What an earlier run, whose results are in that file, did not notice. */
const again =
  values.again === undefined
    ? undefined
    : (JSON.parse(readFileSync(values.again, "utf8")) as Result[])
        .filter((result) => !noticed(result))
        .map(({ mutant }) => mutant);
const earlier =
  values.after === undefined ? [] : (JSON.parse(readFileSync(values.after, "utf8")) as Result[]);
const isSame = (one: Mutant, other: Mutant) =>
  (["file", "code", "original", "replacement"] as const).every((name) => one[name] === other[name]);
const wanted = (mutant: Mutant) =>
  again?.some((one) => isSame(one, mutant)) !== false &&
  !earlier.some((result) => isSame(result.mutant, mutant)) &&
  equivalenceOf(mutant, equivalents) === undefined &&
  (values.file === undefined || values.file.includes(mutant.file)) &&
  (lines === undefined || lines.get(mutant.file)?.has(mutant.line) === true);

/** Mutants to try of each room: all that are wanted, or of all rooms together as many as a sample is to have. */
const ofRoom = new Map<Room, readonly Mutant[]>();
for (const room of rooms) ofRoom.set(room, await mutantsOf(root, sourcesOf(root, room)));
let chosen = [...ofRoom.values()].flat().filter(wanted);
if (values.sample !== undefined) {
  const next = numbersFrom(Number(values.seed));
  const places = new Map(chosen.map((mutant) => [mutant, next()]));
  chosen = chosen
    .sort((a, b) => (places.get(a) as number) - (places.get(b) as number))
    .slice(0, Number(values.sample));
}
const keyOf = ({ file, start, end, replacement }: Mutant) => `${file} ${start} ${end} ${replacement}`;

const show = ({ file, line, kind, original, replacement }: Mutant) => {
  const short = (text: string) => text.replace(/\s+/g, " ").slice(0, 140);
  return `${file}:${line} ${kind}: ${short(original) || "(nothing)"} → ${short(replacement) || "(nothing)"}`;
};

if (values.list) {
  for (const mutant of chosen) console.log(show(mutant));
  process.exit();
}

const keysDirectory = mkdtempSync(join(tmpdir(), "mutants-keys-"));
const begun = performance.now();
const inTime = () =>
  values.seconds === undefined || performance.now() - begun < 1000 * Number(values.seconds);
const all: Result[] = [];
const keep = () => {
  if (values.json !== undefined) writeFileSync(values.json, JSON.stringify([...earlier, ...all]));
};
const table: string[][] = [
  ["room", "mutants", "equivalent", "tried", "killed", "timed out", "survived", "not covered", "noticed"],
];

function row(name: string, mutants: readonly Mutant[], results: readonly Result[]): string[] {
  const count = (verdict: Result["verdict"]) => results.filter((result) => result.verdict === verdict).length;
  const equivalent = mutants.filter((mutant) => equivalenceOf(mutant, equivalents) !== undefined).length;
  return [
    name,
    ...[mutants.length, equivalent, results.length].map(String),
    ...(["killed", "timed out", "survived", "not covered"] as const).map((verdict) => String(count(verdict))),
    results.length === 0 ? "–" : `${scoreOf(results).toFixed(1)} %`,
  ];
}

const scoreOf = (results: readonly Result[]) => (100 * results.filter(noticed).length) / results.length;

try {
  for (const room of rooms) {
    const mutants = ofRoom.get(room) ?? [];
    const offered = new Set(mutants.map(keyOf));
    const due = chosen.filter((mutant) => offered.has(keyOf(mutant)));
    const results =
      due.length === 0
        ? []
        : await runRoom({
            root,
            sources: sourcesOf(root, room),
            tests: testsOf(root, room),
            // In the order of a sample, so that a run that ends early has tried a sample, too.
            choose: (offered) => {
              const byKey = new Map(offered.map((mutant) => [keyOf(mutant), mutant]));
              return due.map((mutant) => byKey.get(keyOf(mutant)) as Mutant);
            },
            goesOn: inTime,
            workers: Number(values.workers),
            cache: join(root, "node_modules/.cache/mutants"),
            env: { [RSA_KEYS_DIRECTORY]: keysDirectory },
            onResult: (result) => {
              all.push(result);
              // What ends the run early loses no more than these.
              if (all.length % 20 === 0) keep();
              if (!noticed(result)) console.log(`${result.verdict}: ${show(result.mutant)}`);
            },
            log: (line) => console.error(`${room.name}: ${line}`),
          });
    table.push(row(room.name, mutants, results));
  }
} finally {
  rmSync(keysDirectory, { recursive: true, force: true });
}
if (rooms.length > 1) table.push(row("all", [...ofRoom.values()].flat(), all));
keep();

const widths = (table[0] as string[]).map((_, column) =>
  Math.max(...table.map((cells) => cells[column]?.length ?? 0)),
);
for (const cells of table)
  console.log(
    cells
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join("  "),
  );
console.log(`${all.length} mutants in ${Math.round((performance.now() - begun) / 1000)} s`);
if (all.length > 0 && scoreOf(all) < Number(values.due)) {
  console.error(`${scoreOf(all).toFixed(1)} % of the mutants are noticed, and ${values.due} % are due`);
  process.exitCode = 1;
}
