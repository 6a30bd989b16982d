/** A named downstream API, and the one function that turns a caller's path into a target below its base URL. */

import { ConfigurationError, GatewayError } from "../../errors.ts";
import type { ApiBase, DownstreamApiOptions, Target, TargetRules } from "../contract.ts";
import { headerRulesOf } from "../headers/headers.ts";
import { odataElements, plainElements } from "./path-elements.ts";
import { compilePathPatterns, type PathMatcher, PathPatternError, type PathStyle } from "./path-patterns.ts";
import { lenientSegments, type RequestTarget, readRequestTarget } from "./request-target.ts";

/** Microsoft Graph in its clouds (Graph, "Microsoft Graph and Graph Explorer service root endpoints"). */
const GRAPH_HOSTS: ReadonlySet<string> = new Set([
  "graph.microsoft.com",
  "graph.microsoft.us",
  "dod-graph.microsoft.us",
  "microsoftgraph.chinacloudapi.cn",
]);

type ApiKind = Pick<DownstreamApiOptions, "kind" | "baseUrl">;

/** Whether an API is Microsoft Graph: where configuration says so, and where it says nothing but the host does. */
export function isGraph({ kind, baseUrl }: ApiKind): boolean {
  return kind === undefined ? GRAPH_HOSTS.has(new URL(baseUrl).hostname) : kind === "graph";
}

/** Whether an API's paths and links follow OData: Graph's do. */
export function readsOData(api: ApiKind): boolean {
  return api.kind === "odata" || isGraph(api);
}

/** The same API for requests with the gateway's own permissions, over the same places and connections. */
export function asApplication(api: DownstreamApiOptions): DownstreamApiOptions {
  return { ...api, actsAs: "app", connectsAs: api };
}

/**
 * A route's gate. The result applies the route's rules to a method and a request-target as received, mount path
 * included, and throws what it refuses. All work that does not depend on the request is done here.
 *
 * A trailing slash is part of the path: the pattern `/me` allows `/me` alone, `/me/**` allows `/me`, `/me/` and all
 * below. Methods compare case by case (RFC 9110 §9.1), paths as `compilePathPatterns` says. The query is not looked at.
 *
 * @throws {ConfigurationError} when the API or the rules cannot mean what they say.
 */
export function compileTarget(
  api: DownstreamApiOptions,
  rules: TargetRules,
): (method: string, rawTarget: string) => Target {
  const base = readBaseUrl(api);
  headerRulesOf(api);
  const mountPath = rules.path === "/" ? "" : rules.path;
  const methods = new Set(rules.methods);
  // CONNECT asks for a tunnel and TRACE echoes the token back (RFC 9110 §9.3.6, §9.3.8): no rule can allow either.
  for (const method of ["CONNECT", "TRACE"]) {
    if (methods.has(method)) throw fault(`routes(${rules.path}).methods`, `${method} cannot be forwarded`);
  }
  const checkPath = compileChecks(api, rules);

  const resolve = (rawTarget: string): Target => {
    const requested = readRequestTarget(rawTarget, api.encodedSlashes);
    const path = joinBase(base, checkPath(requested)) + requested.query;
    const target = { api, origin: base.origin, path };
    if (api.followRedirects !== true) return target;
    return { ...target, redirected: (redirected) => resolve(mountPath + belowBase(base, redirected)) };
  };
  const resolved = remember(resolve);
  return (method, rawTarget) => {
    if (!methods.has(method)) {
      throw new GatewayError("method_not_allowed", {
        detail: "This route does not take the method of the request.",
      });
    }
    return resolved(rawTarget);
  };
}

/** The result returns the path below the mount, as it was received, and throws for one that the route refuses. */
function compileChecks(api: DownstreamApiOptions, rules: TargetRules): (requested: RequestTarget) => string {
  const mount = rules.path === "/" ? [] : rules.path.slice(1).split("/");
  const graph = isGraph(api);
  const style = graph ? "graph" : readsOData(api) ? "odata" : "plain";
  const isAllowed = compileRules(rules, style);
  const reserved = (rules.reserved ?? []).map((path) =>
    lenientSegments({ segments: path.slice(1).split("/") }),
  );
  // What stands in a batch is not looked at here, so only a pattern that names it lets one through.
  const opensBatch = graph || rules.allow.some((pattern) => pattern.toLowerCase().includes("$batch"));

  return (requested) => {
    const below = stripMount(requested, mount);
    const elements = below && (style === "plain" ? plainElements(below) : odataElements(below, graph));
    if (below === undefined || elements === undefined || !isAllowed(elements))
      throw notAllowed("not_allowed");
    const segments = reserved.length > 0 ? lenientSegments(requested) : [];
    if (reserved.some((path) => path.every((segment, index) => segment === segments[index]))) {
      throw notAllowed("reserved");
    }
    if (style === "odata" && !opensBatch && namesBatch(below)) throw notAllowed("batch_unopened");
    return below.rawSegments.length === 0 ? "" : `/${below.rawSegments.join("/")}`;
  };
}

