/** `obo-gateway check`: every fault of the configuration together, without a look at the network. */

import { ConfigurationError, type ConfigurationFault } from "../errors.ts";
import { readConfiguration } from "./configuration.ts";

export async function check(options: { readonly config?: string; readonly json?: true }): Promise<void> {
  let faults: readonly ConfigurationFault[] = [];
  let notices: readonly ConfigurationFault[] = [];
  try {
    ({ notices } = (await readConfiguration(options.config)).config);
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    ({ faults } = error);
  }
  process.exitCode = faults.length === 0 ? 0 : 2;
  if (options.json) {
    console.log(JSON.stringify({ valid: faults.length === 0, faults, notices }, null, 2));
    return;
  }
  for (const { path, problem } of faults) console.error(`${path}: ${problem}`);
  for (const { path, problem } of notices) console.error(`notice: ${path} ${problem}`);
  if (faults.length === 0) console.log("The configuration has no fault.");
}
