/** What is special about Microsoft Graph: pages and deltas are linked by absolute URLs, and `$batch` hides requests. */

import type { AnswerHeaders, ApiBase, DownstreamApiOptions, RewriteAnswer, Target } from "../contract.ts";
import { readBaseUrl } from "../target/downstream-api.ts";
import { readRequestTarget } from "../target/request-target.ts";
import { namesBatch } from "./batch-request.ts";
import { createLinkRewriter } from "./link-rewriter.ts";

/** Microsoft Graph in its clouds (Graph, "Microsoft Graph and Graph Explorer service root endpoints"). */
const GRAPH_HOSTS: ReadonlySet<string> = new Set([
  "graph.microsoft.com",
  "graph.microsoft.us",
  "dod-graph.microsoft.us",
  "microsoftgraph.chinacloudapi.cn",
]);

/** Whether an API is spoken to as Graph: where configuration says so, and where it says nothing but the host does. */
export function isGraph({ kind, baseUrl }: Pick<DownstreamApiOptions, "kind" | "baseUrl">): boolean {
  return kind === undefined ? GRAPH_HOSTS.has(new URL(baseUrl).hostname) : kind === "graph";
}

/** Whether a target is Graph's `$batch`, however it is spelt. */
export function isBatchTarget({ path }: Target): boolean {
  return namesBatch(readRequestTarget(path).segments);
}

/**
 * Points links below the API's base at the gateway instead, where they come back through the route's own rules.
 * Links to anywhere else are left as they are.
 *
 * Only whole JSON answers in UTF-8 are looked into, and none that is compressed: `identityCoding` asks for that.
 *
 * @param mount The route's address as callers reach it, without a trailing slash: `https://api.example/graph`.
 */
export function createLinkRewrite(api: DownstreamApiOptions, mount: string): RewriteAnswer {
  const base = readBaseUrl(api);
  const rewrite = (link: string) => gatewayLink(base, mount, link);
  return (status, headers) => (holdsLinks(status, headers) ? createLinkRewriter(rewrite) : undefined);
}

/** The caller's address of a link of the API, or the link itself when it leads elsewhere. */
export function gatewayLink(base: ApiBase, mount: string, link: string): string {
  if (!URL.canParse(link)) return link;
  const { origin, pathname, username, password } = new URL(link);
  const written = link.slice(link.indexOf("/", link.indexOf("//") + 2));
  // Both as the parser reads it and as it is written, so that dot segments cannot lead out of the base.
  const isBelow = pathname.startsWith(`${base.path}/`) && written.startsWith(`${base.path}/`);
  if (origin !== base.origin || !isBelow || username + password !== "") return link;
  return mount + written.slice(base.path.length);
}

function holdsLinks(status: number, headers: AnswerHeaders): boolean {
  if (status !== 200 || headers["content-range"] !== undefined) return false;
  const coding = headers["content-encoding"] ?? "identity";
  const type = headers["content-type"];
  return typeof type === "string" && isUtf8Json(type) && coding === "identity";
}

/** Few servers know more than a handful of spellings. */
const knownTypes = new Map<string, boolean>();
const MAX_KNOWN_TYPES = 64;

function isUtf8Json(contentType: string): boolean {
  let verdict = knownTypes.get(contentType);
  if (verdict === undefined) {
    verdict = readsAsUtf8Json(contentType);
    if (knownTypes.size < MAX_KNOWN_TYPES && contentType.length <= 128) knownTypes.set(contentType, verdict);
  }
  return verdict;
}

function readsAsUtf8Json(contentType: string): boolean {
  const [type = "", ...parameters] = contentType.toLowerCase().split(";");
  if (!/^\s*application\/(?:[\w.+-]+\+)?json\s*$/.test(type)) return false;
  const charset = parameters.map((text) => text.trim()).find((text) => text.startsWith("charset="));
  return charset === undefined || /^charset="?utf-8"?$/.test(charset);
}
