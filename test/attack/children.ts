/** The processes of a run: the attacker, the downstream API, Entra, and the gateway of `npm start` with the pod's heap. */

import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { setPriority } from "node:os";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { processorUse, residentMemory } from "../bench/processor.ts";
import { endWithUs } from "../bench/server-process.ts";
import type { LoopDelay, Shutdown } from "./bounds.ts";
import type { Passages } from "./where.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const START_LIMIT_MS = 30_000;
/** Three quarters of the container's 512 MiB, as the image asks for by a percentage: here nothing limits the process. */
export const HEAP_MIB = 384;
const SAMPLE_MS = 50;
/** The attacker gets what the gateway and its second user leave of the machine: real attackers bring other machines. */
const ATTACKER_PRIORITY = 10;
/** Time for the gateway to say how late its timers were: its main thread may be busy. */
const ANSWER_LIMIT_MS = 5_000;
const LOOP_PROBE = new URL("./loop-probe.mjs", import.meta.url).href;
const WHERE_PROBE = new URL("./where-probe.mjs", import.meta.url).href;
/** Lines of the standard error that are kept for the report. */
const LAST_WORDS = 40;

/** A TypeScript file as a process that answers messages. */
export interface Participant {
  /** The next message of this kind. Rejects when the process ends first, or has said that it failed. */
  heard<T>(kind: string): Promise<T>;
  tell(message: object): void;
  /** How late timers of its event loop were since the last call. */
  loopDelay(): Promise<LoopDelay>;
  /** Asks it to end, and sees to it. */
  end(): Promise<void>;
}

export function startParticipant(file: string, args: readonly string[], isAttacker = false): Participant {
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), [...args], {
    cwd: ROOT,
    execArgv: ["--import", "tsx", ...(isAttacker ? [] : ["--import", LOOP_PROBE])],
    stdio: ["ignore", "ignore", "inherit", "ipc"],
    // JSON has no word for a figure that could not be measured.
    serialization: "advanced",
  });
  endWithUs(child);
  if (isAttacker && child.pid !== undefined) setPriority(child.pid, ATTACKER_PRIORITY);
  const heard: { kind: string; value: unknown }[] = [];
  const listeners = new Set<() => void>();
  let ended: string | undefined;
  // Of concern to all who wait, and kept: the one who waits for its findings comes later than others.
  let failed: string | undefined;
  child.on("message", (message: { kind: string; value: unknown }) => {
    if (message.kind === "failed") failed ??= String(message.value);
    else heard.push(message);
    for (const listener of listeners) listener();
  });
  child.once("exit", (code, signal) => {
    ended = `${file} ended with ${code ?? signal}`;
    for (const listener of listeners) listener();
  });
  const participant: Participant = {
    heard: <T>(kind: string) =>
      new Promise<T>((resolve, reject) => {
        const look = () => {
          const index = heard.findIndex((message) => message.kind === kind);
          const [message] = index === -1 ? [] : heard.splice(index, 1);
          const why = failed ?? ended;
          if (message === undefined && why === undefined) return;
          listeners.delete(look);
          if (message !== undefined) resolve(message.value as T);
          else reject(new Error(why));
        };
        listeners.add(look);
        look();
      }),
    tell(message) {
      if (child.connected) child.send(message);
    },
    loopDelay() {
      participant.tell({ ask: "loop" });
      return participant.heard<LoopDelay>("loop");
    },
    async end() {
      if (ended !== undefined) return;
      const exited = once(child, "exit");
      if (child.connected) child.disconnect();
      const limit = setTimeout(() => child.kill("SIGKILL"), 5_000);
      await exited;
      clearTimeout(limit);
    },
  };
  return participant;
}

export interface AttackedGateway {
  readonly port: number;
  readonly adminPort: number;
  /** From now on only what comes counts as the peak. */
  forgetPeak(): void;
  /** Largest resident memory, MiB; to the last moment where the process has died. */
  peakMiB(): number;
  /** Time in which its main thread could have run, but other processes had its core, ms so far. */
  waitedMs(): number;
  /** How late timers of its main thread were since the last call; undefined when it does not answer. */
  loopDelay(): Promise<LoopDelay | undefined>;
  /** What passed since the last call; undefined where that is not followed, or the process does not answer. */
  passages(): Promise<Passages | undefined>;
  /** How it ended, if it did. */
  died(): string | undefined;
  /** Last lines of its standard error. */
  lastWords(): string;
  /** Sends SIGTERM, and SIGKILL to what has not ended within the limit. */
  terminate(limitMs: number): Promise<Shutdown>;
  kill(): Promise<void>;
}

