/** The request that a proxy in front holds, read from the fields or the path by which the proxy tells of it. */

import { type IncomingMessage, METHODS } from "node:http";
import { GatewayError } from "../errors.ts";

export interface OriginalRequest {
  readonly method: string;
  /** Path and query as the proxy received them. */
  readonly target: string;
  /** Undefined where the target stands in the path, as Envoy sends it: then no route is named beside it. */
  readonly named: string | undefined;
}

/** Where the endpoint is mounted. */
export const FORWARD_AUTH = "/forward-auth";

/**
 * nginx is configured to send `X-Original-URI` and `X-Original-Method`; Caddy and Traefik send `X-Forwarded-Uri` and
 * `X-Forwarded-Method`; Envoy puts the target behind the endpoint's own path and keeps the method. Two fields that differ
 * are refused: one of them is the caller's own, and which one only the proxy knows.
 *
 * @param isNamed Whether what follows the endpoint names a route or an API.
 * @throws {GatewayError} `request_malformed`
 */
export function readOriginalRequest(
  { url = "/", method = "", headers }: IncomingMessage,
  isNamed: (rest: string) => boolean,
): OriginalRequest {
  const rest = url.slice(FORWARD_AUTH.length);
  const given = one("original_uri", headers["x-original-uri"], headers["x-forwarded-uri"]);
  const givenMethod = one("original_method", headers["x-original-method"], headers["x-forwarded-method"]);
  const rewritten = headers["x-envoy-original-path"];
  // Caddy keeps the caller's query on the endpoint's own path.
  const query = rest.indexOf("?");
  const path = query === -1 ? rest : rest.slice(0, query);
  if (isNamed(path)) {
    const target = one("original_uri", given, rewritten);
    if (target === undefined) throw missing("original_uri_missing");
    // Subrequests of nginx are GET whatever the caller sent, so the method of this request says nothing.
    if (givenMethod === undefined && given !== undefined) throw missing("original_method_missing");
    return { method: known(givenMethod ?? method), target, named: path };
  }
  const behind = one("original_uri", rest, given, rewritten);
  return {
    method: known(one("original_method", method, givenMethod) ?? ""),
    target: behind ?? "",
    named: undefined,
  };
}

/** The value of all that are there. Several lines of one field arrive joined, and are then no target and no method. */
function one(
  what: string,
  ...values: readonly (string | readonly string[] | undefined)[]
): string | undefined {
  let found: string | undefined;
  for (const value of values) {
    if (value === undefined) continue;
    if (typeof value !== "string" || (found !== undefined && found !== value))
      throw new GatewayError("request_malformed", {
        detail:
          "Two fields tell of different original requests. The proxy in front has to set one and drop the other.",
        reason: `${what}_conflict`,
      });
    found = value;
  }
  return found;
}

/** What node:http parses on the public side. CONNECT never comes to a route there. */
function known(method: string): string {
  if (METHODS.includes(method) && method !== "CONNECT") return method;
  throw new GatewayError("request_malformed", {
    detail: "The original method is none that HTTP knows.",
    reason: "original_method",
  });
}

function missing(reason: string): GatewayError {
  return new GatewayError("request_malformed", {
    detail:
      "The proxy in front has to tell of the original request: X-Original-URI and X-Original-Method, or X-Forwarded-Uri and X-Forwarded-Method.",
    reason,
  });
}
