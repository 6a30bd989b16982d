/** Runs the tests of a room against single changes of its code, and says which changes they notice. */

import { hash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type Mutation, mutationsOf, withSwitches } from "./mutations.ts";
import type { Outcome, TestScript } from "./protocol.ts";
import type { Room } from "./rooms.ts";
import { bundle } from "./scripts.ts";
import { createWorkerProcess, type WorkerProcess } from "./worker-process.ts";

export interface Mutant extends Mutation {
  readonly file: string;
  /** The line of the source, without blanks around it. */
  readonly code: string;
}

export type Verdict = "killed" | "timed out" | "survived" | "not covered";

export interface Result {
  readonly mutant: Mutant;
  readonly verdict: Verdict;
  /** The test that noticed it. */
  readonly by?: string;
}

export interface RoomRun {
  readonly root: string;
  readonly sources: readonly string[];
  readonly tests: readonly string[];
  /** Which of the room's mutants to try. */
  choose(mutants: readonly Mutant[]): readonly Mutant[];
  /** Asked before each mutant; those that are left once the answer is no have no result. */
  goesOn?(): boolean;
  readonly workers: number;
  /** For what blocks the event loop, beyond the time limits of the tests within, ms. */
  readonly hungMs?: number;
  readonly env: Readonly<Record<string, string>>;
  /** Directory in which it is kept what each test file passes, until the file or a source that it uses changes. */
  readonly cache?: string;
  onResult?(result: Result): void;
  log(line: string): void;
}

interface Covered {
  readonly script: TestScript;
  readonly names: readonly string[];
  readonly ms: readonly number[];
  /** What the file costs before its first test and after its last, ms. */
  readonly aroundMs: number;
  readonly reached: readonly ReadonlySet<number>[];
  readonly reachedByAll: ReadonlySet<number>;
  readonly passed: number;
  /** Where a test needs those before it, all of the file are run. */
  whole: boolean;
}

/** A test that takes that much longer than without a mutation hangs. */
const SLOWER = 5;
const LEAST_TIMEOUT_MS = 2_000;
/** Code that passes that many times as many places as all tests of the file goes round for ever; and a little more for small files. */
const ROUNDS = 10;
const LEAST_PASSED = 100_000;
const COVERAGE_TIMEOUT_MS = 60_000;
const HUNG_MS = 4_000;
/** Failures in a row without a mutation that are put down to the machine. */
const MOST_DOUBTS = 2;
/** A process that had as many mutants in it is replaced, whatever they left behind. */
const RUNS_OF_A_PROCESS = 150;

const filesBelow = (root: string, folder: string, end: string) =>
  (readdirSync(resolve(root, folder), { recursive: true }) as string[])
    .filter((file) => file.endsWith(end) && !file.endsWith(".d.ts"))
    .map((file) => join(folder, file))
    .sort();

export const sourcesOf = (root: string, room: Room): readonly string[] =>
  filesBelow(root, room.source, ".ts");

export const testsOf = (root: string, room: Room): readonly string[] =>
  room.tests
    .flatMap((place) => (place.endsWith(".ts") ? [place] : filesBelow(root, place, ".test.ts")))
    .filter((file) => !room.without.includes(file));

export async function mutantsOf(root: string, sources: readonly string[]): Promise<readonly Mutant[]> {
  const all: Mutant[] = [];
  for (const file of sources) {
    const source = await readFile(resolve(root, file), "utf8");
    const lines = source.split("\n");
    for (const mutation of mutationsOf(source))
      all.push({ ...mutation, file, code: lines[mutation.line - 1]?.trim() ?? "" });
  }
  return all;
}

