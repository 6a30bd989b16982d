/** Checks across keys: references between parts of the file, and settings that only make sense together. */

import type { ConfigurationFault } from "../errors.ts";
import { didYouMean } from "../foundation/did-you-mean.ts";
import { GRAPH_MCP } from "../foundation/graph-mcp.ts";
import { isLoopback, parseRedisAddress } from "../redis/address.ts";

/**
 * Looks at the file as written, references filled in, whether or not its shape is right: a misspelt key in one
 * route must not hide a misspelt API name in another. A value of the wrong shape is passed over; the schema names it.
 */
export function crossChecks(file: unknown): ConfigurationFault[] {
  const { routes, downstreamApis, identity, http, exchange, delegations, local } = members(file);
  const apis = members(downstreamApis);
  return [
    ...routeFaults(list(routes).map(members), Object.keys(apis)),
    ...list(routes).flatMap((route, index) =>
      applicationRouteFaults(members(route), `routes[${index}]`, apis),
    ),
    ...Object.entries(apis).flatMap(([name, api]) => apiFaults(name, members(api))),
    ...probeFaults(members(http).probePath, list(routes).map(members)),
    ...tenantFaults(list(members(identity).tenants)),
    ...redisFaults(members(members(members(exchange).cache).redis)),
    ...(delegations === undefined ? [] : delegationFaults(members(delegations), file)),
    ...localApiFaults(members(members(local).apis), apis),
  ];
}

function routeFaults(
  routes: readonly Record<string, unknown>[],
  apis: readonly string[],
): ConfigurationFault[] {
  const mounted = new Map<unknown, number>();
  return routes.flatMap((route, index) => {
    const { downstreamApi, path, handler } = route;
    const faults = kindFaults(route, `routes[${index}]`);
    if (typeof downstreamApi === "string" && downstreamApi !== "" && !apis.includes(downstreamApi))
      faults.push({
        path: `routes[${index}].downstreamApi`,
        problem: `no API named "${downstreamApi}"${didYouMean(downstreamApi, apis)}`,
      });
    // Handlers of different methods may share a path; where their methods meet is known only when they are mounted.
    if (handler !== undefined && mounted.has(`handler ${path}`)) return faults;
    const earlier = mounted.get(path);
    if (typeof path === "string" && earlier !== undefined)
      faults.push({ path: `routes[${index}].path`, problem: `${path} is taken by routes[${earlier}]` });
    else mounted.set(path, index);
    if (handler !== undefined) mounted.set(`handler ${path}`, index);
    return faults;
  });
}

/** A route forwards to an API, or a handler answers it. */
function kindFaults(route: Record<string, unknown>, path: string): ConfigurationFault[] {
  const faults: ConfigurationFault[] = [];
  const speaksMcp = route.mcp === true || route.handler === GRAPH_MCP;
  if (route.tools !== undefined && !speaksMcp)
    faults.push({
      path: `${path}.tools`,
      problem: "goes only with mcp: true; other servers have no tools that the gateway could tell apart",
    });
  if (route.handler !== undefined) {
    if (route.methods !== undefined && route.handler !== GRAPH_MCP)
      faults.push({
        path: `${path}.methods`,
        problem: "goes only with forwarding; a handler takes its own method",
      });
    return faults;
  }
  if (route.downstreamApi === undefined)
    faults.push({
      path: `${path}.downstreamApi`,
      problem: "is missing; name the API to forward to, or a handler that answers",
    });
  if (route.allow === undefined && route.mcp !== true)
    faults.push({
      path: `${path}.allow`,
      problem: 'is missing; list the downstream paths that pass, such as "/me"',
    });
  return faults;
}

/** A route that acts with the gateway's permissions lends them to its callers, so it has to name them. */
function applicationRouteFaults(
  route: Record<string, unknown>,
  path: string,
  apis: Record<string, unknown>,
): ConfigurationFault[] {
  if (route.as !== "app") {
    if (route.requireUser !== false) return [];
    return [
      {
        path: `${path}.requireUser`,
        problem: "false only goes with as: app; an application's token cannot be exchanged",
      },
    ];
  }
  const faults: ConfigurationFault[] = [];
  const named = ["requiredScopes", "requiredRoles", "allowedClients"].some(
    (key) => list(route[key]).length > 0,
  );
  if (!named)
    faults.push({
      path: `${path}.as`,
      problem:
        "app lends the gateway's own permissions to every caller; name requiredScopes, requiredRoles or allowedClients",
    });
  if (
    route.requireUser === false &&
    list(route.requiredRoles).length + list(route.allowedClients).length === 0
  )
    faults.push({
      path: `${path}.requireUser`,
      problem: "false admits applications, which hold no scopes; name requiredRoles or allowedClients",
    });
  // Which API a handler calls is known where it is mounted, and checked there.
  if (route.downstreamApi === undefined) return faults;
  const scopes = list(members(apis[String(route.downstreamApi)]).scopes);
  if (scopes.length > 1 || scopes.some((scope) => !String(scope).endsWith("/.default")))
    faults.push({
      path: `${path}.as`,
      problem: `app needs one scope that ends in /.default on downstreamApis.${String(route.downstreamApi)}`,
    });
  return faults;
}

