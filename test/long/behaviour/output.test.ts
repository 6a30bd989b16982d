/** The process edge: an output that fails, is blocked or has lost its reader, and the signals that operators send. */

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, createReadStream, openSync, readFileSync } from "node:fs";
import { mkdtemp, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";
import { freePort } from "../../support/free-port.ts";
import { type EmulatorProcess, environmentFor, startEmulatorProcess } from "../../support/processes.ts";
import { until } from "../../support/until.ts";

const LIMIT_MS = 90_000;
const GRACE_SECONDS = 5;

let emulator: EmulatorProcess;
let directory: string;
const started: ChildProcess[] = [];

beforeAll(async () => {
  [emulator, directory] = await Promise.all([startEmulatorProcess(), mkdtemp(join(tmpdir(), "output-"))]);
}, LIMIT_MS);
afterEach(async () => {
  for (const child of started.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill("SIGKILL");
    await once(child, "exit");
  }
});
afterAll(async () => {
  await emulator.stop();
  await rm(directory, { recursive: true });
});

interface Gateway {
  readonly child: ChildProcess;
  readonly url: string;
  readonly adminUrl: string;
  /** Status of one request of a user whom Entra does not know yet, so that the audit stream gets a line. */
  exchange(): Promise<number>;
  /** Status of one request without a token. */
  refused(): Promise<number>;
  /** Lines that were lost of a stream, as /metrics says. */
  lost(stream: "log" | "audit"): Promise<number>;
  /** Code of its end and the time it took, ms. */
  stop(signal?: NodeJS.Signals): Promise<{ readonly code: number | null; readonly afterMs: number }>;
}

let files = 0;
async function start(
  stdout: number | "pipe",
  { onLoss = "drop", env = {} }: { onLoss?: string; env?: Record<string, string> } = {},
): Promise<Gateway> {
  const yaml = join(directory, `gateway-${++files}.yaml`);
  await writeFile(
    yaml,
    `
identity: { tenants: ["\${AZURE_TENANT_ID}"], audiences: ["\${AZURE_CLIENT_ID}"] }
downstreamApis:
  graph: { baseUrl: "\${GRAPH_URL}", scopes: [https://graph.microsoft.com/.default], allowPrivateNetwork: true }
routes:
  - { path: /graph, downstreamApi: graph, methods: [GET], allow: ["/me"] }
http: { shutdownGraceSeconds: ${GRACE_SECONDS}, maxEventLoopLagMs: 0 }
audit: { onLoss: ${onLoss} }
`,
  );
  const [port, adminPort] = [await freePort(), await freePort()];
  const child = spawn(process.execPath, ["--import", "tsx", "src/main.ts"], {
    env: {
      PATH: process.env.PATH,
      ...environmentFor(emulator.facts, "workload-identity"),
      GATEWAY_CONFIG: yaml,
      PORT: String(port),
      ADMIN_PORT: String(adminPort),
      ...env,
    },
    stdio: ["ignore", stdout, "pipe"],
  });
  started.push(child);
  let complaints = "";
  child.stderr?.on("data", (chunk) => {
    complaints += chunk;
  });
  const adminUrl = `http://127.0.0.1:${adminPort}`;
  const url = `http://127.0.0.1:${port}`;
  await until(async () => {
    if (child.exitCode !== null) throw new Error(`it ended with code ${child.exitCode}: ${complaints}`);
    return (await fetch(`${adminUrl}/readyz`).catch(() => undefined))?.status === 200;
  }, "the gateway is ready");

  const get = async (headers: Record<string, string>) => {
    const response = await fetch(`${url}/graph/me`, { headers });
    await response.text();
    return response.status;
  };
  return {
    child,
    url,
    adminUrl,
    async exchange() {
      const minted = await fetch(`${emulator.facts.controlUrl}/tokens`, { method: "POST", body: "{}" });
      const { token } = (await minted.json()) as { token: string };
      return get({ authorization: `Bearer ${token}` });
    },
    refused: () => get({}),
    async lost(stream) {
      const metrics = await (await fetch(`${adminUrl}/metrics`)).text();
      const [, value] =
        new RegExp(`^obo_gateway_log_lines_lost_total\\{stream="${stream}"\\} (\\d+)$`, "m").exec(metrics) ??
        [];
      if (value === undefined) throw new Error(`/metrics does not count the lines of ${stream}`);
      return Number(value);
    },
    async stop(signal = "SIGTERM") {
      const exited = once(child, "exit") as Promise<[number | null]>;
      const began = performance.now();
      child.kill(signal);
      // What it wrote last may be read after its end.
      const read = once(child, "close");
      const [code] = await exited;
      const afterMs = performance.now() - began;
      await read;
      return { code, afterMs };
    },
  };
}

/** Every line of a text that ended with one is JSON of the log. */
function parsed(text: string): Record<string, unknown>[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

const statuses = (count: number, one: () => Promise<number>) =>
  Promise.all(Array.from({ length: count }, one)).then((all) => [...new Set(all)]);

test(
  "a full disk behind standard output costs lines, which are counted, and no request",
  async () => {
    const gateway = await start(openSync("/dev/full", "w"));
    expect(await statuses(5, gateway.exchange)).toEqual([200]);
    await until(async () => (await gateway.lost("log")) >= 5, "the lost lines of requests are counted");
    await until(
      async () => (await gateway.lost("audit")) >= 5,
      "the lost lines of the audit stream are counted",
    );
    expect(await statuses(5, gateway.exchange)).toEqual([200]);
    expect((await gateway.stop()).code).toBe(0);
  },
  LIMIT_MS,
);

test(
  "a reader of standard output that goes away costs lines, which are counted, and no request",
  async () => {
    const gateway = await start("pipe");
    const stdout = gateway.child.stdout as Readable;
    stdout.resume();
    expect(await gateway.exchange()).toBe(200);
    expect(await gateway.lost("log")).toBe(0);
    stdout.destroy();
    expect(await statuses(5, gateway.exchange)).toEqual([200]);
    await until(async () => (await gateway.lost("log")) >= 5, "the lost lines are counted");
    expect(await statuses(5, gateway.exchange)).toEqual([200]);
    expect((await gateway.stop()).code).toBe(0);
  },
  LIMIT_MS,
);

test(
  "a reader that comes back to a named pipe finds whole lines, and one that says how many are missing",
  async () => {
    const pipe = join(directory, "stdout.fifo");
    execFileSync("mkfifo", [pipe]);
    // Without waiting for the other side, which this thread is to open next.
    const reader = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
    const writer = openSync(pipe, "w");
    const gateway = await start(writer);
    closeSync(writer);
    closeSync(reader);
    await until(async () => {
      await gateway.refused();
      return (await gateway.lost("log")) > 0;
    }, "lines are lost");
    const lines: Record<string, unknown>[] = [];
    const second = createReadStream(pipe);
    createInterface({ input: second }).on("line", (line) => lines.push(JSON.parse(line)));
    await until(async () => {
      await gateway.refused();
      return lines.some(({ msg }) => msg === "the log is written again");
    }, "the log says that it is written again");
    const restored = lines.find(({ msg }) => msg === "the log is written again");
    expect(restored).toMatchObject({ level: "warn", lost: await gateway.lost("log") });
    expect((await gateway.stop()).code).toBe(0);
  },
  LIMIT_MS,
);

test(
  "a reader that takes nothing holds up neither requests nor the end, and finds whole lines when it reads again",
  async () => {
    const gateway = await start("pipe");
    const stdout = gateway.child.stdout as Readable;
    for (let round = 0; round < 60; round++) expect(await statuses(50, gateway.refused)).toEqual([401]);
    expect(await gateway.lost("log")).toBe(0);
    let text = "";
    stdout.on("data", (chunk) => {
      text += chunk;
    });
    await until(() => text.split('"msg":"request"').length > 3_000, "every line has been read");
    expect(parsed(text).filter(({ msg }) => msg === "request")).toHaveLength(3_000);
    stdout.pause();
    for (let round = 0; round < 20; round++) await statuses(50, gateway.refused);
    const { code, afterMs } = await gateway.stop();
    expect(code).toBe(0);
    expect(afterMs).toBeLessThan(GRACE_SECONDS * 1_000);
  },
  LIMIT_MS,
);

test(
  "SIGHUP opens a renamed audit file anew and ends nothing; what was in the file stays",
  async () => {
    const file = join(directory, "audit.log");
    await writeFile(file, '{"event":"of an earlier process"}\n', { mode: 0o600 });
    const gateway = await start("pipe", { env: { AUDIT_LOG_FILE: file } });
    let log = "";
    (gateway.child.stdout as Readable).on("data", (chunk) => {
      log += chunk;
    });
    const exchanges = (path: string) =>
      parsed(readFileSync(path, "utf8")).filter(({ event }) => event === "exchange_granted").length;
    expect(await gateway.exchange()).toBe(200);
    await until(() => exchanges(file) === 1, "the file holds the exchange");
    expect(parsed(await readFile(file, "utf8"))[0]).toEqual({ event: "of an earlier process" });
    await rename(file, `${file}.1`);
    expect(await gateway.exchange()).toBe(200);
    await until(() => exchanges(`${file}.1`) === 2, "the renamed file still takes lines");
    const underWay = gateway.exchange();
    gateway.child.kill("SIGHUP");
    expect(await underWay).toBe(200);
    await until(() => log.includes('"msg":"reloaded"'), "the log says so");
    expect(await gateway.exchange()).toBe(200);
    await until(() => exchanges(file) + exchanges(`${file}.1`) === 4, "the new file takes lines");
    expect(exchanges(file)).toBeGreaterThanOrEqual(1);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await gateway.stop()).code).toBe(0);
  },
  LIMIT_MS,
);

