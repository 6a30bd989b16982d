/** Loads the configuration, and where it is faulty reports the credential's faults beside those of file and environment. */

import { type GatewayConfig, loadConfig, readCredentialSettings } from "./config/load.ts";
import { findCredentialFaults } from "./credential/credential.ts";
import { ConfigurationError } from "./errors.ts";

/**
 * A valid configuration comes back as it is: the start of the gateway opens its credential and finds those faults.
 *
 * @throws {ConfigurationError} with every fault of the file, the environment and the credential's files together.
 */
export async function loadCheckedConfig(
  variables: Readonly<Record<string, string | undefined>>,
): Promise<GatewayConfig> {
  try {
    return loadConfig(variables);
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    const { options, isFileValid } = readCredentialSettings(variables);
    const known = new Set(error.faults.map(({ path }) => path));
    const found = (await findCredentialFaults(options)).filter(
      // Which sources there are is only known with the file.
      ({ path }) => !known.has(path) && (isFileValid || !path.startsWith("credential.")),
    );
    throw new ConfigurationError([...error.faults, ...found], { cause: error });
  }
}
