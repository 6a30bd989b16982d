/** Puts handlers where gateway.yaml asks for them by name. */

import { ConfigurationError, type ConfigurationFault } from "../errors.ts";
import { didYouMean } from "../foundation/did-you-mean.ts";
import type { CodeRoute, RouteHandler } from "../http/code-route.ts";
import { files } from "./files.ts";
import { inbox } from "./inbox.ts";
import { profile } from "./profile.ts";

/** Handlers that ship with the gateway, by the names that gateway.yaml uses. None is mounted by itself. */
export const shippedHandlers: Readonly<Record<string, RouteHandler>> = { profile, inbox, files };

/** A route of gateway.yaml that a handler answers. */
export interface HandlerRoute extends Pick<CodeRoute, "policy" | "limits" | "as" | "takesDelegations"> {
  /** Where the route stands in the file, for faults: `routes[2]`. */
  readonly position: string;
  readonly path: string;
  readonly handler: string;
  /** The API that stands for the one that the handler names. */
  readonly downstreamApi: string | undefined;
  /** Downstream paths that the handler may call. `undefined`: any. */
  readonly allow: readonly string[] | undefined;
}

/**
 * Routes in code for those of the file.
 *
 * @throws {ConfigurationError} naming each route whose handler does not exist or cannot be bound to its API.
 */
export function mountHandlers(
  routes: readonly HandlerRoute[],
  handlers: Readonly<Record<string, RouteHandler>>,
): readonly CodeRoute[] {
  const faults: ConfigurationFault[] = [];
  const mounted = routes.flatMap((route): CodeRoute[] => {
    const { position, path, handler: name, downstreamApi, as, policy, limits, allow } = route;
    const { takesDelegations } = route;
    const handler = Object.hasOwn(handlers, name) ? handlers[name] : undefined;
    if (handler === undefined) {
      const names = Object.keys(handlers);
      const problem = `no handler named "${name}"${didYouMean(name, names) || `; there are ${names.join(", ")}`}`;
      faults.push({ path: `${position}.handler`, problem });
      return [];
    }
    const [expected, ...more] = handler.uses;
    if (downstreamApi !== undefined && (expected === undefined || more.length > 0)) {
      const problem = `cannot be chosen: the handler ${name} calls ${handler.uses.join(", ") || "no API"}`;
      faults.push({ path: `${position}.downstreamApi`, problem });
      return [];
    }
    return [
      {
        ...handler,
        name,
        path: path + (handler.below ?? ""),
        policy,
        ...(as !== undefined && { as }),
        ...(limits !== undefined && { limits }),
        ...(takesDelegations !== undefined && { takesDelegations }),
        ...(allow !== undefined && { allow }),
        ...(downstreamApi !== undefined && expected !== undefined && { apis: { [expected]: downstreamApi } }),
      },
    ];
  });
  if (faults.length > 0) throw new ConfigurationError(faults);
  return mounted;
}
