/** The places of requests at one API, and the open connections to one origin: each carries one request at a time, all are used evenly, none for ever. */

import { Socket } from "node:net";
import { GatewayError } from "../../errors.ts";
import { createBudget, type Exhausted, type Owner } from "../../foundation/budget.ts";
import { createQueue } from "../../foundation/members.ts";
import type { Connect, ConnectAttempt, ProxyServer } from "../../outbound/contract.ts";
import { Client, type Dispatcher, dispatchAuthorized } from "../../outbound/undici.ts";
import type { HeaderLines } from "../contract.ts";

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

/** Who takes a connection. */
export interface Taker {
  connected(connection: Connection): void;
  connectFailed(error: Error): void;
}

export interface Connections {
  /** Hands over a connection: an open one at once, else a new one after the attempt that it gives back. */
  take(taker: Taker): ConnectAttempt | undefined;
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
  const idle = createQueue<Connection>();
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
    take(taker) {
      for (let connection = idle.first(); connection !== undefined; connection = idle.first()) {
        idle.delete(connection);
        if (isUsable(connection)) {
          taker.connected(connection);
          return undefined;
        }
        discard(connection);
      }
      const attempt = options.connect(target, (...[error, socket]) => {
        attempts.delete(attempt);
        if (error === null) taker.connected(opened(socket));
        else taker.connectFailed(error);
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
      for (let connection = idle.first(); connection !== undefined; connection = idle.first())
        discard(connection);
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
  // undici says with each request whether the connection is to hold the process, and a request is held by its own deadline.
  socket.unref();
  socket.ref = socket.unref = asItIs;
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
      interim.expects = true;
      interim.held = undefined;
      const [name, value] = headers;
      const isAuthorized = name === AUTHORIZATION && value !== undefined;
      const others = isAuthorized ? headers.slice(2) : [...headers];
      others.push(...proxyFields);
      const options = {
        origin,
        method: method as Dispatcher.HttpMethod,
        // A proxy that gets the request itself needs the absolute form (RFC 9112 §3.2.2).
        path: proxy === undefined ? path : origin + path,
        headers: others,
        body: body as never,
      };
      if (isAuthorized) dispatchAuthorized(client, options, value, handler);
      else client.dispatch(options, handler);
    },
    close() {
      void client.destroy();
      socket.destroy();
    },
  };
}

/** Stands first where the gateway has added it, see `downstreamRequestHeaders`. */
const AUTHORIZATION = "authorization";
const HEAD_END = Buffer.from("\r\n\r\n");
const VERSION = Buffer.from("HTTP/1.");
/** Bytes of `HTTP/1.1 100`, which decide what kind of answer begins. */
const DECISIVE = 12;

function asItIs(this: Socket): Socket {
  return this;
}

const INTERIM = Symbol("what may come before the final answer");
type Filtered = Socket & { [INTERIM]?: InterimFilter };

/** What is known of the answer that begins on one socket. */
interface InterimFilter {
  readonly maxHeadBytes: number;
  /** Whether interim answers may still come. */
  expects: boolean;
  /** Bytes that do not say yet which kind of answer they begin. */
  held: Buffer | undefined;
}

/**
 * RFC 9110 §15.2: a client must be able to read past interim answers, an unasked `100 Continue` included. undici ends the
 * connection at that one (`onHeadersComplete` of its client-h1.js), so all but 101 are skipped here, wherever the
 * packets are cut. undici reads by `socket.read()` alone, which is why that one method is replaced: by the same function on
 * every socket, so that V8 knows what is called.
 */
function skipInterimAnswers(socket: Socket, maxHeadBytes: number): InterimFilter {
  const filter: InterimFilter = { maxHeadBytes, expects: false, held: undefined };
  (socket as Filtered)[INTERIM] = filter;
  socket.read = readFinal;
  return filter;
}

const readSocket = Socket.prototype.read;

function readFinal(this: Socket, size?: number): Buffer | null {
  const filter = (this as Filtered)[INTERIM];
  for (;;) {
    const chunk = readSocket.call(this, size) as Buffer | null;
    if (chunk === null || filter === undefined || !filter.expects) return chunk;
    const bytes = finalPart(filter, chunk);
    if (bytes !== undefined) return bytes;
  }
}

/** The part of the bytes that belongs to the final answer; undefined while that is not known, or none is here. */
function finalPart(filter: InterimFilter, chunk: Buffer): Buffer | undefined {
  let bytes = filter.held === undefined ? chunk : Buffer.concat([filter.held, chunk]);
  filter.held = undefined;
  while (isInterim(bytes)) {
    const end = bytes.indexOf(HEAD_END);
    if (end === -1 && bytes.length <= filter.maxHeadBytes) {
      filter.held = bytes;
      return undefined;
    }
    if (end === -1) break;
    bytes = bytes.subarray(end + HEAD_END.length);
    if (bytes.length === 0) return undefined;
  }
  if (bytes.length < DECISIVE && mayBecomeInterim(bytes)) {
    filter.held = bytes;
    return undefined;
  }
  filter.expects = false;
  return bytes;
}

function isInterim(bytes: Buffer): boolean {
  // Switching protocols is refused by the HTTP client, for the gateway offers no upgrade.
  return (
    bytes.length >= DECISIVE &&
    bytes[9] === 0x31 &&
    mayBecomeInterim(bytes) &&
    bytes.toString("latin1", 9, 12) !== "101"
  );
}

/** Whether the bytes are the beginning of a head with a status of 1xx, as far as they go. */
function mayBecomeInterim(bytes: Buffer): boolean {
  const known = Math.min(bytes.length, VERSION.length);
  if (bytes.compare(VERSION, 0, known, 0, known) !== 0) return false;
  return bytes.length < 10 || bytes[9] === 0x31;
}

export interface PlaceHolder {
  readonly owner: Owner;
  /** Where it stands; only `Places` changes it. Not a Set of holders, see `createMembers`. */
  standing?: "under way" | "in line" | undefined;
  /** Called when the holder's request may begin: within `enter`, or later. */
  admitted(): void;
}

export interface Places {
  /** Gives a place, or one in line. Otherwise the refusal. */
  enter(holder: PlaceHolder): GatewayError | undefined;
  /** Gives back the holder's place of either kind, and lets the next in line begin. */
  leave(holder: PlaceHolder): void;
  /** Requests under way and in line. */
  taken(): number;
}

export interface PlacesOptions {
  readonly maxUnderWay: number;
  readonly maxWaiting: number;
  readonly userShare: number;
  readonly clientShare: number;
}

/** A caller past its share waits like one at a full API, and only its further requests are refused. */
export function createPlaces({ maxUnderWay, maxWaiting, ...shares }: PlacesOptions): Places {
  const underWay = createBudget({ total: maxUnderWay, ...shares });
  const inLine = createBudget({ total: maxWaiting, ...shares });
  const waiting = createQueue<PlaceHolder>();

  function begin(holder: PlaceHolder): void {
    holder.standing = "under way";
    holder.admitted();
  }

  /** In the order of their arrival, but for those whose caller holds its share of places already. */
  function admitNext(): void {
    let holder = waiting.first();
    while (holder !== undefined && underWay.used() < maxUnderWay) {
      if (underWay.take(holder.owner) !== undefined) {
        holder = waiting.after(holder);
        continue;
      }
      waiting.delete(holder);
      inLine.give(holder.owner);
      begin(holder);
      // From the first again: what has just begun may have failed at once, and let others begin.
      holder = waiting.first();
    }
  }

  return {
    enter(holder) {
      const full = underWay.take(holder.owner);
      if (full === undefined) {
        begin(holder);
        return undefined;
      }
      const crowded = inLine.take(holder.owner);
      if (crowded !== undefined) return refusal(crowded === "process" ? full : crowded);
      holder.standing = "in line";
      waiting.add(holder);
      return undefined;
    },
    leave(holder) {
      const { standing } = holder;
      holder.standing = undefined;
      if (standing === "in line") {
        waiting.delete(holder);
        inLine.give(holder.owner);
      } else if (standing === "under way") {
        underWay.give(holder.owner);
        admitNext();
      }
    },
    taken: () => underWay.used() + inLine.used(),
  };
}

function refusal(exhausted: Exhausted): GatewayError {
  if (exhausted === "process") {
    return new GatewayError("overloaded", {
      detail: "Too many requests are waiting for the downstream API.",
      reason: "downstream_queue_full",
      retryAfterSeconds: 1,
    });
  }
  return new GatewayError("rate_limited", {
    detail: `Too many requests of this ${exhausted} are waiting for the downstream API.`,
    reason: `${exhausted}_share`,
    retryAfterSeconds: 1,
  });
}
