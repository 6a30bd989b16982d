/** The browser client keeps its promises in Node and in Chromium; all of it is exercised, and it is small. */

import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { createInstrumenter } from "istanbul-lib-instrument";
import type { Page } from "playwright-core";
import { CASES } from "../../browser/cases.ts";
import { type Chromium, hasChromium, launchChromium } from "../../browser/chromium.ts";
import { startScriptedGateway } from "../../browser/scripted-gateway.ts";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const run = promisify(execFile);

let servers: Awaited<ReturnType<typeof startScriptedGateway>>[];
let surroundings: { gateway: string; elsewhere: string };
beforeAll(async () => {
  servers = await Promise.all([startScriptedGateway(), startScriptedGateway()]);
  const [gateway = "", elsewhere = ""] = servers.map(({ url }) => url);
  surroundings = { gateway, elsewhere };
});
afterAll(async () => {
  await Promise.all(servers.map((server) => server.close()));
});

/** By the command: esbuild's own functions and jest's realms do not agree on what a Uint8Array is. */
async function bundle(entry: string, ...options: string[]): Promise<string> {
  const args = [entry, "--bundle", "--target=es2022", ...options];
  const { stdout } = await run(join(root, "node_modules/.bin/esbuild"), args, {
    cwd: root,
    maxBuffer: 2 ** 24,
  });
  return stdout;
}

describe("the browser client with Node's fetch", () => {
  test.each(Object.keys(CASES))("%s", async (name) => {
    await CASES[name]?.(surroundings);
  });
});

(hasChromium ? describe : describe.skip)("the browser client with Chromium's fetch", () => {
  let chromium: Chromium;
  let page: Page;
  beforeAll(async () => {
    const script = await bundle("test/browser/run-cases.ts", "--format=iife", "--global-name=cases");
    chromium = await launchChromium();
    page = await chromium.context.newPage();
    // A third origin, as a page of an application has one.
    await page.goto(surroundings.gateway.replace("127.0.0.1", "localhost"));
    await page.addScriptTag({ content: script });
  });
  afterAll(async () => {
    await chromium?.close();
  });

  test.each(Object.keys(CASES))("%s", async (name) => {
    const call = `cases.runCase(${JSON.stringify(name)}, ${JSON.stringify(surroundings)})`;
    expect(await page.evaluate(call)).toBeUndefined();
  });
});

describe("the browser client", () => {
  test("has no branch that its cases do not take", async () => {
    expect(await untaken()).toEqual([]);
  });

  test("imports nothing, and is at most 4 KB minified and compressed", async () => {
    const text = await bundle("src/browser/index.ts", "--format=esm", "--minify");
    expect(text).not.toMatch(/\b(?:import|require)\b/);
    expect(gzipSync(text).length).toBeLessThanOrEqual(4096);
  });
});

/** Of istanbul: where each branch and statement stands, and how often each was taken. */
interface Coverage {
  readonly branchMap: Readonly<
    Record<string, { readonly type: string; readonly locations: readonly Range[] }>
  >;
  readonly b: Readonly<Record<string, readonly number[]>>;
  readonly statementMap: Readonly<Record<string, Range>>;
  readonly s: Readonly<Record<string, number>>;
}
interface Range {
  readonly start: { readonly line?: number };
}

/**
 * Lines of src/browser with a statement that never ran, or a branch that was never taken, in a process of its own. Istanbul
 * counts the `else` that is not written and each side of `??`, `&&` and `||` as branches, which V8's coverage leaves out.
 */
async function untaken(): Promise<string[]> {
  const directory = await mkdtemp(join(tmpdir(), "coverage-"));
  try {
    const program = await bundle("test/browser/run-cases.ts", "--format=esm");
    const instrumenter = createInstrumenter({ esModules: true, compact: false });
    const report = join(directory, "report.json");
    const file = join(directory, "cases.mjs");
    await writeFile(
      file,
      `${instrumenter.instrumentSync(program, "cases.mjs")}
      for (const name of names) {
        const fault = await runCase(name, ${JSON.stringify(surroundings)});
        if (fault !== undefined) throw new Error(name + ": " + fault);
      }
      const { writeFileSync } = await import("node:fs");
      writeFileSync(${JSON.stringify(report)}, JSON.stringify(globalThis.__coverage__["cases.mjs"]));
      process.exit(0);`,
    );
    await run(process.execPath, [file]);
    const { branchMap, b, statementMap, s } = JSON.parse(await readFile(report, "utf8")) as Coverage;
    const lines = program.split("\n");
    const branches = Object.entries(branchMap).flatMap(([id, { type, locations }]) =>
      // The place of an `else` that is not written has no line; the branch's first location has.
      locations.map(({ start }, at) => ({
        type,
        line: start.line ?? locations[0]?.start.line,
        count: b[id]?.[at],
      })),
    );
    const statements = Object.entries(statementMap).map(([id, { start }]) => ({
      type: "statement",
      line: start.line,
      count: s[id],
    }));
    const counted = [...branches, ...statements]
      .map(({ type, line = 0, count }) => ({ type, line, count, section: sectionAt(lines, line) }))
      .filter(({ section }) => section.startsWith("src/browser/"));
    expect(counted.length).toBeGreaterThan(200);
    return counted
      .filter(({ count }) => count === 0)
      .map(({ type, line, section }) => `${section}, ${type}: ${lines[line - 1]?.trim()}`);
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** esbuild writes the file's path as a comment above what came from it. */
function sectionAt(lines: readonly string[], line: number): string {
  const comments = lines.slice(0, line).map((text) => /^\/\/ ((?:src|test)\/\S+)$/.exec(text)?.[1]);
  return comments.findLast((path) => path !== undefined) ?? "";
}
