/** Loads the configuration, and where it is faulty reports the credential's faults beside those of file and environment. */

import { type GatewayConfig, loadConfig, readCredentialSettings } from "./config/load.ts";
import { findCredentialFaults } from "./credential/credential.ts";
import { ConfigurationError } from "./errors.ts";
import { findKeyFileFaults } from "./redis/master-keys.ts";

/**
 * A valid configuration comes back as it is: the start of the gateway opens its credential and finds those faults.
 * Those of the file of master keys, which is opened after it, are looked for here, so that both are reported together.
 *
 * @throws {ConfigurationError} with every fault of the file, the environment and the credential's files together.
 */
export async function loadCheckedConfig(
  variables: Readonly<Record<string, string | undefined>>,
): Promise<GatewayConfig> {
  try {
    const config = loadConfig(variables);
    const { cacheKeysFile } = config.exchange;
    const faults = cacheKeysFile === undefined ? [] : await findKeyFileFaults(cacheKeysFile);
    if (faults.length > 0) throw new ConfigurationError(faults);
    return config;
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
