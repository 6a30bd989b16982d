/** Loads the configuration with every fault of its parts in one list: file, environment, routes in code, and credential. */

import { type CodeParts, codeRoutesOf, withModule } from "./code-routes.ts";
import { type GatewayConfig, loadConfig, readCredentialSettings } from "./config/load.ts";
import type { ClientAssertionCallback } from "./credential/contract.ts";
import { findCredentialFaults } from "./credential/credential.ts";
import { ConfigurationError, type ConfigurationFault } from "./errors.ts";
import type { ServedCodeRoute } from "./http/code-route.ts";
import { findKeyFileFaults } from "./redis/master-keys.ts";

type Variables = Readonly<Record<string, string | undefined>>;

/** What of a program's parts bears on whether a configuration is valid. */
export interface CheckedParts extends CodeParts {
  readonly clientAssertion?: ClientAssertionCallback;
}

export interface CheckedConfig {
  readonly config: GatewayConfig;
  readonly codeRoutes: readonly ServedCodeRoute[];
}

/**
 * A valid configuration comes back as it is: the start of the gateway opens its credential and finds those faults.
 * Those of the file of master keys, which is opened after it, are looked for here, so that both are reported together.
 *
 * @throws {ConfigurationError} with every fault of the file, the environment and the credential's files together.
 */
export async function loadCheckedConfig(variables: Variables): Promise<GatewayConfig> {
  try {
    const config = loadConfig(variables);
    const faults = await keyFileFaults(config);
    if (faults.length > 0) throw new ConfigurationError(faults);
    return config;
  } catch (error) {
    throw await withCredentialFaults(error, variables, {});
  }
}

/**
 * The same with the routes in code: those of the parts, and of the module that `GATEWAY_HANDLERS` names.
 *
 * @throws {ConfigurationError} with every fault of these, and of the credential's files, together.
 */
export async function loadWithCode(variables: Variables, parts: CheckedParts = {}): Promise<CheckedConfig> {
  try {
    const config = loadConfig(variables);
    const codeRoutes = await codeRoutesOf(config, await withModule(parts, variables.GATEWAY_HANDLERS));
    return { config, codeRoutes };
  } catch (error) {
    throw await withCredentialFaults(error, variables, parts);
  }
}

/** Every fault that keeps a gateway from starting, as far as this machine shows it; the network is not asked. */
export async function findFaults(variables: Variables): Promise<{
  readonly faults: readonly ConfigurationFault[];
  readonly notices: readonly ConfigurationFault[];
}> {
  try {
    const { config } = await loadWithCode(variables);
    const faults = [...(await keyFileFaults(config)), ...(await findCredentialFaults(config.credential))];
    return { faults, notices: config.notices };
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    return { faults: error.faults, notices: [] };
  }
}

async function keyFileFaults({ exchange }: GatewayConfig): Promise<readonly ConfigurationFault[]> {
  return exchange.cacheKeysFile === undefined ? [] : findKeyFileFaults(exchange.cacheKeysFile);
}

/** One fault as it is printed and logged. */
export function faultText({ path, problem }: ConfigurationFault): string {
  return `${path}: ${problem}`;
}

async function withCredentialFaults(
  error: unknown,
  variables: Variables,
  { clientAssertion }: CheckedParts,
): Promise<unknown> {
  if (!(error instanceof ConfigurationError)) return error;
  const { options, isFileValid } = readCredentialSettings(variables);
  const known = new Set(error.faults.map(({ path }) => path));
  const found = (
    await findCredentialFaults({ ...options, ...(clientAssertion !== undefined && { clientAssertion }) })
  ).filter(
    // Which sources there are is only known with the file.
    ({ path }) => !known.has(path) && (isFileValid || !path.startsWith("credential.")),
  );
  return new ConfigurationError([...error.faults, ...found], { cause: error });
}
