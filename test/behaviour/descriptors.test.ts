/** A process with few file descriptors: connections without a request give way, and requests are answered. */

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { freePort } from "../support/free-port.ts";
import { type EmulatorProcess, environmentFor, startEmulatorProcess } from "../support/processes.ts";
import { yamlOf } from "../support/yaml.ts";

const LIMIT_MS = 90_000;
const DESCRIPTORS = 64;
const IDLE = 100;

let emulator: EmulatorProcess;
let directory: string;
let child: ChildProcess;
let url: string;
const lines: Record<string, unknown>[] = [];
const idle: Socket[] = [];

beforeAll(async () => {
  [emulator, directory] = await Promise.all([
    startEmulatorProcess(),
    mkdtemp(join(tmpdir(), "descriptors-")),
  ]);
  const yaml = join(directory, "gateway.yaml");
  await writeFile(
    yaml,
    yamlOf({
      routes: ['{ path: /graph, downstreamApi: graph, allow: ["/me"] }'],
      sections: ["http: { shutdownGraceSeconds: 2, maxEventLoopLagMs: 0 }"],
    }),
  );
  const port = await freePort();
  url = `http://127.0.0.1:${port}`;
  child = spawn("sh", ["-c", `ulimit -n 1024; exec "${process.execPath}" --import tsx src/main.ts`], {
    env: {
      PATH: process.env.PATH,
      ...environmentFor(emulator.facts, "workload-identity"),
      GATEWAY_CONFIG: yaml,
      PORT: String(port),
      ADMIN_PORT: "0",
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  createInterface({ input: child.stdout as Readable }).on("line", (line) => lines.push(JSON.parse(line)));
  const end = performance.now() + 30_000;
  while (!lines.some(({ msg }) => msg === "ready")) {
    if (performance.now() > end || child.exitCode !== null)
      throw new Error("the gateway did not become ready");
    await sleep(50);
  }
  // Lowered in the running process: to load its modules, Node 20 opens more files at once.
  execFileSync("prlimit", ["--pid", String(child.pid), `--nofile=${DESCRIPTORS}:${DESCRIPTORS}`]);
}, LIMIT_MS);
afterAll(async () => {
  for (const socket of idle) socket.destroy();
  if (child?.exitCode === null) {
    const exited = once(child, "exit");
    child.kill("SIGTERM");
    await exited;
  }
  await emulator.stop();
  await rm(directory, { recursive: true });
}, LIMIT_MS);

async function token(): Promise<string> {
  const minted = await fetch(`${emulator.facts.controlUrl}/tokens`, { method: "POST", body: "{}" });
  return ((await minted.json()) as { token: string }).token;
}

async function get(bearer: string): Promise<number> {
  const response = await fetch(`${url}/graph/me`, {
    headers: { authorization: `Bearer ${bearer}`, connection: "close" },
  });
  await response.text();
  return response.status;
}

async function openIdle(): Promise<void> {
  const { port } = new URL(url);
  for (let count = 0; count < IDLE; count++) {
    const socket = connect(Number(port), "127.0.0.1");
    socket.on("error", () => {});
    idle.push(socket);
    await once(socket, "connect");
  }
}

(existsSync("/proc/self/limits") ? test : test.skip)(
  "with 64 descriptors and 100 idle connections every request is answered, users unknown to the gateway included, and one warning says why",
  async () => {
    const known = await token();
    expect(await get(known)).toBe(200);
    await openIdle();
    const statuses = await Promise.all(Array.from({ length: 3 }, () => get(known)));
    expect(statuses).toEqual([200, 200, 200]);
    for (let count = 0; count < 5; count++) expect(await get(await token())).toBe(200);
    expect(idle.filter(({ closed, destroyed }) => closed || destroyed).length).toBeGreaterThan(IDLE / 2);
    const gaveWay = lines.filter(({ msg }) =>
      String(msg).startsWith("connections without a request are closed"),
    );
    expect(gaveWay).toHaveLength(1);
    expect(gaveWay[0]).toMatchObject({ level: "warn" });
    const fewer = lines.filter(({ msg }) => String(msg).startsWith("file descriptors are enough for fewer"));
    expect(fewer.at(-1)).toMatchObject({ level: "warn", descriptors: DESCRIPTORS, configured: 8_192 });
  },
  LIMIT_MS,
);
