/** How an API is spoken to: as Microsoft Graph, as another OData API, or as any HTTP API. */

import type { DownstreamApiOptions } from "../contract.ts";

/** Microsoft Graph in its clouds (Graph, "Microsoft Graph and Graph Explorer service root endpoints"). */
const GRAPH_HOSTS: ReadonlySet<string> = new Set([
  "graph.microsoft.com",
  "graph.microsoft.us",
  "dod-graph.microsoft.us",
  "microsoftgraph.chinacloudapi.cn",
]);

type Kind = Pick<DownstreamApiOptions, "kind" | "baseUrl">;

/** Whether an API is Microsoft Graph: where configuration says so, and where it says nothing but the host does. */
export function isGraph({ kind, baseUrl }: Kind): boolean {
  return kind === undefined ? GRAPH_HOSTS.has(new URL(baseUrl).hostname) : kind === "graph";
}

/** Whether an API's paths and links follow OData: Graph's do. */
export function readsOData(api: Kind): boolean {
  return api.kind === "odata" || isGraph(api);
}
