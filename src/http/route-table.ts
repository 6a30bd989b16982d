/** The routes that a gateway serves, as a list for operators, and the faults of routes that meet. */

import type { DownstreamApiOptions, TargetRules } from "../downstream/contract.ts";
import { compileTarget, readsOData } from "../downstream/target/downstream-api.ts";
import { ConfigurationError, type ConfigurationFault } from "../errors.ts";
import { type CodeRoute, configuredApi, type ServedCodeRoute } from "./code-route.ts";
import { DELEGATIONS_PATH } from "./delegations.ts";

/** A route as the log and the doctor list it. */
export interface ServedRoute {
  /** With `/**` where everything below belongs to the route. */
  readonly path: string;
  readonly methods: readonly string[];
  /** `API graph`, `handler profile` or `code`. */
  readonly answeredBy: string;
}

/** A route that forwards, as far as the list goes. */
export interface ForwardingRoute {
  readonly target: { readonly path: string; readonly methods: readonly string[] };
  readonly api: { readonly name: string };
}

/** Express answers HEAD wherever it answers GET. */
export function methodsOf({ method }: CodeRoute): readonly string[] {
  return method === "get" ? ["GET", "HEAD"] : [method.toUpperCase()];
}

const OF_DELEGATIONS: readonly ServedRoute[] = [
  { path: "/delegations", methods: ["GET", "HEAD", "POST"], answeredBy: "delegations" },
  { path: "/delegations/:id", methods: ["DELETE"], answeredBy: "delegations" },
];

export function servedRoutes(
  forwarding: readonly ForwardingRoute[],
  coded: readonly CodeRoute[],
  hasDelegations = false,
): readonly ServedRoute[] {
  return [
    ...(hasDelegations ? OF_DELEGATIONS : []),
    ...forwarding.map(({ target, api }) => ({
      path: `${target.path}/**`,
      methods: target.methods,
      answeredBy: `API ${api.name}`,
    })),
    ...coded.map((route) => ({
      path: route.path,
      methods: methodsOf(route),
      answeredBy: route.name === undefined ? "code" : `handler ${route.name}`,
    })),
  ].toSorted((one, other) => (one.path < other.path ? -1 : one.path > other.path ? 1 : 0));
}

