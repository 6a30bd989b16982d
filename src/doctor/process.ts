/** What the process may use: file descriptors, and memory for its caches. */

import { getHeapStatistics } from "node:v8";
import { connectionsFor, readFileDescriptors } from "../foundation/file-descriptors.ts";
import type { Examination } from "./examination.ts";
import { type Check, ok, skipped, type Verdict, warning } from "./verdict.ts";

/** As many connections as an ordinary front end keeps open; below it, callers are turned away. */
const FEW_CONNECTIONS = 256;
const MEBIBYTE = 2 ** 20;

export function processChecks(examination: Examination): Check[] {
  return [
    { name: "descriptors", run: async () => checkDescriptors(examination) },
    { name: "memory", run: async () => checkMemory(examination) },
  ];
}

function checkDescriptors({ config, descriptors = readFileDescriptors() }: Examination): Verdict {
  if (descriptors === undefined) return skipped("this system does not show its limits");
  const { max } = config.http.connections;
  const enough = connectionsFor(descriptors);
  const connections = Math.min(max, enough);
  const facts = { limit: descriptors.limit, connections, configured: max };
  if (connections < Math.min(max, FEW_CONNECTIONS))
    return warning(
      `${descriptors.limit} file descriptors are enough for ${connections} connections of callers, each with one to an API`,
      "raise the limit of open files (ulimit -n, LimitNOFILE of systemd, default_ulimits of the container runtime)",
      { facts, commands: ["ulimit -n"] },
    );
  return ok(`${descriptors.limit} are enough for ${connections} connections`, { facts });
}

/** Bounds that do not fit are a fault of the configuration; this is for reading along. */
function checkMemory({ config }: Examination): Verdict {
  const heap = Math.round(getHeapStatistics().heap_size_limit / MEBIBYTE);
  const tokens = Math.round(config.exchange.cache.maxBytes / MEBIBYTE);
  const verified = Math.round(config.identity.cache.maxBytes / MEBIBYTE);
  return ok(`caches may take ${tokens + verified} MiB of a heap of ${heap} MiB`, {
    facts: { heapMib: heap, delegatedTokensMib: tokens, verifiedTokensMib: verified },
  });
}
