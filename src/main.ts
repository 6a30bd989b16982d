/** Process edge: environment, signals and exit codes. 0 after a graceful end, 1 after a defect, 2 for a bad configuration. */

import { loadConfig } from "./config.ts";
import { withDotEnv } from "./dot-env.ts";
import { ConfigurationError } from "./errors.ts";
import { startGateway } from "./start.ts";

try {
  const config = loadConfig(withDotEnv(process.env));
  const gateway = await startGateway(config);
  const { log } = gateway;

  let stopping = false;
  const stop = (signal: NodeJS.Signals) => {
    // Whoever sends a second signal means it.
    if (stopping) process.exit(1);
    stopping = true;
    log.info({ signal }, "stopping");
    gateway.stop().then(
      () => process.exit(0),
      (err) => {
        log.error({ err }, "could not stop in order");
        process.exit(1);
      },
    );
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);

  // State after an unknown error is unknown: finish what is in flight, then let the platform start afresh.
  process.on("uncaughtException", (err) => {
    log.fatal({ err }, "uncaught error");
    if (stopping) process.exit(1);
    stopping = true;
    gateway.stop().finally(() => process.exit(1));
  });
} catch (error) {
  if (!(error instanceof ConfigurationError)) throw error;
  console.error("obo-gateway cannot start with this configuration:");
  for (const { path, problem } of error.faults) console.error(`  ${path}: ${problem}`);
  process.exit(2);
}
