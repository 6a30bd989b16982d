/** Checks routes that are valid and can never do what they were written for. */

import type { GatewayConfig, ProxyRouteConfig } from "../config/load.ts";
import type { Examination } from "./examination.ts";
import { type Check, fault, ok, type Verdict, warning } from "./verdict.ts";

export function routeChecks(examination: Examination): Check[] {
  const { config } = examination;
  return [
    { name: "required-scopes", run: async () => checkRequiredScopes(config) },
    { name: "allowed-paths", run: async () => checkAllowedPaths(config.routes) },
  ];
}

/** `scp` holds names alone (`access_as_user`); clients ask for them with the App ID URI before the name. */
function checkRequiredScopes({ routes, handlerRoutes }: GatewayConfig): Verdict {
  const named = [
    ...routes.map(({ target, policy }) => ({ path: target.path, policy })),
    ...handlerRoutes.map(({ path, policy }) => ({ path, policy })),
  ];
  const wrong = named.flatMap(({ path, policy }) =>
    policy.requiredScopes
      .filter((scope) => /[/:]/.test(scope) || scope.startsWith("."))
      .map((scope) => ({ path, scope, name: scope.slice(scope.lastIndexOf("/") + 1) })),
  );
  if (wrong.length === 0) return ok("are names as scp holds them, or none is required");
  const found = wrong.map(({ path, scope }) => `${path}: ${scope}`).join(", ");
  const [{ name } = { name: "" }] = wrong;
  return fault(
    `no token has these in scp, so that the routes refuse every caller (${found})`,
    name === ".default" || name === ""
      ? "write the names of the scopes that the registration exposes, such as access_as_user, without the App ID URI"
      : `write the name alone, without the App ID URI: ${[...new Set(wrong.map((one) => one.name))].join(", ")}`,
  );
}

/** What callers send below the route's path is appended to baseUrl, and `allow` is compared with that part alone. */
function checkAllowedPaths(routes: readonly ProxyRouteConfig[]): Verdict {
  const doubled = routes.flatMap(({ target, api }) => {
    const base = new URL(api.baseUrl).pathname.replace(/\/$/, "");
    return target.allow.flatMap((pattern) =>
      [
        { prefix: target.path, what: "the route's path" },
        { prefix: base, what: "the path of baseUrl" },
      ]
        .filter(({ prefix }) => prefix !== "" && (pattern === prefix || pattern.startsWith(`${prefix}/`)))
        .map(({ prefix, what }) => ({
          path: target.path,
          pattern,
          what,
          rest: pattern.slice(prefix.length) || "/",
        })),
    );
  });
  if (doubled.length === 0) return ok("begin below the route's path and baseUrl");
  return warning(
    doubled
      .map(
        ({ path, pattern, what }) =>
          `the pattern ${pattern} of ${path} repeats ${what}, which it is compared without`,
      )
      .join("; "),
    `write ${doubled.map(({ rest }) => rest).join(", ")}, unless the API really repeats that part of its path`,
  );
}
