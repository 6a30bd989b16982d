/** The whole process of a gateway: environment, signals and exit codes. 0 after a graceful end, 1 after a defect, 2 for a bad configuration. */

import { setTimeout as delay } from "node:timers/promises";
import { loadCheckedConfig, loadWithCode } from "./checked-config.ts";
import { withModule } from "./code-routes.ts";
import { fileOf, withDotEnv } from "./config/load.ts";
import { ConfigurationError } from "./errors.ts";
import { type FileWatch, watchFile } from "./foundation/file-watch.ts";
import { releaseMemory } from "./foundation/release-memory.ts";
import type { GatewayParts } from "./gateway.ts";
import { type RunningGateway, startGateway } from "./start.ts";

/** How often gateway.yaml is looked at for a change, ms. */
const CONFIG_WATCH_MS = 1_000;
/** How long the last log lines may take, ms, before the process ends without them. */
const FLUSH_LIMIT_MS = 1_000;

/**
 * Starts a gateway as this process: reads `.env`, the environment and gateway.yaml, answers signals, and ends the
 * process with the exit code that fits. A module that `GATEWAY_HANDLERS` names adds its handlers and routes.
 *
 * @param parts What the program brings in code. `GATEWAY_HANDLERS` adds to it, and wins where both name a handler.
 * @returns when the gateway listens.
 */
export async function runGateway(parts: GatewayParts = {}): Promise<void> {
  let gateway: RunningGateway | undefined;
  let configWatch: FileWatch | undefined;
  let hasChangedEarly = false;
  let stopping = false;

  // Before anything else: as first process of a container, a signal without a handler would be ignored; anywhere else
  // SIGHUP and SIGQUIT would end the process and cut what is in flight.
  for (const signal of ["SIGTERM", "SIGINT", "SIGQUIT"] as const) process.on(signal, stopOnSignal);
  process.on("SIGHUP", reloadOnSignal);

  // Standard error that fails is no reason to end; the error itself could only be reported there.
  process.stderr.on("error", () => {});

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
    const environment = withDotEnv(process.env);
    // Before the file is read, so that no change falls between.
    configWatch = watchFile(fileOf(environment), {
      intervalMs: CONFIG_WATCH_MS,
      onChange: () => void reconfigure("gateway.yaml has changed"),
    });
    const config = await loadCheckedConfig(environment);
    gateway = await startGateway(config, await withModule(parts, environment.GATEWAY_HANDLERS));
    if (hasChangedEarly) void reconfigure("gateway.yaml has changed");
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    console.error("obo-gateway cannot start with this configuration:");
    for (const { path, problem } of error.faults) console.error(`  ${path}: ${problem}`);
    process.exit(2);
  }

  // The signing keys are under way meanwhile, so that nothing waits for it.
  await releaseMemory();

  function stopOnSignal(signal: NodeJS.Signals): void {
    // Nothing is served yet; or a second signal asks for an end at once.
    if (gateway === undefined) process.exit(0);
    if (stopping) process.exit(1);
    gateway.log.info({ signal }, "stopping");
    void stop(0);
  }

  /** Reads anew what may have changed outside; the gateway serves on, whatever comes of it. */
  function reloadOnSignal(signal: NodeJS.Signals): void {
    if (gateway === undefined || stopping) return;
    const { log } = gateway;
    gateway.reload().then(
      () => log.info({ signal }, "reloaded"),
      (err) => log.error({ signal, err }, "could not reload; what was there before serves on"),
    );
    void reconfigure(signal);
  }

  /** Reads file and environment again. Everything that `obo-gateway check` would find is found, and refused, here too. */
  async function reconfigure(reason: string): Promise<void> {
    if (gateway === undefined) hasChangedEarly = true;
    if (gateway === undefined || stopping) return;
    const { log } = gateway;
    log.debug({ reason }, "reading the configuration again");
    try {
      await gateway.reconfigure(async () => (await loadWithCode(withDotEnv(process.env), parts)).config);
    } catch (err) {
      log.error({ reason, err }, "the configuration could not be taken over; the one before serves on");
    }
  }

  async function stop(exitCode: number): Promise<void> {
    stopping = true;
    configWatch?.close();
    let code = exitCode;
    try {
      await gateway?.stop();
    } catch (err) {
      gateway?.log.error({ err }, "could not stop in order");
      code = 1;
    }
    // An output that is blocked does not take the last lines; the process ends without them.
    const flushed = new Promise<void>((resolve) => gateway?.log.flush(() => resolve()));
    await Promise.race([flushed, delay(FLUSH_LIMIT_MS)]);
    process.exit(code);
  }
}