/** What stands in a code route's path before its first parameter, without trailing slash. */
export function staticPart({ path }: Pick<CodeRoute, "path">): string {
  return path.replace(/\/[^/]*[:*{].*$/s, "");
}

/** Faults of routes in code: what they use, whom they admit, and where they meet others. */
export function codeRouteFaults(
  coded: readonly ServedCodeRoute[],
  forwarding: readonly ForwardingRoute[],
  apis: Readonly<Record<string, { readonly scopes: readonly string[] }>>,
): readonly ConfigurationFault[] {
  return coded.flatMap((route, index) => [
    ...useFaults(route, apis),
    ...policyFaults(route),
    ...delegationFaults(route),
    ...meetingFaults(route, coded.slice(0, index), forwarding),
  ]);
}

/** Faults of routes that forward, as far as their rules and their API do not go together. */
export function forwardingFaults(
  routes: readonly { readonly target: TargetRules; readonly api: DownstreamApiOptions }[],
): readonly ConfigurationFault[] {
  return routes.flatMap(({ api, target }) => {
    try {
      compileTarget(api, target);
      return [];
    } catch (error) {
      if (!(error instanceof ConfigurationError)) throw error;
      return error.faults;
    }
  });
}

/**
 * Faults of routes that the gateway's answers about delegations would hide. The checks of the file see neither routes that
 * a program brings, nor delegations that the file no longer names and a running gateway has until its restart.
 */
export function hiddenFaults(
  coded: readonly CodeRoute[],
  forwarding: readonly ForwardingRoute[],
): readonly ConfigurationFault[] {
  const paths = [...forwarding.map(({ target }) => target.path), ...coded.map(staticPart)];
  return paths
    .filter((path) => isInside(path, DELEGATIONS_PATH))
    .map((path) => ({
      path: `route ${path}`,
      problem:
        "lies where users delegate, as long as the gateway has delegations; choose another path, or restart it without them",
    }));
}

function useFaults(
  route: ServedCodeRoute,
  apis: Readonly<Record<string, { readonly scopes: readonly string[] }>>,
): readonly ConfigurationFault[] {
  return route.uses.flatMap((use) => {
    const name = configuredApi(route, use);
    const api = Object.hasOwn(apis, name) ? apis[name] : undefined;
    if (api === undefined)
      return [{ path: `downstreamApis.${name}`, problem: `is missing; the route ${title(route)} uses it` }];
    const [scope = "", ...more] = api.scopes;
    if (route.as !== "app" || (more.length === 0 && scope.endsWith("/.default"))) return [];
    const problem = `needs one scope that ends in /.default; the route ${title(route)} calls it as the application`;
    return [{ path: `downstreamApis.${name}.scopes`, problem }];
  });
}

/** A route that acts with the gateway's own permissions lends them to its callers, so it has to name them. */
function policyFaults(route: ServedCodeRoute): readonly ConfigurationFault[] {
  const { requiredScopes, requiredRoles, allowedClients, callers } = route.policy;
  const path = `route ${title(route)}`;
  if (route.as !== "app")
    // Where no API is called, no token is exchanged.
    return callers === "user" || route.uses.length === 0
      ? []
      : [
          {
            path,
            problem: "admits applications, whose tokens cannot be exchanged; say as: app or callers: user",
          },
        ];
  if (requiredScopes.length + requiredRoles.length + allowedClients.length === 0)
    return [
      {
        path,
        problem:
          "lends the gateway's own permissions to every caller; name requiredScopes, requiredRoles or allowedClients",
      },
    ];
  if (callers === "any" && requiredRoles.length + allowedClients.length === 0)
    return [
      { path, problem: "admits applications, which hold no scopes; name requiredRoles or allowedClients" },
    ];
  return [];
}

/** A job acts there for a user, with what the user held when delegating. */
function delegationFaults(route: CodeRoute): readonly ConfigurationFault[] {
  if (route.takesDelegations !== true) return [];
  const path = `route ${title(route)}`;
  if (route.as === "app")
    return [{ path, problem: "takes delegations, by which a job acts as a user, and says as: app" }];
  if (route.policy.authContext !== undefined)
    return [{ path, problem: "takes delegations, and needs a step-up that no job can meet" }];
  return [];
}

/**
 * Two routes in code meet where path and method are the same. A route in code meets one that forwards where it lies
 * inside the other, or where its parameter could stand for the other's path: Express lets code win, without the
 * forwarding route's rules. A handler that the file mounts may lie inside a forwarding route, since the file shows both
 * and the longer path wins.
 */
function meetingFaults(
  route: ServedCodeRoute,
  earlier: readonly CodeRoute[],
  forwarding: readonly ForwardingRoute[],
): readonly ConfigurationFault[] {
  const path = `route ${title(route)}`;
  const twin = earlier.find((other) => other.path === route.path && other.method === route.method);
  if (twin !== undefined) return [{ path, problem: "is there twice" }];
  const fixed = staticPart(route);
  const hasParameter = fixed !== route.path;
  const met = forwarding.find(
    ({ target }) =>
      (route.name === undefined && isInside(fixed, target.path)) ||
      (hasParameter && isInside(target.path, fixed)),
  );
  if (met === undefined) return [];
  return [
    { path, problem: `meets the route ${met.target.path} of gateway.yaml; give one of them another path` },
  ];
}

function isInside(path: string, mount: string): boolean {
  return path === mount || path.startsWith(mount === "/" ? mount : `${mount}/`);
}

function title({ method, path }: CodeRoute): string {
  return `${method.toUpperCase()} ${path}`;
}

/**
 * Mount points below which paging links lead callers past the gateway, with a token that the API refuses: no setting
 * says how callers reach the gateway. On the loopback interface the request itself says so.
 */
export function unlinkedRoutes(
  publicUrl: string | undefined,
  host: string,
  routes: readonly { readonly target: { readonly path: string }; readonly api: DownstreamApiOptions }[],
): readonly string[] {
  if (publicUrl !== undefined || LOOPBACK_HOSTS.includes(host)) return [];
  return routes.filter(({ api }) => readsOData(api)).map(({ target }) => target.path);
}

const LOOPBACK_HOSTS = ["127.0.0.1", "::1", "localhost"];
