/** Reads the configuration as `start` does, for subcommands that report on it. */

import { fileURLToPath } from "node:url";
import { type CheckedConfig, loadWithCode } from "../checked-config.ts";
import { DOT_ENV_FILE, withDotEnv } from "../config/load.ts";

/** The configuration, with handlers that gateway.yaml mounts and routes of the module that `GATEWAY_HANDLERS` names. */
export type Configured = CheckedConfig;

/** The environment of this process and `.env`, with the file that an option names. */
export function environmentWith(file: string | undefined): Readonly<Record<string, string | undefined>> {
  return { ...withDotEnv(process.env), ...(file !== undefined && { GATEWAY_CONFIG: file }) };
}

/** @throws {ConfigurationError} with every fault of file, environment and handlers. */
export function readConfiguration(file: string | undefined): Promise<Configured> {
  return loadWithCode(environmentWith(file));
}

/** The one `.env` that subcommands read. */
export function dotEnvPath(): string {
  return fileURLToPath(DOT_ENV_FILE);
}
