/** The open connections to one origin: each carries one request at a time, all are used evenly, none for ever. */

import type { Socket } from "node:net";
import type { Connect, ConnectAttempt, ProxyServer } from "../../outbound/contract.ts";
import { Client, type Dispatcher } from "../../outbound/undici.ts";
import type { HeaderLines } from "../contract.ts";
import { skipInterimAnswers } from "./interim-answers.ts";

export interface ConnectionOptions {
  readonly connect: Connect;
  /** How long an unused connection is kept, ms. */
  readonly keepAliveMs: number;
  /** Requests after which a connection is closed; 0 sets no limit. */
  readonly maxRequests: number;
  /** Age at which a connection is closed, ms, as soon as no request is on it. */
  readonly maxAgeMs: number;
  /** Largest header section of an answer, bytes. */
  readonly maxHeaderBytes: number;
  /** The proxy that takes requests to this origin as they are, without a tunnel. */
  readonly proxy: ProxyServer | undefined;
  /** Ms of a clock that only goes forward. */
  readonly now: () => number;
}

export interface OutgoingRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: HeaderLines;
  readonly body: unknown;
}

export interface Connection {
  /** In `now`'s time. */
  readonly bornAt: number;
  /** Requests sent on it so far. */
  requests(): number;
  isClosed(): boolean;
  /** Sends a request; undici calls the handler back. */
  send(request: OutgoingRequest, handler: Dispatcher.DispatchHandler): void;
  close(): void;
}

export interface Connections {
  /** Hands over a connection: an open one at once, else a new one. */
  take(onReady: (connection: Connection) => void, onFailed: (error: Error) => void): ConnectAttempt;
  /** Takes back a connection whose request has ended. */
  giveBack(connection: Connection): void;
  /** Closes a connection that is of no more use. */
  discard(connection: Connection): void;
  /** Connections open or being made. */
  open(): number;
  /** Closes the connections without a request; those with one are closed when they are given back. */
  close(): void;
}

/** The socket closed between two requests, when nothing of the second had been sent. */
class ConnectionLost extends Error {
  override readonly name = "ConnectionLost";
  readonly code = "ECONNRESET";
}

export function createConnections(origin: string, options: ConnectionOptions): Connections {
  const { protocol, host, hostname, port } = new URL(origin);
  const target = { protocol, host, port, hostname: hostname.replace(/^\[|\]$/g, "") };
  const { maxRequests, maxAgeMs, now } = options;
  /** In the order of their last use: the first has rested longest and is used next. */
  const idle = new Set<Connection>();
  const connected = new Set<Connection>();
  const attempts = new Set<ConnectAttempt>();
  let closing = false;

  function isUsable(connection: Connection): boolean {
    if (connection.isClosed() || closing) return false;
    return (maxRequests === 0 || connection.requests() < maxRequests) && now() - connection.bornAt < maxAgeMs;
  }

  function discard(connection: Connection): void {
    idle.delete(connection);
    connected.delete(connection);
    connection.close();
  }

  function opened(socket: Socket): Connection {
    const connection = openConnection(origin, socket, options, () => discard(connection));
    connected.add(connection);
    return connection;
  }

  return {
    take(onReady, onFailed) {
      for (const connection of idle) {
        idle.delete(connection);
        if (isUsable(connection)) {
          onReady(connection);
          return { destroy() {} };
        }
        discard(connection);
      }
      const attempt = options.connect(target, (...[error, socket]) => {
        attempts.delete(attempt);
        if (error === null) onReady(opened(socket));
        else onFailed(error);
      });
      attempts.add(attempt);
      return {
        destroy() {
          attempts.delete(attempt);
          attempt.destroy();
        },
      };
    },
    giveBack(connection) {
      if (isUsable(connection)) idle.add(connection);
      else discard(connection);
    },
    discard,
    open: () => connected.size + attempts.size,
    close() {
      closing = true;
      for (const connection of idle) discard(connection);
    },
  };
}

/** @param onClosed Called when the connection has gone, whichever side closed it. */
function openConnection(
  origin: string,
  socket: Socket,
  { keepAliveMs, maxHeaderBytes, proxy, now }: ConnectionOptions,
  onClosed: () => void,
): Connection {
  const interim = skipInterimAnswers(socket, maxHeaderBytes);
  const proxyFields =
    proxy?.authorization === undefined ? [] : ["proxy-authorization", proxy.authorization.reveal()];
  const bornAt = now();
  let requests = 0;
  let handedOver = false;
  const client = new Client(origin, {
    connect: ((_target: unknown, callback: (error: Error | null, given: Socket | null) => void) => {
      const isFirst = !handedOver;
      handedOver = true;
      // Not at once: undici overlooks a callback that comes while it still asks.
      queueMicrotask(() => (isFirst ? callback(null, socket) : callback(new ConnectionLost("closed"), null)));
    }) as never,
    // One request at a time on a connection: a slow answer must not hold up another user's.
    pipelining: 1,
    maxHeaderSize: maxHeaderBytes,
    keepAliveTimeout: keepAliveMs,
    keepAliveMaxTimeout: keepAliveMs,
    // The senders keep time themselves, per request and to the millisecond.
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  client.on("disconnect", onClosed).on("connectionError", onClosed);

  return {
    bornAt,
    requests: () => requests,
    isClosed: () => socket.destroyed,
    send({ method, path, headers, body }, handler) {
      requests += 1;
      interim.expectAnswer();
      client.dispatch(
        {
          origin,
          method: method as Dispatcher.HttpMethod,
          // A proxy that gets the request itself needs the absolute form (RFC 9112 §3.2.2).
          path: proxy === undefined ? path : origin + path,
          headers: (proxyFields.length === 0 ? headers : [...headers, ...proxyFields]) as string[],
          body: body as never,
        },
        handler,
      );
    },
    close() {
      void client.destroy();
      socket.destroy();
    },
  };
}
