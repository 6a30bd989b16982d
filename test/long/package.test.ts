/** The packed package in empty folders: what it holds, its types, the command, and the example projects. */

import { type ChildProcess, execFile, spawn } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { type EmulatorProcess, environmentFor, startEmulatorProcess } from "../support/processes.ts";

const run = promisify(execFile);
const LIMIT_MS = 300_000;
const MOST_BYTES = 2 ** 20;

const directory = mkdtempSync(join(tmpdir(), "package-"));
const installed = join(directory, "project", "node_modules", "obo-gateway");
let emulator: EmulatorProcess;
let tarball: string;

/** A project of its own with the package, and further packages, installed. */
async function project(name: string, more: readonly string[] = []): Promise<string> {
  const folder = join(directory, name);
  const flags = ["--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts"];
  await run("npm", ["install", ...flags, tarball, ...more], { cwd: folder });
  return folder;
}

beforeAll(async () => {
  // A copy of what is tracked: packing builds, and must not disturb a build that others use.
  const sources = join(directory, "sources");
  const { stdout: tracked } = await run("git", ["ls-files", "--cached", "--others", "--exclude-standard"]);
  for (const file of tracked.split("\n").filter((name) => name !== "" && existsSync(name)))
    cpSync(file, join(sources, file), { recursive: true });
  symlinkSync(resolve("node_modules"), join(sources, "node_modules"));
  const { stdout } = await run("npm", ["pack", "--silent", "--pack-destination", directory], {
    cwd: sources,
  });
  tarball = join(directory, stdout.trim().split("\n").at(-1) ?? "");
  for (const name of ["embedding", "express-app", "testing"])
    cpSync(join("examples", name), join(directory, name), { recursive: true });
  mkdirSync(join(directory, "project"));
  writeFileSync(join(directory, "project", "package.json"), '{ "private": true, "type": "module" }');
  [emulator] = await Promise.all([startEmulatorProcess(), project("project")]);
}, LIMIT_MS);
afterAll(async () => {
  await emulator.stop();
  rmSync(directory, { recursive: true });
});

const filesOf = (folder: string) =>
  readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) =>
    statSync(join(folder, name)).isFile(),
  );

describe("the package", () => {
  test("holds code, declarations, the command and the entry for tests, and no more than a megabyte", () => {
    const files = filesOf(installed);
    for (const file of [
      "dist/index.js",
      "dist/index.d.ts",
      "dist/cli/main.js",
      "dist/testing/testing/testing.js",
    ])
      expect(files).toContain(file);
    expect(files.filter((name) => /\.map$|\.test\.|(?<!\.d)\.ts$|\.env$/.test(name))).toEqual([]);
    const bytes = files.reduce((sum, name) => sum + statSync(join(installed, name)).size, 0);
    expect(bytes).toBeLessThanOrEqual(MOST_BYTES);
  });

  test("brings no development dependency along", () => {
    const { devDependencies } = JSON.parse(readFileSync("package.json", "utf8"));
    const lock = JSON.parse(readFileSync("package-lock.json", "utf8")).packages;
    const inProduction = Object.keys(devDependencies).filter(
      (name) => lock[`node_modules/${name}`]?.dev !== true,
    );
    const present = Object.keys(devDependencies).filter((name) =>
      existsSync(join(directory, "project", "node_modules", name)),
    );
    expect(present.filter((name) => !inProduction.includes(name))).toEqual([]);
  });

  test("loads from an ES module and from CommonJS", async () => {
    const cwd = join(directory, "project");
    const script =
      'import("obo-gateway").then((all) => console.log(typeof all.runGateway, typeof all.createDelegation))';
    for (const type of ["module", "commonjs"]) {
      const { stdout } = await run(process.execPath, [`--input-type=${type}`, "--eval", script], { cwd });
      expect(stdout.trim()).toBe("function function");
    }
  });

  test(
    "has whole types in a project without further installs, of either module kind",
    async () => {
      const cwd = join(directory, "project");
      const checks = (load: string) => `
${load}
type IsAny<T> = 0 extends 1 & T ? true : false;
const no: false[] = [
  null! as IsAny<GatewayRequest>, null! as IsAny<GatewayRequest["headers"]>, null! as IsAny<GatewayRequest["params"]>,
  null! as IsAny<GatewayRequest["principal"]>, null! as IsAny<Parameters<RouteHandler["handler"]>[1]>,
  null! as IsAny<Parameters<RouteHandler["handler"]>[1]["json"]>, null! as IsAny<Gateway["app"]>,
  null! as IsAny<Gateway["log"]>, null! as IsAny<Gateway["log"]["info"]>, null! as IsAny<GatewayConfig["http"]>,
  null! as IsAny<Delegation["answerErrors"]>, null! as IsAny<ReturnType<Delegation["authenticate"]>>,
  null! as IsAny<Emulator["users"]>, null! as IsAny<TestGateway["app"]>, null! as IsAny<TestGateway["routes"]>,
  null! as IsAny<GatewayFetch>, null! as IsAny<Parameters<GatewayFetch>[1]>,
];
void no;
`;
      const names = `import type { Delegation, Gateway, GatewayConfig, GatewayRequest, RouteHandler } from "obo-gateway";
import type { GatewayFetch } from "obo-gateway/browser";
import type { Emulator, TestGateway } from "obo-gateway/testing";`;
      writeFileSync(
        join(cwd, "module.mts"),
        checks(`${names}\nimport { runGateway } from "obo-gateway";\nvoid runGateway;`),
      );
      const commonJsNames = names.replaceAll(
        /from ("[^"]+");/g,
        'from $1 with { "resolution-mode": "import" };',
      );
      writeFileSync(
        join(cwd, "script.cts"),
        checks(
          `${commonJsNames}\nconst entry = import("obo-gateway");\nvoid entry.then(({ runGateway }) => runGateway);`,
        ),
      );
      const flags = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2023"];
      const { stdout } = await run(
        process.execPath,
        [resolve("node_modules/typescript/bin/tsc"), ...flags, "module.mts", "script.cts"],
        { cwd },
      ).catch((error: { stdout: string }) => error);
      // Declarations of dependencies are theirs; a name that is missing in the package's own would be `any`.
      const faults = stdout.split("\n").filter((line) => /^(?!node_modules\/(?!obo-gateway\/))\S/.test(line));
      expect(faults).toEqual([]);
    },
    LIMIT_MS,
  );

  test(
    "answers as a command, with the emulator and its tokens",
    async () => {
      const cwd = join(directory, "project");
      const bin = join(cwd, "node_modules", ".bin", "obo-gateway");
      expect((await run(bin, ["--version"], { cwd })).stdout).toMatch(/^\d+\.\d+\.\d+$/m);
      expect((await run(bin, ["emulator", "--help"], { cwd })).stdout).toContain("--control-port");
      const { stdout } = await run(bin, ["token", "--control", emulator.facts.controlUrl], { cwd });
      expect(stdout.trim().split(".")).toHaveLength(3);
    },
    LIMIT_MS,
  );
});

