import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { equivalenceOf, readEquivalents } from "../../mutants/equivalents.ts";
import { ROOMS } from "../../mutants/rooms.ts";
import { mutantsOf, type Result, runRoom, sourcesOf } from "../../mutants/runner.ts";

const files = {
  "src/limit.ts": `
    import { ended } from "./elsewhere.ts";
    export const MOST = 3;
    export const admits = (count: number) => count < MOST;
    export const unseen = (count: number) => count > 7;
    export function waits(done: boolean) {
      return new Promise<void>((resolve) => { if (done) resolve(); });
    }
    export function rounds(count: number) {
      let round = 0;
      while (round < count) { round++; if (round > 2) ended(); }
      return round;
    }
  `,
  "src/elsewhere.ts": "export function ended() {}",
  "src/later.ts": `
    export const WORD = "later";
    export const word = async () => WORD;
  `,
  "test/later.test.ts": `
    import { expect, test } from "@jest/globals";
    const load = () => import("../src/later.ts");
    test("is loaded", async () => { expect(typeof (await (await load()).word())).toBe("string"); });
    test("says what it is", async () => { expect(await (await load()).word()).toBe("later"); });
  `,
  "test/limit.test.ts": `
    import { beforeAll, describe, expect, jest, test } from "@jest/globals";
    import { admits, rounds, waits } from "../src/limit.ts";
    let ready = false;
    beforeAll(() => { ready = true; });
    test("no count from the limit on is admitted", () => {
      expect([0, 2, 3, 4].map(admits)).toEqual([true, true, false, false]);
    });
    describe("waiting", () => {
      test("ends", () => waits(ready));
    });
    test.each([0, 2])("%i rounds", (count) => {
      expect(rounds(count)).toBe(count);
    });
    test.skip("is left out", () => {});
    test("its clock is jest's", () => {
      jest.useFakeTimers();
      const rang = jest.fn();
      setTimeout(rang, 60_000);
      jest.advanceTimersByTime(60_000);
      jest.useRealTimers();
      expect(rang).toHaveBeenCalledTimes(1);
    });
  `,
};

let root: string;
let results: readonly Result[];
const SOURCES = ["src/limit.ts", "src/later.ts"];
const CHOSEN = new Set(['""', "count <= MOST", "4", "", "round >= 2", "count >= 7", "8"]);

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "mutants-"));
  for (const [file, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, file)), { recursive: true });
    await writeFile(join(root, file), text);
  }
  results = await runRoom({
    root,
    sources: SOURCES,
    tests: ["test/limit.test.ts", "test/later.test.ts"],
    // Each that hangs takes its time.
    choose: (mutants) => mutants.filter(({ replacement }) => CHOSEN.has(replacement)),
    workers: 1,
    hungMs: 500,
    env: {},
    log: () => {},
  });
});

afterAll(() => rm(root, { recursive: true }));

const verdictOn = (original: string, replacement: string) =>
  results
    .filter(({ mutant }) => mutant.original === original && mutant.replacement === replacement)
    .map(({ verdict }) => verdict);

test("every change that was chosen has its verdict", async () => {
  const chosen = (await mutantsOf(root, SOURCES)).filter(({ replacement }) => CHOSEN.has(replacement));
  expect(results.map(({ mutant }) => mutant)).toEqual(chosen);
});

test("a change that a test notices is killed, and the test is named", () => {
  expect(verdictOn("count < MOST", "count <= MOST")).toEqual(["killed"]);
  const { by } = results.find(({ mutant }) => mutant.replacement === "count <= MOST") as Result;
  expect(by).toBe("test/limit.test.ts: no count from the limit on is admitted");
});

test("a change of what is computed while a file is loaded is noticed by the tests that use it later", () => {
  expect(verdictOn("3", "4")).toEqual(["killed"]);
});

test("a change of what a module computes that is loaded by need is noticed by the tests that use it later", () => {
  expect(verdictOn('"later"', '""')).toEqual(["killed"]);
});

test("a change that leaves a test waiting, or going round for ever, has timed out", () => {
  expect(verdictOn("resolve();", "")).toEqual(["timed out"]);
  expect(verdictOn("round++;", "")).toEqual(["timed out"]);
});

