/** A named downstream API, and the one function that turns a caller's path into a target below its base URL. */

import { ConfigurationError, GatewayError } from "../../errors.ts";
import type { ApiBase, DownstreamApiOptions, Target, TargetRules } from "../contract.ts";
import { headerRulesOf } from "../headers/api-header-rules.ts";
import { compilePathPatterns, type PathMatcher, PathPatternError } from "./path-patterns.ts";
import { type RequestTarget, readRequestTarget } from "./request-target.ts";

/**
 * A route's gate. The result judges a method and a request-target as received, mount path included, and throws what
 * it refuses. All work that does not depend on the request is done here.
 *
 * A trailing slash is part of the path: the pattern `/me` allows `/me` alone, `/me/**` allows `/me`, `/me/` and all
 * below. Methods and paths compare case by case (RFC 9110 §9.1, RFC 3986 §6.2.2.1). The query is not judged.
 *
 * @throws {ConfigurationError} when the API or the rules cannot mean what they say.
 */
export function compileTarget(
  api: DownstreamApiOptions,
  rules: TargetRules,
): (method: string, rawTarget: string) => Target {
  const base = readBaseUrl(api);
  headerRulesOf(api);
  const mount = rules.path === "/" ? [] : rules.path.slice(1).split("/");
  const mountPath = rules.path === "/" ? "" : rules.path;
  const methods = new Set(rules.methods);
  // CONNECT asks for a tunnel and TRACE echoes the token back (RFC 9110 §9.3.6, §9.3.8): no rule can allow either.
  for (const method of ["CONNECT", "TRACE"]) {
    if (methods.has(method)) throw fault(`routes(${rules.path}).methods`, `${method} cannot be forwarded`);
  }
  const isAllowed = compileRules(rules);
  const reserved = (rules.reserved ?? []).map((path) => path.slice(1).split("/").map(leniently));

  const judge = (rawTarget: string): Target => {
    const requested = readRequestTarget(rawTarget);
    const below = stripMount(requested, mount);
    if (below === undefined || !isAllowed(below.segments)) throw notAllowed("not_allowed");
    const isReserved = (path: readonly string[]) =>
      path.every((segment, index) => segment === leniently(requested.segments[index] ?? ""));
    if (reserved.some(isReserved)) throw notAllowed("reserved");
    const target = { api, origin: base.origin, path: joinBase(base, below.path) + requested.query };
    if (api.followRedirects !== true) return target;
    return { ...target, judge: (path) => judge(mountPath + belowBase(base, path)) };
  };
  const judged = remember(judge);
  return (method, rawTarget) => {
    if (!methods.has(method)) {
      throw new GatewayError("method_not_allowed", {
        detail: "This route does not take the method of the request.",
      });
    }
    return judged(rawTarget);
  };
}

/** Targets that were let through last, in numbers and length of each; nothing but the text decides about one. */
const MAX_REMEMBERED = 512;
const MAX_REMEMBERED_LENGTH = 256;

/** Most requests of an API ask for one of a few targets: `/me` of a thousand users is judged once. */
function remember(judge: (rawTarget: string) => Target): (rawTarget: string) => Target {
  const known = new Map<string, Target>();
  return (rawTarget) => {
    const remembered = known.get(rawTarget);
    if (remembered !== undefined) return remembered;
    const target = judge(rawTarget);
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

function stripMount(
  { segments, rawSegments }: RequestTarget,
  mount: readonly string[],
): { segments: readonly string[]; path: string } | undefined {
  if (!mount.every((segment, index) => segments[index] === segment)) return undefined;
  if (segments.length === mount.length) return { segments: [""], path: "" };
  return { segments: segments.slice(mount.length), path: `/${rawSegments.slice(mount.length).join("/")}` };
}

/** A decoded segment as the most lenient of servers compares it: no case, no path parameters, no trailing dots. */
function leniently(segment: string): string {
  return segment
    .normalize("NFKC")
    .toLowerCase()
    .replace(/;.*$/, "")
    .replace(/[. ]+$/, "");
}

function notAllowed(reason: string): GatewayError {
  return new GatewayError("target_forbidden", {
    detail: "The path is not among those that this route lets through.",
    reason,
  });
}

function compileRules(rules: TargetRules): PathMatcher {
  try {
    return compilePathPatterns(rules.allow);
  } catch (cause) {
    if (cause instanceof PathPatternError) throw fault(`routes(${rules.path}).allow`, cause.message);
    throw cause;
  }
}

function fault(path: string, problem: string): ConfigurationError {
  return new ConfigurationError([{ path, problem }]);
}