async function mint(): Promise<string> {
  const response = await fetch(`${emulator.facts.controlUrl}/tokens`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ user: "ada" }),
  });
  return ((await response.json()) as { token: string }).token;
}

/** Starts the example and resolves with its port. */
async function start(
  folder: string,
): Promise<{ child: ChildProcess; port: number; exited: Promise<number | null> }> {
  const child = spawn(process.execPath, ["main.js"], {
    cwd: folder,
    stdio: ["ignore", "pipe", "inherit"],
    env: {
      PATH: process.env.PATH,
      GATEWAY_CONFIG: "gateway.yaml",
      HOST: "127.0.0.1",
      PORT: "0",
      ADMIN_PORT: "0",
      ...environmentFor(emulator.facts, "workload-identity"),
    },
  });
  const exited = new Promise<number | null>((done) => child.once("exit", done));
  for await (const line of createInterface({ input: child.stdout })) {
    const { msg, port } = JSON.parse(line);
    if (msg === "listening") {
      child.stdout.resume();
      return { child, port, exited };
    }
  }
  throw new Error(`the example in ${folder} ended with ${await exited} before it listened`);
}

describe("the example projects in empty folders", () => {
  test.each([
    ["embedding", "/greeting", [], { greeting: expect.stringContaining("Hello, ") }],
    ["express-app", "/me", [], { displayName: expect.any(String) }],
  ] as const)(
    "%s serves a user and ends with 0 at SIGTERM",
    async (name, path, more, body) => {
      const { child, port, exited } = await start(await project(name, more));
      try {
        const url = `http://127.0.0.1:${port}${path}`;
        const answer = await fetch(url, { headers: { authorization: `Bearer ${await mint()}` } });
        expect(await answer.json()).toMatchObject(body);
        expect((await fetch(url)).status).toBe(401);
        child.kill("SIGTERM");
        expect(await exited).toBe(0);
      } finally {
        child.kill("SIGKILL");
      }
    },
    LIMIT_MS,
  );

  test(
    "testing runs its tests",
    async () => {
      const cwd = await project("testing");
      const { stdout } = await run(process.execPath, ["--test"], { cwd });
      expect(stdout).toMatch(/^# pass 3$/m);
      expect(stdout).toMatch(/^# fail 0$/m);
    },
    LIMIT_MS,
  );
});
