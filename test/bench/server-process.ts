/** A server under measurement: a process of its own, on a core of its own, whose output somebody reads. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { isPinned, keepToServerCore, ON_EVERY_CORE, type ProcessorUse, processorUse } from "./processor.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const START_LIMIT_MS = 30_000;
const STOP_LIMIT_MS = 10_000;

const running = new Set<ChildProcess>();
// However this process ends: nothing that it started stays behind.
process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => process.exit(130));

/** Ends this child with this process, if nobody ends it earlier. */
export function endWithUs(child: ChildProcess): void {
  running.add(child);
  child.once("exit", () => running.delete(child));
}

/** Ends a child in order, or else by force. */
export async function end(child: ChildProcess): Promise<void> {
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  const limit = setTimeout(() => child.kill("SIGKILL"), STOP_LIMIT_MS);
  await exited;
  clearTimeout(limit);
}

/**
 * Keeps the servers' core from going to sleep, by a loop that runs only while nothing else would: at a low rate, most of
 * what a request costs would else be the waking of a core, and that varies with the machine beneath.
 *
 * @returns What ends it.
 */
export function keepServerCoreAwake(): () => void {
  if (!isPinned) return () => {};
  const loop = spawn("chrt", ["--idle", "0", "taskset", "-c", "0", process.execPath, "-e", "for (;;);"], {
    stdio: "ignore",
  });
  endWithUs(loop);
  return () => void loop.kill("SIGKILL");
}

/** What makes a server take profiles of itself: of its main thread, whatever other threads its loader has. */
export const PROFILER: readonly string[] = [
  "--import",
  new URL("./substitutes/profiler.mjs", import.meta.url).href,
];

export interface ServerOptions {
  /** Names the profile. */
  readonly name: string;
  /** Arguments of node. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Whether it answers messages. */
  readonly ipc?: boolean;
  /** Directory for a `.cpuprofile` of what the main thread does from `profile()` on, written when the server stops. */
  readonly profiles?: string | undefined;
  /** Root of the build that it runs. Default: this one. */
  readonly root?: string | undefined;
}

export interface Server {
  readonly name: string;
  readonly pid: number;
  readonly port: number;
  /** Only the gateway has one. */
  readonly adminPort: number | undefined;
  /** Of the gateway's local API, where it has one. */
  readonly localPort: number | undefined;
  /** Since its start; `undefined` where the system does not tell. */
  processorUse(): ProcessorUse | undefined;
  /** Bytes that it has written to its standard output. */
  written(): number;
  /** What it answers to a message: bytes in use, of a contender with a memory probe. */
  ask(message: string | object): Promise<unknown>;
  /** Begins the profile, where one is wanted and has not begun: called when the server is warm. */
  profile(): Promise<void>;
  /** @throws when it had ended by itself. */
  stop(): Promise<void>;
}

/** @throws when it ends before it says where it listens. */
export async function startServer({
  name,
  args,
  env,
  profiles,
  ipc = false,
  root = ROOT,
}: ServerOptions): Promise<Server> {
  const profiler = profiles === undefined ? [] : PROFILER;
  const [command, ...rest] = [...ON_EVERY_CORE, process.execPath, ...profiler, ...args];
  const child = spawn(command as string, rest, {
    cwd: root,
    // Nothing of this shell's own settings may reach a server.
    env: { PATH: process.env.PATH ?? "", NODE_ENV: "production", ...env },
    stdio: ["ignore", "pipe", "inherit", ipc || profiles !== undefined ? "ipc" : "ignore"],
  });
  endWithUs(child);

  const { stdout } = child;
  if (stdout === null) throw new Error("a pipe was asked for");
  let written = 0;
  let stopped = false;
  const lines = createInterface({ input: stdout });
  const limit = setTimeout(() => child.kill("SIGKILL"), START_LIMIT_MS);
  const said = await new Promise<{ port: number; adminPort?: number; localPort?: number }>(
    (resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (code) => reject(new Error(`${name} ended with code ${code} before it listened`)));
      lines.on("line", (line) => {
        const { port, ...others } = JSON.parse(line) as {
          port?: number;
          adminPort?: number;
          localPort?: number;
        };
        if (port !== undefined) resolve({ port, ...others });
      });
    },
  );
  clearTimeout(limit);
  // Read on, as a collector of logs would: a log that nobody takes would block its writer.
  lines.close();
  stdout.on("data", (chunk: Buffer) => {
    written += chunk.length;
  });
  stdout.resume();
  const pid = child.pid as number;
  keepToServerCore(pid);
  let isProfiling = false;
  const ask = async (message: string | object) => {
    const answered = once(child, "message") as Promise<[unknown]>;
    child.send(message);
    return (await answered)[0];
  };

  return {
    name,
    pid,
    port: said.port,
    adminPort: said.adminPort,
    localPort: said.localPort,
    processorUse: () => processorUse(pid),
    written: () => written,
    ask,
    async profile() {
      if (profiles === undefined || isProfiling) return;
      isProfiling = true;
      await ask("start cpu");
    },
    async stop() {
      if (stopped) return;
      stopped = true;
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`${name} had ended with ${child.exitCode ?? child.signalCode} before it was stopped`);
      if (isProfiling) writeFileSync(`${profiles}/${name}.cpuprofile`, JSON.stringify(await ask("stop cpu")));
      await end(child);
    },
  };
}