/** Scopes that Entra grants with any token, whatever its resource. */
const OPENID_SCOPES: ReadonlySet<string> = new Set(["openid", "profile", "email", "offline_access"]);

/** Entra issues a token for one resource, and `.default` stands for all of its scopes (AADSTS28000, AADSTS70011). */
function scopeFaults(path: string, scopes: readonly string[]): ConfigurationFault[] {
  const named = scopes.filter((scope) => !OPENID_SCOPES.has(scope));
  const resources = new Set(named.map(resourceOf));
  // A scope without a resource is Graph's, in whichever cloud that is.
  if ([...resources].some((resource) => /^https:\/\/[\w.-]*graph[\w.-]*$/.test(resource)))
    resources.delete(GRAPH);
  if (resources.size > 1) {
    const listed = [...resources].join(" and ");
    return [
      { path, problem: `are of several resources (${listed}); a token is for one: make an API of each` },
    ];
  }
  if (named.length > 1 && named.some((scope) => /(?:^|\/)\.default$/.test(scope))) {
    return [
      { path, problem: "name .default beside other scopes; it stands for all of them, so it stands alone" },
    ];
  }
  return [];
}

const GRAPH = "Microsoft Graph";

/** `https://graph.microsoft.com/User.Read` is of the resource before its last slash; a scope without one is Graph's. */
function resourceOf(scope: string): string {
  const end = scope.lastIndexOf("/");
  if (end === -1) return GRAPH;
  const resource = scope.slice(0, end).replace(/\/+$/, "");
  // Schemes and hosts compare without case; the path of an App ID URI does not (RFC 3986 §6.2.2.1).
  return resource.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/]*/i, (host) => host.toLowerCase());
}

function apiFaults(
  name: string,
  { baseUrl, allowPrivateNetwork, scopes }: Record<string, unknown>,
): ConfigurationFault[] {
  const ofScopes = scopeFaults(
    `downstreamApis.${name}.scopes`,
    list(scopes).filter((scope) => typeof scope === "string"),
  );
  if (typeof baseUrl !== "string" || !URL.canParse(baseUrl)) return ofScopes;
  const url = new URL(baseUrl);
  const path = `downstreamApis.${name}.baseUrl`;
  const faults = ofScopes;
  if (url.search + url.hash + url.username + url.password !== "")
    faults.push({ path, problem: "must not hold a query, a fragment or user information" });
  if (url.protocol === "http:" && allowPrivateNetwork !== true)
    faults.push({ path, problem: "must be https; http needs allowPrivateNetwork: true on the API" });
  return faults;
}

/** The probe is answered without a token, so it must not hide a path of an API. */
function probeFaults(probePath: unknown, routes: readonly Record<string, unknown>[]): ConfigurationFault[] {
  if (typeof probePath !== "string") return [];
  return routes.flatMap(({ path }, index) =>
    typeof path === "string" && (probePath === path || probePath.startsWith(`${path.replace(/\/$/, "")}/`))
      ? [
          {
            path: "http.probePath",
            problem: `lies at or below routes[${index}] (${path}); choose another path`,
          },
        ]
      : [],
  );
}

function tenantFaults(tenants: readonly unknown[]): ConfigurationFault[] {
  if (!tenants.includes("*") || tenants.length === 1) return [];
  return [{ path: "identity.tenants", problem: '"*" stands alone: it already accepts every tenant' }];
}

const DELEGATIONS = "/delegations";

