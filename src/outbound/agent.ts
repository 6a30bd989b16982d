/** An agent for node:http and node:https that goes through the environment's proxy, for libraries that take one. */

import { type ClientRequest, Agent as HttpAgent } from "node:http";
import { type AgentOptions, Agent as HttpsAgent } from "node:https";
import { connect as connectTcp, type Socket } from "node:net";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import { CONNECT_TIMEOUT_MS, openTunnel } from "./connector.ts";
import type { ProxyServer } from "./contract.ts";

/** An agent for requests to one destination, all of which go through the proxy. */
export function createProxyAgent(proxy: ProxyServer, destination: URL, options: AgentOptions): HttpAgent {
  return destination.protocol === "https:"
    ? tunnelAgent(proxy, destination, options)
    : absoluteFormAgent(proxy, destination, options);
}

type Connected = (error: Error | null, socket?: Socket) => void;

function tunnelAgent(
  proxy: ProxyServer,
  { protocol, hostname, port }: URL,
  options: AgentOptions,
): HttpsAgent {
  const target = { protocol, hostname: hostname.replace(/^\[|\]$/g, ""), port };
  return Object.assign(new HttpsAgent(options), {
    createConnection(connection: ConnectionOptions, connected: Connected) {
      openTunnel(proxy, target, { timeoutMs: CONNECT_TIMEOUT_MS }, (...[error, socket]) => {
        if (error === null) connected(null, connectTls({ ...connection, socket }));
        else connected(error);
      });
    },
  });
}

/** RFC 9112 §3.2.2: a request that a proxy gets itself names its destination in full. */
function absoluteFormAgent(proxy: ProxyServer, { origin }: URL, options: AgentOptions): HttpAgent {
  const agent = new HttpAgent(options) as HttpAgent & {
    addRequest(request: ClientRequest, connection: object): void;
  };
  const addRequest = agent.addRequest.bind(agent);
  return Object.assign(agent, {
    addRequest(request: ClientRequest, connection: object) {
      request.path = origin + request.path;
      if (proxy.authorization !== undefined)
        request.setHeader("proxy-authorization", proxy.authorization.reveal());
      addRequest(request, connection);
    },
    createConnection: () =>
      proxy.isTls
        ? connectTls({ host: proxy.hostname, port: proxy.port, servername: proxy.hostname })
        : connectTcp({ host: proxy.hostname, port: proxy.port }),
  });
}