export async function runRoom(room: RoomRun): Promise<readonly Result[]> {
  const mutants = await mutantsOf(room.root, room.sources);
  const numbers = new Map(mutants.map((mutant, number) => [mutant, number]));
  const mutated = new Map<string, string>();
  for (const file of room.sources) {
    const path = resolve(room.root, file);
    const first = mutants.findIndex((mutant) => mutant.file === file);
    if (first === -1) continue;
    const own = mutants.filter((mutant) => mutant.file === file);
    mutated.set(path, withSwitches(await readFile(path, "utf8"), own, first));
  }

  const workers = Array.from({ length: room.workers }, () => createWorkerProcess(room.env));
  try {
    const covered: Covered[] = [];
    await share([...room.tests], workers, async (worker, file) => {
      const script = await bundle(file, { root: room.root, mutated });
      const outcome = await remembered(room.cache, script, () => unchanged(script, worker));
      const found = coveredBy(script, outcome);
      if (found !== undefined) covered.push(found);
      room.log(
        `${file}: ${found === undefined ? "passes nothing of the room" : `${found.names.length} tests`}`,
      );
    });
    const chosen = room.choose(mutants);
    const results: Result[] = [];
    await share(
      [...chosen],
      workers.map((worker) => withHistory(worker, room.hungMs ?? HUNG_MS)),
      async (history, mutant) => {
        if (room.goesOn?.() === false) return;
        const result = await verdictOn(mutant, numbers.get(mutant) as number, covered, history);
        results.push(result);
        room.onResult?.(result);
        if (results.length % 100 === 0) room.log(`${results.length} of ${chosen.length}`);
      },
    );
    return results;
  } finally {
    await Promise.all(workers.map((worker) => worker.restart()));
  }
}

async function share<W, T>(queue: T[], workers: readonly W[], work: (worker: W, item: T) => Promise<void>) {
  await Promise.all(
    workers.map(async (worker) => {
      for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(worker, item);
    }),
  );
}

async function remembered(
  directory: string | undefined,
  { code }: TestScript,
  run: () => Promise<Outcome>,
): Promise<Outcome> {
  if (directory === undefined) return run();
  const file = join(directory, `${hash("sha256", code)}.json`);
  try {
    return JSON.parse(readFileSync(file, "utf8")) as Outcome;
  } catch {
    const outcome = await run();
    mkdirSync(directory, { recursive: true });
    writeFileSync(file, JSON.stringify(outcome));
    return outcome;
  }
}

/** The run of a test file with the code as it is. */
async function unchanged(script: TestScript, worker: WorkerProcess): Promise<Outcome> {
  const order = { script, mutant: undefined, timeoutMs: COVERAGE_TIMEOUT_MS };
  let outcome = await worker.ask(order, 10 * COVERAGE_TIMEOUT_MS);
  // A test that measures time may fail on a busy machine; a second time says that it is the code.
  if (typeof outcome === "string" || outcome.failed !== undefined) {
    await worker.restart();
    outcome = await worker.ask(order, 10 * COVERAGE_TIMEOUT_MS);
  }
  if (typeof outcome === "string") throw new Error(`${script.file} ${outcome} without a mutation`);
  if (outcome.failed !== undefined)
    throw new Error(`${script.file} fails without a mutation: ${outcome.failed.message}`);
  return outcome;
}

function coveredBy(script: TestScript, outcome: Outcome): Covered | undefined {
  const { tests, reachedByAll, passed } = outcome;
  if (reachedByAll.length === 0 && tests.every(({ reached }) => reached.length === 0)) return undefined;
  return {
    script,
    names: tests.map(({ name }) => name),
    ms: tests.map(({ ms }) => ms),
    aroundMs: outcome.ms - tests.reduce((sum, { ms }) => sum + ms, 0),
    reached: tests.map(({ reached }) => new Set(reached)),
    reachedByAll: new Set(reachedByAll),
    passed,
    whole: false,
  };
}

interface History {
  readonly worker: WorkerProcess;
  readonly hungMs: number;
  runs: number;
  /** Tests that passed without a mutation in this process, chosen as they were when they failed with one. */
  readonly sound: Set<string>;
}

const withHistory = (worker: WorkerProcess, hungMs: number): History => ({
  worker,
  hungMs,
  runs: 0,
  sound: new Set(),
});

async function renew(history: History): Promise<void> {
  await history.worker.restart();
  history.runs = 0;
  history.sound.clear();
}

