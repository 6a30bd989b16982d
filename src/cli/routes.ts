/** `obo-gateway routes`: who may call what, and what each route opens behind the gateway. */

import type { DelegationsConfig } from "../config/load.ts";
import { configuredApi } from "../http/code-route.ts";
import type { RateLimitRules } from "../http/contract.ts";
import { methodsOf } from "../http/route-table.ts";
import type { RoutePolicy } from "../identity/contract.ts";
import { type Configured, readConfiguration } from "./configuration.ts";
import { tableText } from "./table.ts";

/** One route, as JSON prints it. */
export interface RouteRow {
  readonly path: string;
  readonly methods: readonly string[];
  /** `graph`, or `handler profile`. */
  readonly answeredBy: string;
  readonly apis: readonly string[];
  readonly as: "user" | "app";
  readonly policy: RoutePolicy;
  /** Scopes that tokens for the APIs are asked for. */
  readonly scopes: readonly string[];
  readonly limits: RateLimitRules;
  /** Whether a job may call for a user who delegated. */
  readonly takesDelegations: boolean;
  /** Downstream paths that pass; `**` where a handler may call any. */
  readonly opens: readonly string[];
}

export async function routes(options: { readonly config?: string; readonly json?: true }): Promise<void> {
  const rows = routeRows(await readConfiguration(options.config));
  console.log(options.json ? JSON.stringify(rows, null, 2) : routesText(rows));
}

export function routeRows({ config, codeRoutes }: Configured): readonly RouteRow[] {
  const scopesOf = (names: readonly string[]) => [
    ...new Set(names.flatMap((name) => config.downstreamApis[name]?.scopes ?? [])),
  ];
  const forwarding = config.routes.map(({ as, target, api, policy, limits, takesDelegations }) => ({
    path: `${target.path}/**`,
    methods: target.methods,
    answeredBy: `API ${api.name}`,
    apis: [api.name],
    as,
    policy,
    scopes: api.scopes,
    limits,
    takesDelegations,
    opens: target.allow,
  }));
  const coded = codeRoutes.map((route) => {
    const apis = route.uses.map((use) => configuredApi(route, use));
    return {
      path: route.path,
      methods: methodsOf(route),
      answeredBy: route.name === undefined ? "code" : `handler ${route.name}`,
      apis,
      as: route.as ?? "user",
      policy: route.policy,
      scopes: scopesOf(apis),
      limits: route.limits ?? {},
      takesDelegations: route.takesDelegations ?? false,
      opens: route.allow ?? route.needs ?? (apis.length === 0 ? [] : ["**"]),
    };
  });
  const ofDelegations = config.delegations === undefined ? [] : delegationRows(config.delegations);
  return [...forwarding, ...coded, ...ofDelegations].toSorted((one, other) =>
    one.path < other.path ? -1 : 1,
  );
}

function callersText({ policy, takesDelegations }: RouteRow): string {
  const callers = policy.callers === "user" ? "users" : "users, applications";
  return takesDelegations ? `${callers}, jobs by delegation` : callers;
}

/** Where users delegate. An administrator's role is no condition, since users end their own without it. */
function delegationRows({ requiredScopes }: DelegationsConfig): readonly RouteRow[] {
  const policy = { callers: "user", requiredScopes, requiredRoles: [], allowedClients: [] } as const;
  const row = {
    answeredBy: "delegations",
    apis: [],
    as: "user",
    scopes: [],
    limits: {},
    takesDelegations: false,
    opens: [],
  } as const;
  return [
    { ...row, path: "/delegations", methods: ["GET", "HEAD", "POST"], policy },
    {
      ...row,
      path: "/delegations/:id",
      methods: ["DELETE"],
      policy: { ...policy, callers: "any", requiredScopes: [] },
    },
  ];
}

function routesText(rows: readonly RouteRow[]): string {
  return tableText(
    ["path", "methods", "answered by", "callers", "needs of the token", "limits", "opens"],
    rows.map((row) => [
      row.path,
      row.methods.join(","),
      row.as === "app" ? `${row.answeredBy} as application` : row.answeredBy,
      callersText(row),
      policyText(row.policy),
      limitsText(row.limits),
      row.opens.join(" "),
    ]),
  );
}

function policyText({ requiredScopes, requiredRoles, allowedClients, authContext }: RoutePolicy): string {
  const parts = [
    ...(requiredScopes.length > 0 ? [`scope ${requiredScopes.join(" or ")}`] : []),
    ...(requiredRoles.length > 0 ? [`role ${requiredRoles.join(" or ")}`] : []),
    ...(allowedClients.length > 0 ? [`client ${allowedClients.join(" or ")}`] : []),
    ...(authContext === undefined ? [] : [`authentication context ${authContext}`]),
  ];
  return parts.join("; ") || "-";
}

function limitsText(limits: RateLimitRules): string {
  return Object.keys(limits).length === 0 ? "-" : JSON.stringify(limits);
}
