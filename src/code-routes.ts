/** Routes in code of one configuration: those that a program or a module brings, and handlers that gateway.yaml mounts. */

import type { GatewayConfig } from "./config/load.ts";
import { ConfigurationError } from "./errors.ts";
import { handlersFor, mountHandlers } from "./handlers/mount.ts";
import { type CodeRoute, type RouteHandler, type ServedCodeRoute, wholePolicy } from "./http/code-route.ts";
import { codeRouteFaults, forwardingFaults, hiddenFaults } from "./http/route-table.ts";
import { partsOfModule } from "./parts-module.ts";

/** What a program adds in code. */
export interface CodeParts {
  readonly routes?: readonly CodeRoute[];
  readonly handlers?: Readonly<Record<string, RouteHandler>>;
}

/** @throws {ConfigurationError} with every fault of the routes, those that forward included. */
export function codeRoutesOf(config: GatewayConfig, parts: CodeParts): readonly ServedCodeRoute[] {
  const mounted = mountHandlers(config.handlerRoutes, { ...handlersFor(config), ...parts.handlers });
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
  const added = await partsOfModule(file.trim());
  return {
    ...parts,
    handlers: { ...parts.handlers, ...added.handlers },
    routes: [...(parts.routes ?? []), ...added.routes],
  };
}