async function verdictOn(
  mutant: Mutant,
  number: number,
  covered: readonly Covered[],
  history: History,
): Promise<Result> {
  const plans = covered
    .map((file) => planOf(file, number))
    .filter(({ tests }) => tests.length > 0)
    .sort((a, b) => a.costMs - b.costMs);
  if (plans.length === 0) return { mutant, verdict: "not covered" };
  for (const { file } of plans) {
    const noticed = await runOn(number, file, history);
    if (noticed !== undefined) return { mutant, ...noticed };
  }
  return { mutant, verdict: "survived" };
}

function planOf(
  file: Covered,
  number: number,
): { file: Covered; tests: number[]; costMs: number; longestMs: number } {
  const all = file.whole || file.reachedByAll.has(number);
  let reaching = file.reached
    .map((reached, place) => (reached.has(number) ? place : -1))
    .filter((place) => place >= 0);
  // What is passed while the file is loaded or set up changes any of its tests; those that pass it again know best.
  if (all) reaching = file.names.map((_, place) => place);
  const times = reaching.map((place) => file.ms[place] ?? 0);
  return {
    file,
    tests: reaching,
    costMs: file.aroundMs + times.reduce((sum, ms) => sum + ms, 0),
    longestMs: Math.max(file.aroundMs, ...times),
  };
}

async function runOn(
  number: number,
  file: Covered,
  history: History,
): Promise<{ verdict: Verdict; by: string } | undefined> {
  const { script } = file;
  let doubts = 0;
  for (;;) {
    if (history.runs >= RUNS_OF_A_PROCESS) await renew(history);
    history.runs += 1;
    const { tests, costMs, longestMs } = planOf(file, number);
    const timeoutMs = LEAST_TIMEOUT_MS + SLOWER * longestMs;
    const limitMs = history.hungMs + timeoutMs + SLOWER * costMs;
    const outcome = await history.worker.ask(
      { script, mutant: number, tests, timeoutMs, mostPassed: LEAST_PASSED + ROUNDS * file.passed },
      limitMs,
    );
    if (typeof outcome === "string") {
      // The process of many mutants may end for what they left behind.
      const worn = outcome === "ended" && history.runs > 1;
      await renew(history);
      if (worn) continue;
      return {
        verdict: outcome === "hung" ? "timed out" : "killed",
        by: `${script.file}, whose process ${outcome}`,
      };
    }
    const { failed } = outcome;
    if (failed === undefined) return undefined;
    const by = `${script.file}: ${failed.test === undefined ? failed.message : file.names[failed.test]}`;
    if (failed.timedOut !== false) {
      if (failed.timedOut === "waiting") await renew(history);
      return { verdict: "timed out", by };
    }
    const key = `${script.file} ${failed.test}`;
    if (history.sound.has(key)) return { verdict: "killed", by };
    // The same tests have to pass without the mutation, or the failure says nothing about it.
    const upTo =
      failed.test === undefined ? tests : tests.filter((place) => place <= (failed.test as number));
    const control = { script, mutant: undefined, tests: upTo, timeoutMs: COVERAGE_TIMEOUT_MS };
    const passes = (answer: Outcome | string) => typeof answer !== "string" && answer.failed === undefined;
    if (passes(await history.worker.ask(control, 10 * COVERAGE_TIMEOUT_MS))) {
      history.sound.add(key);
      return { verdict: "killed", by };
    }
    // Either an earlier mutant left something behind in the process, or the tests need others of their file before them.
    const wasAlone = history.runs === 1;
    await renew(history);
    const isSound = passes(await history.worker.ask(control, 10 * COVERAGE_TIMEOUT_MS));
    // Nothing but this mutant itself can have left behind what made the tests fail without it.
    if (isSound && wasAlone) return { verdict: "killed", by };
    if (!isSound) {
      // A busy machine makes some tests fail now and then; one that fails on and on says nothing.
      if (file.whole && ++doubts > MOST_DOUBTS) throw new Error(`${script.file} fails without a mutation`);
      file.whole = true;
    }
  }
}