/** Delegations live in Redis; a job meets no step-up, and acts where a user's permissions are used. */
function delegationFaults(delegations: Record<string, unknown>, file: unknown): ConfigurationFault[] {
  const { exchange, identity, routes, http } = members(file);
  const faults: ConfigurationFault[] = [];
  const redis = members(members(members(exchange).cache).redis);
  // A variable in it that is not set has a fault of its own.
  if (!Object.hasOwn(redis, "url") || redis.url === "")
    faults.push({
      path: "delegations",
      problem: "need a Redis to be kept in, which outlives the gateway; set exchange.cache.redis.url",
    });
  const all = list(routes).map(members);
  const paths = all.map(({ path }) => path).filter((path) => typeof path === "string");
  list(delegations.routes).forEach((named, index) => {
    const path = `delegations.routes[${index}]`;
    const meant = all.filter((route) => route.path === named);
    if (typeof named !== "string") return;
    if (meant.length === 0)
      faults.push({ path, problem: `no route has the path "${named}"${didYouMean(named, paths)}` });
    if (meant.some((route) => route.as === "app"))
      faults.push({
        path,
        problem: `${named} acts as the application; a delegation is for acting as a user`,
      });
    if (meant.some((route) => route.authContext !== undefined))
      faults.push({ path, problem: `${named} needs a step-up (authContext), which no job can meet` });
  });
  const admitted = list(members(identity).allowedClients);
  list(delegations.clients).forEach((client, index) => {
    if (admitted.length === 0 || admitted.some((one) => sameText(one, client))) return;
    const problem = "is not among identity.allowedClients, so its tokens are refused";
    faults.push({ path: `delegations.clients[${index}]`, problem });
  });
  for (const [index, path] of paths.entries())
    if (path === DELEGATIONS || path.startsWith(`${DELEGATIONS}/`))
      faults.push({
        path: `routes[${index}].path`,
        problem: `${path} is where users delegate; choose another path, or leave delegations out`,
      });
  if (members(http).probePath === DELEGATIONS)
    faults.push({ path: "http.probePath", problem: "is where users delegate; choose another path" });
  return faults;
}

function sameText(one: unknown, other: unknown): boolean {
  return String(one).toLowerCase() === String(other).toLowerCase();
}

/** A token of Entra is as good as a password for an hour, so it goes over TLS, and no password goes beside it. */
function redisFaults({ url, auth }: Record<string, unknown>): ConfigurationFault[] {
  if (auth !== "entra") return [];
  const path = "exchange.cache.redis.url";
  if (typeof url !== "string" || url === "")
    return [{ path, problem: "is not set, and exchange.cache.redis.auth: entra signs in to it" }];
  const address = parseRedisAddress(url);
  if (address === undefined) return [];
  const faults: ConfigurationFault[] = [];
  if (address.username !== undefined || address.password !== undefined)
    faults.push({
      path,
      problem:
        "holds a user name or password, and exchange.cache.redis.auth: entra signs in with tokens; leave out what stands before @",
    });
  // Members of a cluster and masters of sentinels may be on other hosts than those that are named here.
  const stays = address.topology === "single" && address.nodes.every(({ host }) => isLoopback(host));
  if (!address.tls && !stays)
    faults.push({
      path,
      problem:
        "must begin with rediss:// where exchange.cache.redis.auth is entra: a token goes over TLS only",
    });
  return faults;
}

/** The local API hands out tokens of configured APIs alone, and the application's own only for `.default`. */
function localApiFaults(named: Record<string, unknown>, apis: Record<string, unknown>): ConfigurationFault[] {
  return Object.entries(named).flatMap(([name, rules]) => {
    const path = `local.apis.${name}`;
    if (!Object.hasOwn(apis, name))
      return [{ path, problem: `no API named "${name}"${didYouMean(name, Object.keys(apis))}` }];
    if (members(rules).applicationTokens !== true) return [];
    const scopes = list(members(apis[name]).scopes);
    if (scopes.length === 1 && String(scopes[0]).endsWith("/.default")) return [];
    return [
      {
        path: `${path}.applicationTokens`,
        problem: `needs one scope that ends in /.default on downstreamApis.${name}`,
      },
    ];
  });
}

type Variables = Readonly<Record<string, string | undefined>>;

/** Where the local API listens is the environment's matter, as all listeners are; one place, so that none is forgotten. */
export function localListenerFaults({ LOCAL_PORT, LOCAL_SOCKET }: Variables): ConfigurationFault[] {
  if (LOCAL_PORT && LOCAL_SOCKET)
    return [{ path: "LOCAL_SOCKET", problem: "is set beside LOCAL_PORT; only one of them may be" }];
  if (LOCAL_PORT || LOCAL_SOCKET) return [];
  return [{ path: "local", problem: "needs LOCAL_PORT or LOCAL_SOCKET in the environment" }];
}

/** A variable without the part of the file that it belongs to. */
export function unusedListener(env: Variables): ConfigurationFault[] {
  return ["LOCAL_PORT", "LOCAL_SOCKET"]
    .filter((name) => env[name])
    .map((name) => ({ path: name, problem: "has no effect: gateway.yaml has no part named local" }));
}

/** The shared tier seals what it keeps, so its address is worth nothing without keys. */
export function cacheKeyFaults(file: unknown, keysGiven: boolean): ConfigurationFault[] {
  const { url } = members(members(members(members(file).exchange).cache).redis);
  if (typeof url !== "string" || !url.startsWith("redis") || keysGiven) return [];
  return [
    {
      path: "TOKEN_CACHE_KEYS",
      problem:
        "is not set, and exchange.cache.redis.url needs it; make one key with: openssl rand -base64 32",
    },
  ];
}

export function members(value: unknown): Record<string, unknown> {
  return value !== null && typeof value === "object" ? (value as Record<string, unknown>) : {};
}

export function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
