/** Cross-origin calls of browsers, where configuration names the origins. */

import cors from "cors";
import type { RequestHandler } from "express";

export interface CrossOriginOptions {
  /** Origins as browsers send them; `*` stands for one leftmost label of a host. */
  readonly origins: readonly string[];
  readonly maxAgeSeconds: number;
  /** Header fields of answers that scripts may read, besides those of `ALWAYS_EXPOSED`. */
  readonly exposedHeaders: readonly string[];
}

/** What a script needs so that it can act on a challenge or a throttle, and name the request to somebody. */
const ALWAYS_EXPOSED = [
  "www-authenticate",
  "retry-after",
  "ratelimit",
  "ratelimit-policy",
  "x-correlation-id",
];

export function crossOrigin({ origins, maxAgeSeconds, exposedHeaders }: CrossOriginOptions): RequestHandler {
  return cors({
    origin: origins.map(matcherOf),
    maxAge: maxAgeSeconds,
    exposedHeaders: [...new Set([...ALWAYS_EXPOSED, ...exposedHeaders.map((name) => name.toLowerCase())])],
  });
}

/** Fields of the Model Context Protocol that scripts read from an answer. */
const MCP_FIELDS = ["mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name", "last-event-id"];

/** The same options where a route speaks that protocol, whatever fields the file names. */
export function withMcpFields(options: CrossOriginOptions): CrossOriginOptions {
  return { ...options, exposedHeaders: [...options.exposedHeaders, ...MCP_FIELDS] };
}

/** A label holds no dot, so `https://*.example.org` does not match `https://a.b.example.org`, nor `https://example.org`. */
function matcherOf(origin: string): string | RegExp {
  if (!origin.includes("*")) return origin;
  const [before = "", after = ""] = origin
    .split("*")
    .map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${before}[a-z0-9-]+${after}$`);
}
