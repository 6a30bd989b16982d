/** How the gateway reaches everything outside it: by way of the environment's proxies, or directly. */

import type { Agent } from "node:http";
import type { AgentOptions } from "node:https";
import type { Fetch } from "../foundation/bounded-fetch.ts";
import { createProxyAgent } from "./agent.ts";
import type { ProxyFor, ProxyOptions } from "./contract.ts";
import { createOutboundFetch } from "./fetch.ts";
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

/** Where the environment names no proxy, `fetch` is Node's own and nothing of undici is loaded for it. */
export function openOutbound(proxies: ProxyOptions | undefined): Outbound {
  const proxyFor = createProxyRules(proxies);
  const opened = proxies && {
    proxied: createOutboundFetch({ proxyFor }),
    direct: createOutboundFetch({ proxyFor: () => undefined }),
  };
  return {
    proxyFor,
    fetch: opened?.proxied.fetch ?? globalThis.fetch,
    directFetch: opened?.direct.fetch ?? globalThis.fetch,
    agentFor(destination, options) {
      const proxy = proxyFor(destination);
      return proxy && createProxyAgent(proxy, destination, options);
    },
    async close() {
      await Promise.all([opened?.proxied.close(), opened?.direct.close()]);
    },
  };
}
