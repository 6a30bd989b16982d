/** Routes in code of one configuration: those that a program or a module brings, and handlers that gateway.yaml mounts. */

import type { GatewayConfig } from "./config/load.ts";
import { ConfigurationError } from "./errors.ts";
import { type CodeRoute, type RouteHandler, type ServedCodeRoute, wholePolicy } from "./http/code-route.ts";
import { codeRouteFaults, forwardingFaults, hiddenFaults } from "./http/route-table.ts";

/** What a program adds in code. */
export interface CodeParts {
  readonly routes?: readonly CodeRoute[];
  readonly handlers?: Readonly<Record<string, RouteHandler>>;
}

/** @throws {ConfigurationError} with every fault of the routes, those that forward included. */
export async function codeRoutesOf(
  config: GatewayConfig,
  parts: CodeParts,
): Promise<readonly ServedCodeRoute[]> {
  const mounted = config.handlerRoutes.length === 0 ? [] : await mountedByName(config, parts);
  const brought = (parts.routes ?? []).map((route) => ({ ...route, policy: wholePolicy(route.policy) }));
  const routes = [...brought, ...mounted];
  const faults = [
    ...codeRouteFaults(routes, config.routes, config.downstreamApis),
    ...forwardingFaults(config.routes),
    ...(config.delegations === undefined ? [] : hiddenFaults(routes, config.routes)),
  ];
  if (faults.length > 0) throw new ConfigurationError(faults);
  return routes;
}

/** Loaded where the file names a handler. */
async function mountedByName(
  config: GatewayConfig,
  { handlers }: CodeParts,
): Promise<readonly ServedCodeRoute[]> {
  const { handlersFor, mountHandlers } = await import("./handlers/mount.ts");
  return mountHandlers(config.handlerRoutes, { ...(await handlersFor(config)), ...handlers });
}

/**
 * The parts, with the handlers and routes of the module that `GATEWAY_HANDLERS` names; the module wins where both name a
 * handler.
 *
 * @throws {ConfigurationError} when the module cannot be loaded or exports something else.
 */
export async function withModule<Parts extends CodeParts>(
  parts: Parts,
  file: string | undefined,
): Promise<Parts> {
  if (file === undefined || file.trim() === "") return parts;
  const { partsOfModule } = await import("./parts-module.ts");
  const added = await partsOfModule(file.trim());
  return {
    ...parts,
    handlers: { ...parts.handlers, ...added.handlers },
    routes: [...(parts.routes ?? []), ...added.routes],
  };
}