/** Needs `dist`. @throws when it ends before it is ready. */
export async function startAttackedGateway(
  env: Readonly<Record<string, string>>,
  isFollowed = false,
): Promise<AttackedGateway> {
  const probes = [LOOP_PROBE, ...(isFollowed ? [WHERE_PROBE] : [])].flatMap((probe) => ["--import", probe]);
  const args = [`--max-old-space-size=${HEAP_MIB}`, ...probes, "dist/main.js"];
  const child = spawn(process.execPath, args, {
    cwd: ROOT,
    // Nothing of this shell's settings may reach the gateway.
    env: { PATH: process.env.PATH ?? "", NODE_ENV: "production", ...env },
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  endWithUs(child);
  let ended: string | undefined;
  const exited = new Promise<void>((resolve) => {
    child.once("exit", (code, signal) => {
      ended = signal ?? `exit code ${code}`;
      resolve();
    });
  });
  const words: string[] = [];
  createInterface({ input: child.stderr as Readable }).on("line", (line) => {
    words.push(line);
    if (words.length > LAST_WORDS) words.shift();
  });
  const ports = await portsOf(child, () => `the gateway ended with ${ended}:\n${words.join("\n")}`);

  const pid = child.pid as number;

  /** One question at a time. */
  async function asked<T>(ask: string): Promise<T | undefined> {
    if (!child.connected) return undefined;
    const answered = once(child, "message").then(([{ value }]) => value as T);
    child.send({ ask });
    const limit = new AbortController();
    const late = sleep(ANSWER_LIMIT_MS, undefined, { signal: limit.signal }).catch(() => undefined);
    const answer = await Promise.race([answered, exited.then(() => undefined), late]);
    limit.abort();
    return answer;
  }

  return {
    ...ports,
    ...watchMemory(pid, exited),
    waitedMs: () => processorUse(pid)?.waited ?? Number.NaN,
    loopDelay: () => asked<LoopDelay>("loop"),
    passages: async () => (isFollowed ? asked<Passages>("where") : undefined),
    died: () => ended,
    lastWords: () => words.join("\n"),
    async terminate(limitMs) {
      const began = performance.now();
      child.kill("SIGTERM");
      let isLate = false;
      const limit = setTimeout(() => {
        isLate = true;
        child.kill("SIGKILL");
      }, limitMs);
      await exited;
      clearTimeout(limit);
      const ms = performance.now() - began;
      return { limitMs, ...(isLate ? { ms: undefined, ended: "killed" } : { ms, ended: ended ?? "" }) };
    },
    async kill() {
      if (ended === undefined) child.kill("SIGKILL");
      await exited;
    },
  };
}

/** Largest resident memory of a process, MiB. */
function watchMemory(pid: number, exited: Promise<unknown>) {
  let peak = 0;
  const sample = () => {
    const now = highWater(pid) ?? residentMemory(pid);
    // A process that has just ended has no memory any more, though it still has an entry.
    if (now !== undefined && now > peak) peak = now;
  };
  const sampling = setInterval(sample, SAMPLE_MS);
  void exited.then(() => clearInterval(sampling));
  return {
    forgetPeak() {
      peak = 0;
      try {
        writeFileSync(`/proc/${pid}/clear_refs`, "5");
      } catch {
        // Not on Linux, or the process has gone: then samples are what there is.
      }
    },
    peakMiB() {
      sample();
      return peak;
    },
  };
}

/** A server of `node:http` alone, with the heap that the gateway has. */
export interface BareServer extends Pick<AttackedGateway, "peakMiB" | "kill"> {
  readonly port: number;
}

export async function startBareServer(): Promise<BareServer> {
  const file = fileURLToPath(new URL("./bare-server.mjs", import.meta.url));
  const child = fork(file, { execArgv: [`--max-old-space-size=${HEAP_MIB}`] });
  endWithUs(child);
  const exited = once(child, "exit");
  const [port] = (await Promise.race([once(child, "message"), exited])) as [number];
  const { peakMiB } = watchMemory(child.pid as number, exited);
  return {
    port,
    peakMiB,
    async kill() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

/** Waits for the log's words that the gateway listens and is ready; reads on, as a collector of logs would. */
async function portsOf(
  child: ChildProcess,
  whyEnded: () => string,
): Promise<{ readonly port: number; readonly adminPort: number }> {
  const { stdout } = child;
  if (stdout === null) throw new Error("the gateway has no standard output");
  const lines = createInterface({ input: stdout });
  const limit = setTimeout(() => child.kill("SIGKILL"), START_LIMIT_MS);
  try {
    return await new Promise((resolve, reject) => {
      let ports: { port: number; adminPort: number } | undefined;
      child.once("exit", () => reject(new Error(whyEnded())));
      lines.on("line", (text) => {
        const { port, adminPort, msg } = JSON.parse(text);
        if (port !== undefined && adminPort !== undefined) ports = { port, adminPort };
        if (ports !== undefined && msg === "ready") resolve(ports);
      });
    });
  } finally {
    clearTimeout(limit);
    lines.close();
    stdout.resume();
  }
}

/** Largest resident memory as the kernel counts it, MiB: no sample can miss it. */
function highWater(pid: number): number | undefined {
  try {
    const [, kib] = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
    return kib === undefined ? undefined : Number(kib) / 1024;
  } catch {
    return undefined;
  }
}