/** Whether a path leads to `$batch`, or to a spelling that a lenient server would take for it: `$Batch;v=1`. */
export function namesBatch(target: Pick<RequestTarget, "segments">): boolean {
  return lenientSegments(target).some((segment) => segment.startsWith("$batch"));
}

/** Targets that were let through last, in numbers and length of each; nothing but the text decides about one. */
const MAX_REMEMBERED = 512;
const MAX_REMEMBERED_LENGTH = 256;

/** Most requests of an API ask for one of a few targets: `/me` of a thousand users is resolved once. */
function remember(resolve: (rawTarget: string) => Target): (rawTarget: string) => Target {
  const known = new Map<string, Target>();
  return (rawTarget) => {
    const remembered = known.get(rawTarget);
    if (remembered !== undefined) return remembered;
    const target = resolve(rawTarget);
    if (rawTarget.length > MAX_REMEMBERED_LENGTH) return target;
    if (known.size >= MAX_REMEMBERED) known.clear();
    known.set(rawTarget, target);
    return target;
  };
}

/** Splits an API's base URL. @throws {ConfigurationError} when it is not a plain https (or private http) URL. */
export function readBaseUrl({ name, baseUrl, allowPrivateNetwork }: DownstreamApiOptions): ApiBase {
  const setting = `downstreamApis.${name}.baseUrl`;
  if (!URL.canParse(baseUrl)) throw fault(setting, "must be an absolute URL");
  const url = new URL(baseUrl);
  const scheme = url.protocol;
  if (scheme !== "https:" && !(scheme === "http:" && allowPrivateNetwork)) {
    throw fault(setting, "must begin with https:// (http:// only with allowPrivateNetwork: true)");
  }
  // Tokens travel in a header, and a query or fragment could not be joined with a caller's.
  if (url.username !== "" || url.password !== "" || /[?#]/.test(baseUrl)) {
    throw fault(setting, "must hold neither user information nor a query nor a fragment");
  }
  return { origin: url.origin, path: url.pathname.replace(/\/+$/, "") };
}

/**
 * Joins a checked path to the base and proves the result: the URL parser, an opinion independent of our own, must
 * find it below the base and must not have changed a single byte.
 */
export function joinBase(base: ApiBase, path: string): string {
  const joined = base.path + path || "/";
  const parsed = new URL(base.origin + joined);
  const isBelow = joined.startsWith(`${base.path}/`) || joined === base.path;
  if (!isBelow || parsed.origin !== base.origin || parsed.pathname !== joined) {
    throw outsideBase();
  }
  return joined;
}

/** The rest of a path below the origin. @throws {GatewayError} `target_forbidden` when the base is not its beginning. */
export function belowBase(base: ApiBase, path: string): string {
  if (path.startsWith(`${base.path}/`)) return path.slice(base.path.length);
  throw outsideBase();
}

function outsideBase(): GatewayError {
  return new GatewayError("target_forbidden", {
    detail: "The path does not lie below the API's base URL.",
    reason: "outside_base",
  });
}

/** The target below the mount; at the mount itself, the one empty segment that the pattern `/` names. */
function stripMount(requested: RequestTarget, mount: readonly string[]): RequestTarget | undefined {
  const { segments, rawSegments, opaque, query } = requested;
  const { length } = mount;
  if (!mount.every((segment, index) => segments[index] === segment && !opaque.has(index))) return undefined;
  if (segments.length === length) return { segments: [""], rawSegments: [], opaque: NONE, query };
  return {
    segments: segments.slice(length),
    rawSegments: rawSegments.slice(length),
    opaque: opaque.size === 0 ? NONE : new Set([...opaque].map((index) => index - length)),
    query,
  };
}

const NONE: ReadonlySet<number> = new Set();

function notAllowed(reason: string): GatewayError {
  return new GatewayError("target_forbidden", {
    detail: "The path is not among those that this route lets through.",
    reason,
  });
}

function compileRules(rules: TargetRules, style: PathStyle): PathMatcher {
  try {
    return compilePathPatterns(rules.allow, style);
  } catch (cause) {
    if (cause instanceof PathPatternError) throw fault(`routes(${rules.path}).allow`, cause.message);
    throw cause;
  }
}

function fault(path: string, problem: string): ConfigurationError {
  return new ConfigurationError([{ path, problem }]);
}