test(
  "SIGHUP with an audit file that cannot be opened again says so, and the old file serves on",
  async () => {
    const file = join(directory, "kept.log");
    const gateway = await start("pipe", { env: { AUDIT_LOG_FILE: file } });
    let log = "";
    (gateway.child.stdout as Readable).on("data", (chunk) => {
      log += chunk;
    });
    await rename(file, `${file}.1`);
    execFileSync("mkdir", [file]);
    gateway.child.kill("SIGHUP");
    await until(() => log.includes("could not reload"), "the log says so");
    expect(log).toContain("AUDIT_LOG_FILE");
    expect(await gateway.exchange()).toBe(200);
    await until(
      () => readFileSync(`${file}.1`, "utf8").includes("exchange_granted"),
      "the old file takes lines",
    );
    expect((await gateway.stop()).code).toBe(0);
  },
  LIMIT_MS,
);

test.each(["SIGTERM", "SIGINT", "SIGQUIT"] as const)(
  "%s ends in order",
  async (signal) => {
    const gateway = await start("pipe");
    let log = "";
    (gateway.child.stdout as Readable).on("data", (chunk) => {
      log += chunk;
    });
    expect((await gateway.stop(signal)).code).toBe(0);
    const messages = parsed(log).map(({ msg }) => msg);
    expect(messages.slice(-2)).toEqual(["stopping", "stopped"]);
  },
  LIMIT_MS,
);

test(
  "with audit.onLoss: refuse, requests are refused while the audit stream cannot be written, and the process is not ready",
  async () => {
    const gateway = await start("pipe", { onLoss: "refuse", env: { AUDIT_LOG_FILE: "/dev/full" } });
    (gateway.child.stdout as Readable).resume();
    // Of the first request nothing is known yet; its line is kept.
    expect(await gateway.exchange()).toBe(200);
    await until(async () => (await gateway.exchange()) === 503, "requests are refused");
    const refusal = await fetch(`${gateway.url}/graph/me`);
    expect(refusal.status).toBe(503);
    expect(refusal.headers.get("retry-after")).toBe("5");
    expect(await refusal.json()).toMatchObject({ code: "overloaded" });
    const ready = await fetch(`${gateway.adminUrl}/readyz`);
    expect(ready.status).toBe(503);
    expect(await ready.json()).toMatchObject({
      checks: expect.arrayContaining([expect.objectContaining({ name: "audit", ready: false })]),
    });
    expect(await gateway.lost("audit")).toBe(0);
    expect((await gateway.stop()).code).toBe(0);
  },
  LIMIT_MS,
);
