/** Puts handlers where gateway.yaml asks for them by name. */

import { ConfigurationError, type ConfigurationFault } from "../errors.ts";
import { didYouMean } from "../foundation/did-you-mean.ts";
import { GRAPH_MCP } from "../foundation/graph-mcp.ts";
import { type CodeRoute, type RouteHandler, routeHandler, type ServedCodeRoute } from "../http/code-route.ts";
import { files } from "./files.ts";
import { inbox } from "./inbox.ts";
import { profile } from "./profile.ts";

/** Handlers that ship with the gateway, by the names that gateway.yaml uses. None is mounted by itself. */
export const shippedHandlers: Readonly<Record<string, RouteHandler>> = { profile, inbox, files };

/** All that ship: those above, and those that are made for the route that mounts them. */
export async function handlersFor({
  permissionsTable,
  handlerRoutes,
}: {
  readonly permissionsTable: string | undefined;
  readonly handlerRoutes: readonly Pick<HandlerRoute, "handler">[];
}): Promise<Readonly<Record<string, RouteHandler | HandlerMaker>>> {
  const isMounted = handlerRoutes.some(({ handler }) => handler === GRAPH_MCP);
  return { ...shippedHandlers, [GRAPH_MCP]: isMounted ? await graphMcp(permissionsTable) : notMounted };
}

/** Its tools and the table are loaded where a route mounts it. */
async function graphMcp(permissionsTable: string | undefined): Promise<HandlerMaker> {
  const { createGraphMcp } = await import("../mcp/graph/graph-mcp.ts");
  const { loadPermissionTable } = await import("../permissions/table.ts");
  return (route) =>
    routeHandler(
      createGraphMcp({
        ...route,
        table: permissionsTable === undefined ? undefined : loadPermissionTable(permissionsTable),
      }),
    );
}

/** Stands under the name of a handler that no route mounts, for the list of names. */
const notMounted: HandlerMaker = () => {
  throw new Error("a handler is mounted that no route named");
};

/** A route of gateway.yaml that a handler answers. */
export interface HandlerRoute extends Pick<ServedCodeRoute, "policy" | "limits" | "as" | "takesDelegations"> {
  /** Where the route stands in the file, for faults: `routes[2]`. */
  readonly position: string;
  readonly path: string;
  readonly handler: string;
  /** The API that stands for the one that the handler names. */
  readonly downstreamApi: string | undefined;
  /** Downstream paths that the handler may call. `undefined`: any. */
  readonly allow: readonly string[] | undefined;
  /** Methods of the handler's own calls, for one that is made for its route. */
  readonly methods: readonly string[];
  /** Whether the route is one of the Model Context Protocol, and the rules for its tools. */
  readonly mcp?: boolean;
  readonly tools?: CodeRoute["tools"];
}

/** Makes a handler for one route, where it has to know what that route opens. */
export type HandlerMaker = (route: {
  readonly allow: readonly string[];
  readonly methods: readonly string[];
}) => RouteHandler;

/**
 * Routes in code for those of the file.
 *
 * @throws {ConfigurationError} naming each route whose handler does not exist or cannot be bound to its API.
 */
export function mountHandlers(
  routes: readonly HandlerRoute[],
  handlers: Readonly<Record<string, RouteHandler | HandlerMaker>>,
): readonly ServedCodeRoute[] {
  const faults: ConfigurationFault[] = [];
  const mounted = routes.flatMap((route): ServedCodeRoute[] => {
    const { position, path, handler: name, downstreamApi, as, policy, limits, allow } = route;
    const { takesDelegations } = route;
    const named = Object.hasOwn(handlers, name) ? handlers[name] : undefined;
    if (typeof named === "function" && allow === undefined) {
      const problem = `is missing; list the downstream paths that ${name} may call, such as "/me"`;
      faults.push({ path: `${position}.allow`, problem });
      return [];
    }
    const made = { allow: allow ?? [], methods: route.methods };
    const handler = typeof named === "function" ? make(named, made, faults) : named;
    if (named !== undefined && handler === undefined) return [];
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
        ...(route.mcp === true && { mcp: true }),
        ...(route.tools !== undefined && { tools: route.tools }),
        ...(downstreamApi !== undefined && expected !== undefined && { apis: { [expected]: downstreamApi } }),
      },
    ];
  });
  if (faults.length > 0) throw new ConfigurationError(faults);
  return mounted;
}

function make(
  maker: HandlerMaker,
  route: Parameters<HandlerMaker>[0],
  faults: ConfigurationFault[],
): RouteHandler | undefined {
  try {
    return maker(route);
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    faults.push(...error.faults);
    return undefined;
  }
}
