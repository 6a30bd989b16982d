/** The routes of a configuration that reach Graph for users, with the calls that they open or declare. */

import type { GatewayConfig } from "./config/load.ts";
import { isGraph } from "./downstream/target/downstream-api.ts";
import { configuredApi, type ServedCodeRoute } from "./http/code-route.ts";
import type { ReportedRoute } from "./permissions/report.ts";

export function reportedRoutes(
  config: GatewayConfig,
  codeRoutes: readonly ServedCodeRoute[],
): readonly ReportedRoute[] {
  const forwarding = config.routes
    .filter(({ api, as }) => isGraph(api) && as === "user")
    .map(({ target, api }) => ({
      path: `${target.path}/**`,
      answeredBy: `API ${api.name}`,
      api: api.name,
      needs: target.methods
        .filter((method) => method !== "HEAD" && method !== "OPTIONS")
        .flatMap((method) => target.allow.map((pattern) => `${method} ${pattern}`)),
    }));
  const coded = codeRoutes
    .filter((route) => (route.as ?? "user") === "user")
    .flatMap((route) =>
      route.uses.flatMap((use, position) => {
        const api = config.downstreamApis[configuredApi(route, use)];
        if (api === undefined || !isGraph(api)) return [];
        return [
          {
            path: `${route.method.toUpperCase()} ${route.path}`,
            answeredBy: route.name === undefined ? "code" : `handler ${route.name}`,
            api: api.name,
            needs: route.needs && needsOf(route.needs, use, position === 0),
          },
        ];
      }),
    );
  return [...forwarding, ...coded];
}

/** `GET /me` is a call of the first API that the handler uses, `orders: GET /orders` one of the API of that name. */
function needsOf(needs: readonly string[], use: string, isFirst: boolean): readonly string[] {
  return needs.flatMap((need) => {
    const [, name, call = need] = /^([A-Za-z][\w-]*):\s*(.+)$/.exec(need) ?? [];
    return name === use || (name === undefined && isFirst) ? [call] : [];
  });
}
