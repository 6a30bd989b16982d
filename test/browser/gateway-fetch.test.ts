/** The browser client keeps its promises in Node and in Chromium; all of it is exercised, and it is small. */

import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { Page } from "playwright-core";
import { CASES } from "./cases.ts";
import { type Chromium, hasChromium, launchChromium } from "./chromium.ts";
import { startScriptedGateway } from "./scripted-gateway.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
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
  }, 60_000);
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
  }, 60_000);

  test("imports nothing, and is at most 4 KB minified and compressed", async () => {
    const text = await bundle("src/browser/index.ts", "--format=esm", "--minify");
    expect(text).not.toMatch(/\b(?:import|require)\b/);
    expect(gzipSync(text).length).toBeLessThanOrEqual(4096);
  });
});

interface Coverage {
  readonly result: readonly {
    readonly url: string;
    readonly functions: readonly {
      readonly ranges: readonly {
        readonly startOffset: number;
        readonly endOffset: number;
        readonly count: number;
      }[];
    }[];
  }[];
}

/** V8's block coverage of a run in a process of its own: texts of src/browser that never ran. */
async function untaken(): Promise<string[]> {
  const directory = await mkdtemp(join(tmpdir(), "coverage-"));
  try {
    const file = join(directory, "cases.mjs");
    const program = await bundle("test/browser/run-cases.ts", "--format=esm");
    await writeFile(
      file,
      `${program}
      for (const name of names) {
        const fault = await runCase(name, ${JSON.stringify(surroundings)});
        if (fault !== undefined) throw new Error(name + ": " + fault);
      }
      process.exit(0);`,
    );
    const reports = join(directory, "reports");
    await run(process.execPath, [file], { env: { NODE_V8_COVERAGE: reports } });
    const found: string[] = [];
    const text = await readFile(file, "utf8");
    const url = pathToFileURL(file).href;
    for (const report of await readdir(reports)) {
      const { result } = JSON.parse(await readFile(join(reports, report), "utf8")) as Coverage;
      const functions = result.find((script) => script.url === url)?.functions ?? [];
      expect(functions.length).toBeGreaterThan(0);
      for (const { startOffset, endOffset, count } of functions.flatMap(({ ranges }) => ranges)) {
        const piece = text.slice(startOffset, endOffset);
        if (count === 0 && sectionAt(text, startOffset).startsWith("src/browser/") && /\w/.test(piece))
          found.push(`${sectionAt(text, startOffset)}: ${piece}`);
      }
    }
    return found;
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** esbuild writes the file's path as a comment above what came from it. */
function sectionAt(text: string, offset: number): string {
  return /(?:.*\n)*\/\/ ((?:src|test)\/\S+)\n/.exec(text.slice(0, offset))?.[1] ?? "";
}
