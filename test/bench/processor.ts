/** Which core does what, and how much time a process has had on it. */

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";

/** The kernel tells processor time in hundredths of a second, whatever its own clock (proc(5), USER_HZ). */
const TICK_MS = 10;

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

/** Time of all threads of a process, ms; `undefined` where the system does not tell. */
export function processorTime(pid: number): number | undefined {
  const fields = procFile(pid, "stat")?.split(") ")[1]?.split(" ");
  // utime and stime, counted from the third field, which follows the name in brackets.
  return fields === undefined ? undefined : (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

/** Resident memory, MiB. */
export function residentMemory(pid: number): number | undefined {
  const kib = /^VmRSS:\s+(\d+) kB/m.exec(procFile(pid, "status") ?? "")?.[1];
  return kib === undefined ? undefined : Number(kib) / 1024;
}

function procFile(pid: number, name: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${name}`, "utf8");
  } catch {
    return undefined;
  }
}
