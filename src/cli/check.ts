/** `obo-gateway check`: every fault of the configuration together, without a look at the network. */

import { faultText, findFaults } from "../checked-config.ts";
import { environmentWith } from "./configuration.ts";

export async function check(options: { readonly config?: string; readonly json?: true }): Promise<void> {
  const { faults, notices } = await findFaults(environmentWith(options.config));
  process.exitCode = faults.length === 0 ? 0 : 2;
  if (options.json) {
    console.log(JSON.stringify({ valid: faults.length === 0, faults, notices }, null, 2));
    return;
  }
  for (const fault of faults) console.error(faultText(fault));
  for (const { path, problem } of notices) console.error(`notice: ${path} ${problem}`);
  if (faults.length === 0) console.log("The configuration has no fault.");
}