test("a change that all tests pass by has survived, and one that none passes is not covered", () => {
  expect(verdictOn("round > 2", "round >= 2")).toEqual(["survived"]);
  expect(verdictOn("count > 7", "count >= 7")).toEqual(["not covered"]);
  expect(verdictOn("7", "8")).toEqual(["not covered"]);
});

test("a run that is to end goes on with no further change, and one with a cache asks each test file once", async () => {
  await writeFile(
    join(root, "test/skipping.test.ts"),
    `import { test } from "@jest/globals";
     test.skip("is left out", () => {});
     test("passes nothing", () => {});`,
  );
  const run = async () => {
    const logged: string[] = [];
    let asked = 0;
    const found = await runRoom({
      root,
      sources: SOURCES,
      tests: ["test/later.test.ts", "test/skipping.test.ts"],
      choose: (mutants) => mutants.filter(({ file }) => file === "src/later.ts"),
      goesOn: () => ++asked < 2,
      workers: 1,
      cache: join(root, "cache"),
      env: {},
      log: (line) => logged.push(line),
    });
    return { found: found.map(({ verdict }) => verdict), logged };
  };
  const first = await run();
  expect(first.found).toHaveLength(1);
  const kept = await readdir(join(root, "cache"));
  expect(kept).toHaveLength(2);
  expect(await run()).toEqual(first);
  // What is kept is believed: a test file of which it says nothing passes nothing.
  for (const file of kept)
    await writeFile(
      join(root, "cache", file),
      JSON.stringify({ tests: [], reachedByAll: [], passed: 0, ms: 0 }),
    );
  expect((await run()).found).toEqual(["not covered"]);
});

test("a change is killed that leaves behind in its process what makes the test fail without it, too", async () => {
  await writeFile(
    join(root, "src/lasting.ts"),
    `export function word(): string {
       const word = "whole";
       if (word.length === 0) process.env.MUTANTS_LEFT = String(7);
       return process.env.MUTANTS_LEFT ?? word;
     }`,
  );
  await writeFile(
    join(root, "test/lasting.test.ts"),
    `import { expect, test } from "@jest/globals";
     import { word } from "../src/lasting.ts";
     test("is whole", () => { expect(word()).toBe("whole"); });`,
  );
  const found = await runRoom({
    root,
    sources: ["src/lasting.ts"],
    tests: ["test/lasting.test.ts"],
    choose: (mutants) => mutants.filter(({ replacement }) => replacement === '""'),
    workers: 1,
    env: {},
    log: () => {},
  });
  expect(found.map(({ verdict }) => verdict)).toEqual(["killed"]);
});

test("a test that fails without a change ends the run, since it could notice nothing", async () => {
  await writeFile(
    join(root, "test/failing.test.ts"),
    `import { expect, test } from "@jest/globals";
     import { admits } from "../src/limit.ts";
     test("fails", () => { expect(admits(9)).toBe(true); });`,
  );
  const run = runRoom({
    root,
    sources: ["src/limit.ts"],
    tests: ["test/failing.test.ts"],
    choose: (mutants) => mutants,
    workers: 1,
    env: {},
    log: () => {},
  });
  await expect(run).rejects.toThrow("test/failing.test.ts fails without a mutation");
});

test("every equivalent of the list is a change of a line that stands in the source, and has its reason", async () => {
  const repository = fileURLToPath(new URL("../../..", import.meta.url));
  const mutants = (
    await Promise.all(ROOMS.map((room) => mutantsOf(repository, sourcesOf(repository, room))))
  ).flat();
  const equivalents = readEquivalents();
  const stale = equivalents.flatMap((each) =>
    (each.changes === "*" ? ["*" as const] : each.changes.map((change) => [change] as const))
      .map((changes) => ({ ...each, changes }))
      .filter((one) => !mutants.some((mutant) => equivalenceOf(mutant, [one]) !== undefined)),
  );
  expect(stale).toEqual([]);
  expect(equivalents.filter(({ reason }) => typeof reason !== "string" || reason.length < 20)).toEqual([]);
});
