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
  close(): void;
}

export function openOutbound(proxies: ProxyOptions | undefined): Outbound {
  const proxyFor = createProxyRules(proxies);
  const direct = createOutboundFetch({ proxyFor: () => undefined });
  const chosen = proxies === undefined ? direct : createOutboundFetch({ proxyFor });
  return {
    proxyFor,
    fetch: chosen.fetch,
    directFetch: direct.fetch,
    agentFor(destination, options) {
      const proxy = proxyFor(destination);
      return proxy && createProxyAgent(proxy, destination, options);
    },
    close() {
      chosen.close();
      direct.close();
    },
  };
}
