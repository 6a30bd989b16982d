/** How the gateway reaches everything outside it: by way of the environment's proxies, or directly. */

import type { Agent } from "node:http";
import type { AgentOptions } from "node:https";
import type { Fetch } from "../foundation/bounded-fetch.ts";
import type { ProxyFor, ProxyOptions } from "./contract.ts";
import { createProxyRules } from "./proxies.ts";

export interface Outbound {
  readonly proxyFor: ProxyFor;
  /** For the authority and everything else on the network. */
  readonly fetch: Fetch;
  /** For managed identity, whose endpoints answer to the machine itself. Never goes through a proxy. */
  readonly directFetch: Fetch;
  /** For libraries that send with node:http; undefined where the destination is connected to directly. */
  agentFor(destination: URL, options: AgentOptions): Agent | undefined;
  close(): Promise<void>;
}

/** Where the environment names no proxy, `fetch` is Node's own and nothing is loaded for proxies. */
export async function openOutbound(proxies: ProxyOptions | undefined): Promise<Outbound> {
  const proxyFor = createProxyRules(proxies);
  const opened = proxies && (await openProxied(proxyFor));
  return {
    proxyFor,
    fetch: opened?.proxied.fetch ?? globalThis.fetch,
    directFetch: opened?.direct.fetch ?? globalThis.fetch,
    agentFor(destination, options) {
      const proxy = proxyFor(destination);
      return proxy && opened?.createProxyAgent(proxy, destination, options);
    },
    async close() {
      await Promise.all([opened?.proxied.close(), opened?.direct.close()]);
    },
  };
}

async function openProxied(proxyFor: ProxyFor) {
  const { createOutboundFetch } = await import("./fetch.ts");
  const { createProxyAgent } = await import("./agent.ts");
  const proxied = await createOutboundFetch({ proxyFor });
  const direct = await createOutboundFetch({ proxyFor: () => undefined });
  return { proxied, direct, createProxyAgent };
}
