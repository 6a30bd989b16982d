/** Loads handlers and routes from the module that `GATEWAY_HANDLERS` names, so that an image takes them without being rebuilt. */

import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { ConfigurationError } from "./errors.ts";
import type { CodeRoute, RouteHandler } from "./http/code-route.ts";

/** What the module adds to the gateway. */
export interface ModuleParts {
  readonly handlers: Readonly<Record<string, RouteHandler>>;
  readonly routes: readonly CodeRoute[];
}

/**
 * The module exports `handlers` (by the names that gateway.yaml mounts), `routes`, or both; a default export may hold
 * them instead, as it does in a CommonJS module.
 *
 * @throws {ConfigurationError} naming the file and what is wrong with it.
 */
export async function partsOfModule(file: string): Promise<ModuleParts> {
  const refuse = (problem: string, cause?: unknown) =>
    new ConfigurationError([{ path: "GATEWAY_HANDLERS", problem: `${file} ${problem}` }], { cause });
  let loaded: Record<string, unknown>;
  try {
    loaded = await import(pathToFileURL(resolve(file)).href);
  } catch (cause) {
    throw refuse(`cannot be loaded (${cause instanceof Error ? cause.message : String(cause)})`, cause);
  }
  const source = "handlers" in loaded || "routes" in loaded ? loaded : membersOf(loaded.default);
  const { handlers, routes } = source;
  if (handlers === undefined && routes === undefined) throw refuse("exports neither handlers nor routes");
  const named = handlers === undefined ? {} : membersOf(handlers);
  const faults = [
    ...(handlers !== undefined && (typeof handlers !== "object" || Array.isArray(handlers))
      ? ["exports handlers that are no object"]
      : []),
    ...Object.entries(named)
      .filter(([, handler]) => !isHandler(handler))
      .map(([name]) => `exports ${name}, which is no handler; make it with routeHandler()`),
    ...(routes !== undefined && !(Array.isArray(routes) && routes.every(isRoute))
      ? ["exports routes that are no list of routes; make each with codeRoute()"]
      : []),
  ];
  if (faults[0] !== undefined) throw refuse(faults.join("; "));
  return {
    handlers: named as Readonly<Record<string, RouteHandler>>,
    routes: (routes ?? []) as readonly CodeRoute[],
  };
}

function membersOf(value: unknown): Record<string, unknown> {
  return value !== null && typeof value === "object" ? (value as Record<string, unknown>) : {};
}

const METHODS: readonly unknown[] = ["get", "post", "put", "patch", "delete"];

function isHandler(value: unknown): boolean {
  const { method, uses, handler } = membersOf(value);
  return METHODS.includes(method) && Array.isArray(uses) && typeof handler === "function";
}

function isRoute(value: unknown): boolean {
  const { path, policy } = membersOf(value);
  return isHandler(value) && typeof path === "string" && typeof policy === "object" && policy !== null;
}
