/** Which core does what, and how much time a process has had on it. */

import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";

const cores = availableParallelism();

/** Whether servers can have a core to themselves. */
export const isPinned = cores > 1 && spawnSync("taskset", ["--version"]).status === 0;

const EVERY_CORE = `0-${cores - 1}`;

/** Runs a command on every core, whatever this process has been kept to. */
export const ON_EVERY_CORE: readonly string[] = isPinned ? ["taskset", "-c", EVERY_CORE] : [];

/** Keeps a server that has started, with all its threads, to the servers' core. */
export function keepToServerCore(pid: number): void {
  if (isPinned) spawnSync("taskset", ["-acp", "0", `${pid}`]);
}

/** Leaves the servers' core to the server that is being measured. */
export function leaveServerCore(): void {
  if (isPinned) spawnSync("taskset", ["-acp", `1-${cores - 1}`, `${process.pid}`]);
}

/** For work of this process while no server is being measured. */
export function useEveryCore(): void {
  if (isPinned) spawnSync("taskset", ["-acp", EVERY_CORE, `${process.pid}`]);
}

/** What the scheduler has given to a process. */
export interface ProcessorUse {
  /** Time on a processor of all threads, ms. */
  readonly ran: number;
  /** Time in which the main thread could have run, but its core was taken, ms. */
  readonly waited: number;
}

/** Exact to the nanosecond, unlike `/proc/<pid>/stat` with its ticks of 10 ms. `undefined` where the system does not tell. */
export function processorUse(pid: number): ProcessorUse | undefined {
  try {
    const schedule = (path: string) => readFileSync(`/proc/${pid}/${path}schedstat`, "utf8").split(" ");
    const threads = readdirSync(`/proc/${pid}/task`);
    const ran = threads.reduce((sum, thread) => sum + Number(schedule(`task/${thread}/`)[0]), 0);
    return { ran: ran / 1e6, waited: Number(schedule("")[1]) / 1e6 };
  } catch {
    return undefined;
  }
}

/** Time on a processor, ms: of the main thread, and of all others together. NaN where the system does not tell. */
export function threadUse(pid: number): { readonly main: number; readonly others: number } {
  try {
    const ran = (task: string) => Number(readFileSync(`/proc/${pid}/${task}schedstat`, "utf8").split(" ")[0]);
    const all = readdirSync(`/proc/${pid}/task`).reduce((sum, thread) => sum + ran(`task/${thread}/`), 0);
    const main = ran(`task/${pid}/`);
    return { main: main / 1e6, others: (all - main) / 1e6 };
  } catch {
    return { main: Number.NaN, others: Number.NaN };
  }
}

/** Processes that a process has started. None where the system does not tell. */
export function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/** Resident memory, MiB; `undefined` where the system does not tell. */
export function residentMemory(pid: number): number | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1024;
  } catch {
    return undefined;
  }
}
