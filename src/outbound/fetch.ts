/** `fetch` by way of the environment's proxies, for everything outside the APIs: Entra, its keys, token platforms. */

import type { Fetch } from "../foundation/bounded-fetch.ts";
import { CONNECT_TIMEOUT_MS, createConnector, openTunnel } from "./connector.ts";
import type { Connect, ProxyFor } from "./contract.ts";
import { loadAgent } from "./undici.ts";

export interface OutboundFetch {
  readonly fetch: Fetch;
  close(): Promise<void>;
}

/** Callers bound each request in time and size; see `boundedFetch`. */
export async function createOutboundFetch(options: {
  readonly proxyFor: ProxyFor;
  readonly ca?: string | undefined;
}): Promise<OutboundFetch> {
  const { proxyFor, ca } = options;
  const limits = { timeoutMs: CONNECT_TIMEOUT_MS, ca };
  const connect = createConnector({ ...limits, proxyFor });
  const connectOrTunnel: Connect = (target, callback) => {
    // `fetch` writes requests in origin form, which proxies do not take (RFC 9112 §3.2.1), so http:// gets a tunnel, too.
    const proxy = target.protocol === "http:" ? proxyFor(new URL(`http://${target.host}`)) : undefined;
    return proxy === undefined ? connect(target, callback) : openTunnel(proxy, target, limits, callback);
  };
  const Agent = await loadAgent();
  const agent = new Agent({ connect: connectOrTunnel as never });
  return {
    fetch: (input, init) => fetch(input, { ...init, dispatcher: agent } as unknown as RequestInit),
    close: () => agent.close(),
  };
}
