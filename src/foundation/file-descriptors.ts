/** File descriptors of this process: how many it may open, and how many are open. */

import { readdirSync, readFileSync } from "node:fs";

export interface FileDescriptors {
  /** `ulimit -n`. */
  readonly limit: number;
  readonly open: number;
}

/** Undefined where the system does not show them as Linux does. */
export function readFileDescriptors(): FileDescriptors | undefined {
  try {
    const [, soft = ""] =
      /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync("/proc/self/limits", "utf8")) ?? [];
    const limit = soft === "unlimited" ? Number.POSITIVE_INFINITY : Number.parseInt(soft, 10);
    if (Number.isNaN(limit)) return undefined;
    // The directory itself was open while it was read.
    return { limit, open: readdirSync("/proc/self/fd").length - 1 };
  } catch {
    return undefined;
  }
}

/** Descriptors that nothing of a request has: files of the credential, name resolution, Redis, the admin port. */
const RESERVE = 18;

/**
 * Connections of callers that the descriptors are enough for. Each may need a second descriptor, for the connection to
 * an API; without one left, a request fails after it was accepted, and the system resets newcomers without a line.
 */
export function connectionsFor({ limit, open }: FileDescriptors): number {
  if (limit === Number.POSITIVE_INFINITY) return limit;
  return Math.max(1, Math.floor((limit - open - RESERVE) / 2));
}
