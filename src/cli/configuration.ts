/** Reads the configuration as `start` does, for subcommands that report on it. */

import { type GatewayConfig, loadConfig, withDotEnv } from "../config/load.ts";
import { ConfigurationError } from "../errors.ts";
import { handlersFor, mountHandlers } from "../handlers/mount.ts";
import type { CodeRoute } from "../http/code-route.ts";
import { codeRouteFaults } from "../http/route-table.ts";
import { partsOfModule } from "../parts-module.ts";

export interface Configured {
  readonly config: GatewayConfig;
  /** Handlers that gateway.yaml mounts, and routes of the module that `GATEWAY_HANDLERS` names. */
  readonly codeRoutes: readonly CodeRoute[];
}

/** The environment of this process and `.env`, with the file that an option names. */
export function environmentWith(file: string | undefined): Readonly<Record<string, string | undefined>> {
  return { ...withDotEnv(process.env), ...(file !== undefined && { GATEWAY_CONFIG: file }) };
}

/** @throws {ConfigurationError} with every fault of file, environment and handlers. */
export async function readConfiguration(file: string | undefined): Promise<Configured> {
  const environment = environmentWith(file);
  const config = loadConfig(environment);
  const module = environment.GATEWAY_HANDLERS?.trim();
  const added = module === undefined || module === "" ? undefined : await partsOfModule(module);
  const mounted = mountHandlers(config.handlerRoutes, { ...handlersFor(config), ...added?.handlers });
  const codeRoutes = [...(added?.routes ?? []), ...mounted];
  const faults = codeRouteFaults(codeRoutes, config.routes, config.downstreamApis);
  if (faults.length > 0) throw new ConfigurationError(faults);
  return { config, codeRoutes };
}
