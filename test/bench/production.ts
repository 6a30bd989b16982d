/** A process as in production, seen from outside: its ports, its memory and its time on the processor. Linux only. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Emulator } from "../emulator/handle.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

export interface ObservedProcess {
  readonly port: number;
  readonly adminPort: number;
  /** Resident memory now, MiB. */
  rssMiB(): number;
  /** Largest resident memory since `forgetPeak`, MiB, as the kernel counts it: no sample can miss it. */
  peakMiB(): number;
  forgetPeak(): void;
  /** Processor time so far, seconds, in steps of 10 ms. */
  cpuSeconds(): number;
  /** What its heap holds after a full collection, MiB; only of a process that was started with `PROBE`. */
  heapMiB(): Promise<number>;
  /** Ends it with SIGTERM. Rejects unless it exits with code 0. */
  stop(): Promise<void>;
}

/** Arguments of node that make `heapMiB` possible. */
export const PROBE: readonly string[] = ["--expose-gc", "--import", "./test/bench/heap-probe.mjs"];

/** The command of `npm start` without npm, on a configuration of the test's own. Needs `dist`. */
export async function startProductionGateway(
  emulator: Emulator,
  yaml: string,
  env: Readonly<Record<string, string>>,
  nodeArgs: readonly string[] = [],
): Promise<ObservedProcess> {
  const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const [node, ...args] = String(scripts.start).split(" ");
  if (node !== "node") throw new Error(`npm start is not node itself: ${scripts.start}`);
  const directory = await mkdtemp(join(tmpdir(), "bench-"));
  const file = join(directory, "gateway.yaml");
  await writeFile(file, yaml);
  const observed = await observe(
    [...nodeArgs, ...args],
    {
      GATEWAY_CONFIG: file,
      HOST: "127.0.0.1",
      PORT: "0",
      ADMIN_PORT: "0",
      NODE_EXTRA_CA_CERTS: emulator.files.caCertificate,
      AZURE_TENANT_ID: emulator.tenantId,
      AZURE_CLIENT_ID: emulator.clientId,
      AZURE_AUTHORITY_HOST: emulator.authorityHost,
      AZURE_CLIENT_CERTIFICATE_PATH: emulator.files.clientCertificate,
      ...env,
    },
    "ready",
  );
  await rm(directory, { recursive: true });
  return observed;
}

/** Runs node and waits for the JSON line that tells the ports, and, where `ready` is given, for that message. */
export async function observe(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  ready?: string,
): Promise<ObservedProcess> {
  const { PATH = "" } = process.env;
  const child = spawn(process.execPath, args, {
    cwd: root,
    env: { PATH, NODE_ENV: "production", ...env },
    stdio: ["ignore", "pipe", "inherit", "ipc"],
  });
  const orphan = () => child.kill("SIGKILL");
  process.once("exit", orphan);
  const exited = once(child, "exit") as Promise<[number | null]>;
  exited.then(() => process.off("exit", orphan));
  if (child.stdout === null) throw new Error("no standard output");
  const lines = createInterface({ input: child.stdout });
  const ports = await new Promise<{ port: number; adminPort: number }>((resolve, reject) => {
    let ports: { port: number; adminPort: number } | undefined;
    exited.then(([code]) => reject(new Error(`ended with code ${code} before it was ready`)));
    lines.on("line", (text) => {
      const line = JSON.parse(text);
      if (line.port !== undefined) ports = { port: line.port, adminPort: line.adminPort };
      if (ports !== undefined && (ready === undefined || line.msg === ready)) resolve(ports);
    });
  });
  // Read on, unseen: a log that nobody takes would block its writer.
  lines.close();
  child.stdout.resume();
  child.channel?.unref();

  const proc = `/proc/${child.pid}`;
  const memory = (field: string) =>
    Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(readFileSync(`${proc}/status`, "utf8"))?.[1]) /
    1024;
  return {
    ...ports,
    rssMiB: () => memory("VmRSS"),
    peakMiB: () => memory("VmHWM"),
    forgetPeak: () => writeFileSync(`${proc}/clear_refs`, "5"),
    cpuSeconds() {
      // Fields 14 and 15, user and system; the second one, a name in brackets, may hold anything.
      const [, rest = ""] = readFileSync(`${proc}/stat`, "utf8").split(/\) (?=[^)]*$)/);
      const fields = rest.split(" ");
      return (Number(fields[11]) + Number(fields[12])) / 100;
    },
    async heapMiB() {
      const answered = once(child, "message") as Promise<[{ heapUsed: number }]>;
      child.send("collect");
      const [{ heapUsed }] = await answered;
      return heapUsed / 2 ** 20;
    },
    async stop() {
      child.kill("SIGTERM");
      const [code] = await exited;
      if (code !== 0) throw new Error(`the process ended with code ${code} instead of 0`);
    },
  };
}
