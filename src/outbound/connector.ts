/** Connects to a destination: over TCP or TLS, directly or through the CONNECT tunnel of a forward proxy. */

import { type ClientRequest, type IncomingMessage, request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import type { LookupFunction, Socket } from "node:net";
import type { Connect, ConnectAttempt, ConnectTarget, ProxyFor, ProxyServer } from "./contract.ts";
import { buildConnector } from "./undici.ts";

/** `timeoutMs` for everything but APIs, ms: callers bound each of these requests as a whole besides. */
export const CONNECT_TIMEOUT_MS = 10_000;

export interface ConnectorOptions {
  /** Longest time for one step, ms: connecting to the destination or the proxy, the tunnel, the TLS handshake. */
  readonly timeoutMs: number;
  readonly proxyFor: ProxyFor;
  /** Certificate authorities in PEM to trust instead of the system's, for tests; production sets NODE_EXTRA_CA_CERTS. */
  readonly ca?: string | undefined;
  /** Name resolution of direct connections; the proxy resolves the names that go through it. */
  readonly lookup?: LookupFunction | undefined;
}

/** The proxy did not open a tunnel. */
export class ProxyRefusal extends Error {
  override readonly name = "ProxyRefusal";
  readonly code = "ERR_PROXY_REFUSED";
  /** Status of the proxy's answer. */
  readonly status: number;

  constructor(status: number) {
    super(`the proxy answered ${status} to CONNECT`);
    this.status = status;
  }
}

/** The proxy itself could not be connected to, or gave no answer. */
export class ProxyUnreachable extends Error {
  override readonly name = "ProxyUnreachable";
  readonly code = "ERR_PROXY_UNREACHABLE";

  constructor(cause: Error) {
    super("the proxy could not be reached", { cause });
  }
}

class ConnectTimeout extends Error {
  override readonly name = "ConnectTimeout";
  readonly code = "ETIMEDOUT";
}

export function createConnector({ timeoutMs, proxyFor, ca, lookup }: ConnectorOptions): Connect {
  const tls = {
    timeout: timeoutMs,
    // Said aloud, because the environment (NODE_TLS_REJECT_UNAUTHORIZED) could otherwise say no.
    rejectUnauthorized: true,
    minVersion: "TLSv1.2" as const,
    allowH2: false,
    ...(ca === undefined ? {} : { ca }),
  };
  const overTunnel = connectWith(buildConnector(tls));
  const direct = lookup === undefined ? overTunnel : connectWith(buildConnector({ ...tls, lookup }));

  return (target, callback) => {
    const proxy = proxyFor(new URL(`${target.protocol}//${target.host}`));
    if (proxy === undefined) return direct(target, callback);
    // Requests to http:// name their destination to the proxy themselves (RFC 9112 §3.2.2).
    if (target.protocol === "http:") return direct(addressOf(proxy), callback);
    let current: ConnectAttempt = openTunnel(proxy, target, { timeoutMs, ca }, (...[error, socket]) => {
      if (error !== null) callback(error);
      else current = overTunnel({ ...target, httpSocket: socket }, callback);
    });
    return { destroy: () => current.destroy() };
  };
}

type TunnelledTarget = ConnectTarget & { readonly httpSocket?: Socket };

/** undici's connector gives back its socket, which its types do not say. */
function connectWith(connect: buildConnector.connector) {
  return (target: TunnelledTarget, callback: Parameters<Connect>[1]): ConnectAttempt =>
    connect(target as buildConnector.Options, callback as buildConnector.Callback) as unknown as Socket;
}

function addressOf({ isTls, hostname, port }: ProxyServer): ConnectTarget {
  const host = `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
  return { protocol: isTls ? "https:" : "http:", hostname, host, port: String(port) };
}

/** RFC 9110 §9.3.6. */
export function openTunnel(
  proxy: ProxyServer,
  target: Pick<ConnectTarget, "protocol" | "hostname" | "port">,
  { timeoutMs, ca }: { readonly timeoutMs: number; readonly ca?: string | undefined },
  callback: Parameters<Connect>[1],
): ConnectAttempt {
  const { hostname, port } = target;
  const defaultPort = target.protocol === "https:" ? 443 : 80;
  const authority = `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port || defaultPort}`;
  const request: ClientRequest = (proxy.isTls ? requestHttps : requestHttp)({
    host: proxy.hostname,
    port: proxy.port,
    method: "CONNECT",
    path: authority,
    agent: false,
    headers: {
      host: authority,
      ...(proxy.authorization && { "proxy-authorization": proxy.authorization.reveal() }),
    },
    ...(proxy.isTls && { rejectUnauthorized: true, ...(ca === undefined ? {} : { ca }) }),
  });
  const timer = setTimeout(
    () => request.destroy(new ConnectTimeout("the proxy did not answer in time")),
    timeoutMs,
  );
  const settle = (settled: () => void) => {
    clearTimeout(timer);
    settled();
  };
  let destroyed = false;
  request.on("error", (error) => settle(() => destroyed || callback(new ProxyUnreachable(error))));
  request.once("connect", ({ statusCode = 0 }: IncomingMessage, socket: Socket, head: Buffer) => {
    settle(() => {
      if (statusCode < 200 || statusCode > 299) {
        socket.on("error", () => {}).destroy();
        callback(new ProxyRefusal(statusCode));
        return;
      }
      if (head.length > 0) socket.unshift(head);
      callback(null, socket);
    });
  });
  request.end();
  return {
    destroy() {
      destroyed = true;
      clearTimeout(timer);
      request.destroy();
    },
  };
}
