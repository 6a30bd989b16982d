/** What is special about Microsoft Graph: pages and deltas are linked by absolute URLs, and `$batch` hides requests. */

import type { AnswerHeaders, ApiBase, DownstreamApiOptions, RewriteAnswer, Target } from "../contract.ts";
import { isGraph, namesBatch, readBaseUrl } from "../target/downstream-api.ts";
import { readRequestTarget } from "../target/request-target.ts";
import { createLinkRewriter } from "./link-rewriter.ts";

/** Whether a target is Graph's `$batch`, however it is spelt. */
export function isBatchTarget({ path, api }: Target): boolean {
  return namesBatch(readRequestTarget(path, api.encodedSlashes));
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
  const graph = isGraph(api);
  const change = {
    from: `${base.origin}${base.path}/`,
    to: `${mount}/`,
    rewrite: (link: string) => gatewayLink(base, mount, link),
  };
  const field = (name: string, value: string, status: number): string => {
    if (!LINK_FIELDS.has(name)) return value;
    if (!value.startsWith("/") || value.startsWith("//")) return gatewayLink(base, mount, value);
    // Graph writes the location of what it made, or is about to make, below its version root: `/teams('1')/operations('2')`.
    const isBelowRoot =
      graph && name === "location" && (status === 201 || status === 202) && !isBelow(base, value);
    const absolute = base.origin + (isBelowRoot ? base.path : "") + value;
    const link = gatewayLink(base, mount, absolute);
    return link === absolute ? value : link;
  };
  return {
    body: (status, headers) => (holdsLinks(status, headers) ? createLinkRewriter(change) : undefined),
    field,
    fields(status, headers) {
      let changed: Record<string, string | readonly string[]> | undefined;
      for (const name of LINK_FIELDS) {
        const value = headers[name];
        if (typeof value !== "string") continue;
        const link = field(name, value, status);
        if (link === value) continue;
        changed ??= { ...headers };
        changed[name] = link;
      }
      return changed ?? headers;
    },
  };
}

/** Fields that hold the address of a resource, or of an operation to be asked about. */
const LINK_FIELDS: ReadonlySet<string> = new Set([
  "location",
  "content-location",
  "operation-location",
  "azure-asyncoperation",
  "odata-entityid",
]);

/** The caller's address of a link of the API, or the link itself when it leads elsewhere. */
export function gatewayLink(base: ApiBase, mount: string, link: string): string {
  // Other links cannot be the API's, and a parser costs much.
  if (!link.slice(0, base.origin.length).toLowerCase().startsWith(base.origin)) return link;
  if (!URL.canParse(link)) return link;
  const { origin, pathname, username, password } = new URL(link);
  const written = link.slice(link.indexOf("/", link.indexOf("//") + 2));
  // Both as the parser reads it and as it is written, so that dot segments cannot lead out of the base.
  const leadsBelow = isBelow(base, pathname) && isBelow(base, written);
  if (origin !== base.origin || !leadsBelow || username + password !== "") return link;
  return mount + written.slice(base.path.length);
}

function isBelow(base: ApiBase, path: string): boolean {
  return path.startsWith(`${base.path}/`);
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
