/** `obo-gateway routes`: who may call what, and what each route opens behind the gateway. */

import type { DelegationsConfig, GatewayConfig } from "../config/load.ts";
import type { DownstreamApiOptions } from "../downstream/contract.ts";
import { configuredApi } from "../http/code-route.ts";
import type { RateLimit, RateLimitRules } from "../http/contract.ts";
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
  /** Rate limits that hold here: the route's, and where it has none those for all routes. */
  readonly limits: RateLimitRules;
  /** What the route's APIs let a caller hold and send, by API. */
  readonly shares: Readonly<Record<string, RouteShare>>;
  /** Whether a job may call for a user who delegated. */
  readonly takesDelegations: boolean;
  /** Downstream paths that pass; `**` where a handler may call any. */
  readonly opens: readonly string[];
}

/** The bounds of one API, as they meet the callers of a route. */
export interface RouteShare {
  /** Requests under way at once: in all, of one user, and of one client with all its users. */
  readonly underWay: { readonly total: number; readonly perUser: number; readonly perClient: number };
  readonly maxRequestBytes: number;
  readonly timeoutMs: number;
}

export async function routes(options: { readonly config?: string; readonly json?: true }): Promise<void> {
  const rows = routeRows(await readConfiguration(options.config));
  console.log(options.json ? JSON.stringify(rows, null, 2) : routesText(rows));
}

export function routeRows({ config, codeRoutes }: Configured): readonly RouteRow[] {
  const scopesOf = (names: readonly string[]) => [
    ...new Set(names.flatMap((name) => config.downstreamApis[name]?.scopes ?? [])),
  ];
  const sharesOf = (names: readonly string[]) =>
    Object.fromEntries(
      names.flatMap((name): [string, RouteShare][] => {
        const api = config.downstreamApis[name];
        return api === undefined ? [] : [[name, shareOf(api, config.fairness)]];
      }),
    );
  const forwarding = config.routes.map(({ as, target, api, policy, limits, takesDelegations }) => ({
    path: `${target.path}/**`,
    methods: target.methods,
    answeredBy: `API ${api.name}`,
    apis: [api.name],
    as,
    policy,
    scopes: api.scopes,
    limits: { ...config.limits, ...limits },
    shares: sharesOf([api.name]),
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
      limits: { ...config.limits, ...route.limits },
      shares: sharesOf(apis),
      takesDelegations: route.takesDelegations ?? false,
      opens: route.allow ?? route.needs ?? (apis.length === 0 ? [] : ["**"]),
    };
  });
  const ofDelegations =
    config.delegations === undefined ? [] : delegationRows(config.delegations, config.limits);
  return [...forwarding, ...coded, ...ofDelegations].toSorted((one, other) =>
    one.path < other.path ? -1 : 1,
  );
}

function callersText({ policy, takesDelegations }: RouteRow): string {
  const callers = policy.callers === "user" ? "users" : "users, applications";
  return takesDelegations ? `${callers}, jobs by delegation` : callers;
}

/** Where users delegate. An administrator's role is no condition, since users end their own without it. */
function delegationRows({ requiredScopes }: DelegationsConfig, limits: RateLimitRules): readonly RouteRow[] {
  const policy = { callers: "user", requiredScopes, requiredRoles: [], allowedClients: [] } as const;
  const row = {
    answeredBy: "delegations",
    apis: [],
    as: "user",
    scopes: [],
    limits,
    shares: {},
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

function shareOf(
  { maxConcurrent, connections, maxRequestBytes, timeoutMs }: DownstreamApiOptions,
  { userShare, clientShare }: GatewayConfig["fairness"],
): RouteShare {
  const total = Math.min(maxConcurrent, connections.max);
  const share = (part: number) => Math.max(1, Math.floor(total * part));
  const underWay = { total, perUser: share(userShare), perClient: share(clientShare) };
  return { underWay, maxRequestBytes, timeoutMs };
}

function routesText(rows: readonly RouteRow[]): string {
  return tableText(
    ["path", "methods", "answered by", "callers", "needs of the token", "rate limits", "at once", "opens"],
    rows.map((row) => [
      row.path,
      row.methods.join(","),
      row.as === "app" ? `${row.answeredBy} as application` : row.answeredBy,
      callersText(row),
      policyText(row.policy),
      limitsText(row.limits),
      Object.values(row.shares).map(shareText).join("; ") || "-",
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

function limitsText({ perUser, perClient }: RateLimitRules): string {
  const text = (limit: RateLimit | undefined, whose: string) =>
    limit === undefined ? [] : [`${limit.requests} in ${limit.perSeconds} s per ${whose}`];
  return [...text(perUser, "user"), ...text(perClient, "client")].join(", ") || "-";
}

function shareText({ underWay: { total, perUser, perClient } }: RouteShare): string {
  const client = perClient < total ? `, ${perClient} per client` : "";
  return `${perUser} per user${client} of ${total}`;
}
