/** The routes of a configuration that reach Graph for users, with the calls that they open or declare. */

import type { GatewayConfig } from "./config/load.ts";
import { isGraph } from "./downstream/target/downstream-api.ts";
import { callsOf, configuredApi, type ServedCodeRoute } from "./http/code-route.ts";
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
    .filter(({ as }) => as !== "app")
    .flatMap((route) =>
      route.uses.flatMap((use) => {
        const api = config.downstreamApis[configuredApi(route, use)];
        if (api === undefined || !isGraph(api)) return [];
        return [
          {
            path: `${route.method.toUpperCase()} ${route.path}`,
            answeredBy: route.name === undefined ? "code" : `handler ${route.name}`,
            api: api.name,
            needs: route.needs && callsOf(route, use),
          },
        ];
      }),
    );
  return [...forwarding, ...coded];
}
