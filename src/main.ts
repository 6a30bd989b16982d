/** Process edge: environment, signals and exit codes. 0 after a graceful end, 1 after a defect, 2 for a bad configuration. */

import { setTimeout as delay } from "node:timers/promises";
import { withDotEnv } from "./config/dot-env.ts";
import { loadConfig } from "./config/load.ts";
import { ConfigurationError } from "./errors.ts";
import { releaseMemory } from "./foundation/release-memory.ts";
import { type RunningGateway, startGateway } from "./start.ts";

/** How long the last log lines may take, ms, before the process ends without them. */
const FLUSH_LIMIT_MS = 2_000;

let gateway: RunningGateway | undefined;
let stopping = false;

// Before anything else: as first process of a container, a signal without a handler would be ignored.
process.on("SIGTERM", stopOnSignal);
process.on("SIGINT", stopOnSignal);

// State after an unknown error is unknown: finish what is in flight, then let the platform start afresh.
process.on("uncaughtException", (err) => {
  if (gateway === undefined || stopping) {
    console.error(err);
    process.exit(1);
  }
  gateway.log.fatal({ err }, "uncaught error");
  void stop(1);
});

try {
  gateway = await startGateway(loadConfig(withDotEnv(process.env)));
} catch (error) {
  if (!(error instanceof ConfigurationError)) throw error;
  console.error("obo-gateway cannot start with this configuration:");
  for (const { path, problem } of error.faults) console.error(`  ${path}: ${problem}`);
  process.exit(2);
}

// The signing keys are under way meanwhile, so nobody waits for it.
await releaseMemory();

function stopOnSignal(signal: NodeJS.Signals): void {
  // Nothing is served yet; or somebody sends a second signal and means it.
  if (gateway === undefined) process.exit(0);
  if (stopping) process.exit(1);
  gateway.log.info({ signal }, "stopping");
  void stop(0);
}

async function stop(exitCode: number): Promise<void> {
  stopping = true;
  try {
    await gateway?.stop();
  } catch (err) {
    gateway?.log.error({ err }, "could not stop in order");
    exitCode = 1;
  }
  const flushed = new Promise<boolean>((resolve) => gateway?.log.flush(() => resolve(true)));
  if (await Promise.race([flushed, delay(FLUSH_LIMIT_MS, false)])) process.exit(exitCode);
  // Nobody takes the log. An ordinary exit would try once more, and wait for ever.
  process.kill(process.pid, "SIGKILL");
}
