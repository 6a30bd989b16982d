/** The public listener with its limits, and its graceful end: requests in flight finish, late ones are refused. */

import { chmod, lstat, unlink } from "node:fs/promises";
import {
  createServer,
  IncomingMessage,
  type RequestListener,
  type Server,
  type ServerOptions,
  ServerResponse,
} from "node:http";
import { type AddressInfo, connect, Server as NetServer, type Socket } from "node:net";
import type { OwnFields } from "../downstream/contract.ts";
import { ConfigurationError } from "../errors.ts";
import { connectionsFor, type FileDescriptors, readFileDescriptors } from "../foundation/file-descriptors.ts";
import { createMembers } from "../foundation/members.ts";
import { loopTurns } from "../foundation/turns.ts";
import { type Connection, type Connections, connectionOf, watchConnections } from "./connection.ts";
import type { ConnectionEvent, ConnectionLimits, ConnectionRoom, Overload } from "./contract.ts";
import { hasTooManyFields, MOST_FIELDS, userOf } from "./pipeline.ts";
import { joinTinyChunks } from "./tiny-chunks.ts";
import { destroyAfterWhile, endUnparsable } from "./unparsable.ts";

/** Where a listener stands. */
export interface Place {
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  /** Path of a Unix socket, which then stands in the place of host and port. */
  readonly socket?: string | undefined;
  /** The variable that a conflict should be blamed on. */
  readonly setting: "PORT" | "ADMIN_PORT" | "LOCAL_PORT" | "LOCAL_SOCKET";
}

export interface ListenOptions extends Place {
  /** Answers a request that arrives when the time for new work is over. */
  readonly refuse: RequestListener;
  readonly connections: ConnectionLimits;
  /** Asked for each connection how many are taken now. Default: `connections.max`. */
  readonly room?: (() => ConnectionRoom) | undefined;
  readonly onConnection?: ((event: ConnectionEvent) => void) | undefined;
  /** Said also to what never becomes a request. Default: nothing. */
  readonly own?: OwnFields | undefined;
  /** Asked before anything of a request is looked at: whether `shed` is to answer it. */
  readonly overload?: Overload | undefined;
  /** The user of a request whose token was verified before. Default: none is known, and all requests wait in one line. */
  readonly recognize?: ((request: IncomingMessage) => string | undefined) | undefined;
  /** The user that the caller of such a request claims to be. Default: none is claimed, and those who are not known wait in one line. */
  readonly claimedUser?: ((request: IncomingMessage) => string | undefined) | undefined;
}

export interface Listening {
  /** 0 for a Unix socket. */
  readonly port: number;
  /**
   * Accepts connections for another tenth of the grace, 2.5 s at most, so that a balancer that has not noticed yet
   * loses nothing; then resolves when every request in flight has been answered, or after `graceMs`, when what is
   * left is cut. Requests that still arrive on kept-alive connections are served in the first half of the grace, and
   * refused in the second; either answer is the last one of its connection.
   */
  drain(graceMs: number): Promise<void>;
}

/** Bytes of all request headers: a genuine token of a user in 200 groups is up to 16 KB, accepted are 24 KiB. */
const MAX_HEADER_BYTES = 32 * 1024;

/** @throws {ConfigurationError} when the address cannot be had. */
export async function listen(handler: RequestListener, options: ListenOptions): Promise<Listening> {
  const {
    onConnection = () => {},
    overload,
    own,
    connections: limits,
    recognize = () => undefined,
    claimedUser = () => undefined,
  } = options;
  const { admit, left, isRefusing, drain } = createDrain();

  const run = (request: IncomingMessage, response: ServerResponse, waitedMs: number) => {
    if (isRefusing()) options.refuse(request, response);
    else if (overload !== undefined && isTooMuch(overload.load, waitedMs)) overload.shed(request, response);
    else handler(request, response);
  };
  const serve: RequestListener = (request, response) => {
    const connection = connectionOf(request.socket);
    if (connection?.hasEnded() === true || !admit(response)) return;
    const place = connection?.arrived(response) ?? "runs";
    if (place === "ignored") {
      left(response);
      return;
    }
    response.on("close", () => {
      left(response);
      connection?.left(response);
    });
    if (response.socket === null) closeWithConnection(response);
    if (isLastByNode(response)) response.shouldKeepAlive = false;
    // Its length may be among the fields that were dropped, so that none of what follows is looked at.
    if (hasTooManyFields(request)) connection?.endBehind(response);
    else if (announcesBody(request)) watchBody(request, response, connection);
    if (place === "runs") run(request, response, 0);
    else if (place === "refused" && overload !== undefined) overload.refuseToWait(request, response);
    else if (place === "refused") request.socket.destroy();
  };
  const connections = watchConnections({
    limits,
    room: options.room,
    run,
    turns: loopTurns,
    recognize,
    claimedUser,
    userOf,
    onEvent: onConnection,
  });
  const server = createServer(
    {
      ...messageClasses(handler),
      maxHeaderSize: MAX_HEADER_BYTES,
      ...timesOf(limits),
      // The app looks at it itself, and answers like any other refusal.
      requireHostHeader: false,
    },
    serve,
  );
  // RFC 9110 §10.1.1 permits 417 and does not ask for it. Node would give it by itself, without a line in the log.
  server.on("checkExpectation", serve);
  // Node drops what comes past this number without a word, `Content-Length` among it. The app refuses so many.
  server.maxHeadersCount = MOST_FIELDS + 1;
  server.maxRequestsPerSocket = limits.maxRequests;
  server.on("connection", connections.opened);
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) => {
    const connection = connectionOf(socket);
    if (connection?.hasEnded() === false) endUnparsable(error, connection, own?.lines ?? []);
    // The caller has left in the middle of a request that would not be processed; what is being written goes out.
    else if (socket.readableEnded && !socket.writableEnded) socket.destroy();
  });
  await bind(server, options).catch((error: unknown) => {
    connections.close();
    throw error;
  });

  return {
    port: portOf(server.address()),
    async drain(graceMs) {
      connections.drain();
      await drain(server, connections, graceMs);
      connections.close();
    },
  };
}

function isTooMuch({ isShedding, longestWaitMs }: Overload["load"], waitedMs: number): boolean {
  return isShedding || waitedMs >= longestWaitMs;
}

function portOf(address: AddressInfo | string | null): number {
  return address === null || typeof address === "string" ? 0 : address.port;
}

/** Node announces the end of a connection after `maxRequestsPerSocket`, but leaves it open to answer 503 on it by itself. */
function isLastByNode(response: ServerResponse): boolean {
  // No type declares what node:http has set on it.
  return "maxRequestsOnConnectionReached" in response && response.maxRequestsOnConnectionReached === true;
}

function timesOf({
  headersTimeoutSeconds,
  requestTimeoutSeconds,
  keepAliveTimeoutSeconds,
}: ConnectionLimits): ServerOptions {
  return {
    headersTimeout: headersTimeoutSeconds * 1000,
    // A body may be long on its way; the forwarder bounds the pauses in it.
    requestTimeout: requestTimeoutSeconds * 1000,
    keepAliveTimeout: keepAliveTimeoutSeconds * 1000,
    // Node looks every half minute by default, which would add that to each of these times.
    connectionsCheckingInterval: headersTimeoutSeconds * 250,
  };
}

/** RFC 9112 §6.3: without either field there is none. */
function announcesBody({ headers }: IncomingMessage): boolean {
  return headers["content-length"] !== undefined || headers["transfer-encoding"] !== undefined;
}

function watchBody(
  request: IncomingMessage,
  response: ServerResponse,
  connection: Connection | undefined,
): void {
  if (mayBeLong(request)) connection?.readInTurns(request);
  if (request.headers["transfer-encoding"] !== undefined) joinTinyChunks(request, connection?.tinyChunk);
  response.once("finish", () => {
    // Node reads what is left of a body, for the caller reads the answer when it has sent all; but for ever.
    if (!request.complete) destroyAfterWhile(request.socket, request);
  });
}

/** A body of this size, bytes, comes in one read of the system. */
const SHORT_BODY = 65_536;

function mayBeLong({ headers }: IncomingMessage): boolean {
  const length = headers["content-length"];
  return length === undefined || !(Number(length) <= SHORT_BODY);
}

/** `::` takes IPv4 callers as well; where a machine knows no IPv6, all of its addresses are `0.0.0.0`. */
async function bind(server: Server, options: ListenOptions): Promise<void> {
  const { host, port, socket } = options;
  try {
    if (socket !== undefined) return await bindToSocket(server, socket);
    await bindTo(server, host, port).catch((error: NodeJS.ErrnoException) => {
      if (host !== "::" || error.code !== "EAFNOSUPPORT") throw error;
      return bindTo(server, "0.0.0.0", port);
    });
  } catch (cause) {
    throw notBound(cause as NodeJS.ErrnoException, options);
  }
}

function bindTo(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

/** Owner and group may connect. Every program that can connect can ask for tokens, so others may not. */
const SOCKET_MODE = 0o660;

/** The mode is right from the first moment on: there is no time in which others could connect. */
async function bindToSocket(server: Server, path: string): Promise<void> {
  await removeDeadSocket(path);
  const before = process.umask(0o777 & ~SOCKET_MODE);
  try {
    // node:http makes the socket before this returns; what it has to tell comes later.
    const bound = bindToPath(server, path);
    process.umask(before);
    await bound;
  } finally {
    process.umask(before);
  }
  await chmod(path, SOCKET_MODE);
}

function bindToPath(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

/** A process that was killed leaves its socket behind; one that answers belongs to another process. */
async function removeDeadSocket(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined || !found.isSocket()) return;
  const isDead = await new Promise<boolean>((resolve) => {
    const probe = connect(path);
    probe.once("connect", () => resolve(false)).once("error", () => resolve(true));
    probe.once("connect", () => probe.destroy());
  });
  if (isDead) await unlink(path).catch(() => {});
}

export type Bound = Place;

/** Why an address cannot be had, and which setting to change. */
export function notBound(
  cause: NodeJS.ErrnoException,
  { host, port, socket, setting }: Bound,
): ConfigurationError {
  if (socket !== undefined) {
    const reasons: Readonly<Record<string, string>> = {
      EADDRINUSE: `${socket} is in use; stop the other process, or remove the file if it is no socket`,
      EACCES: `this process may not make ${socket}`,
      ENOENT: `the directory of ${socket} does not exist`,
    };
    const problem =
      reasons[cause.code ?? ""] ?? `cannot listen on ${socket} (${cause.code ?? cause.message})`;
    return new ConfigurationError([{ path: setting, problem }], { cause });
  }
  const why: Readonly<Record<string, string>> = {
    EADDRINUSE: `port ${port} on ${host} is in use; stop the other process or set another ${setting}`,
    EACCES: `port ${port} needs privileges that this process lacks; set ${setting} above 1023`,
  };
  const path = ["EADDRNOTAVAIL", "ENOTFOUND", "EAFNOSUPPORT"].includes(cause.code ?? "") ? "HOST" : setting;
  const problem =
    why[cause.code ?? ""] ?? `cannot listen on ${host}:${port} (${cause.code ?? cause.message})`;
  return new ConfigurationError([{ path, problem }], { cause });
}

export interface Drain {
  /**
   * Takes note of a request's response. One that is not admitted must be left alone: an earlier answer has said that
   * nothing after it would be processed (RFC 9112 §9.6), so its caller may repeat it.
   */
  admit(response: ServerResponse): boolean;
  /** Takes note that an admitted response is closed. */
  left(response: ServerResponse): void;
  /** Whether the time for new work is over, so that a request which begins now is refused. */
  isRefusing(): boolean;
  /** See `Listening`. */
  drain(server: Server, connections: Connections, graceMs: number): Promise<void>;
}

/** Longest time that balancers get to turn away, ms. */
const TURN_AWAY_LIMIT_MS = 2_500;

export function createDrain(): Drain {
  const inFlight = createMembers<ServerResponse>();
  /** The response on each connection that says it is the last. */
  const last = new WeakMap<Socket, ServerResponse>();
  let phase: "serving" | "draining" | "refusing" = "serving";
  let wasEmptied = () => {};

  function makeLast(response: ServerResponse, socket: Socket): void {
    // Of requests in a pipeline, all of which are under way already, only the last may say so.
    last.get(socket)?.removeHeader("connection");
    response.setHeader("connection", "close");
    last.set(socket, response);
  }

  return {
    admit(response) {
      const { socket } = response.req;
      if (phase !== "serving" && last.get(socket)?.headersSent === true) return false;
      inFlight.add(response);
      if (phase !== "serving") makeLast(response, socket);
      return true;
    },
    left(response) {
      inFlight.delete(response);
      if (phase !== "serving" && inFlight.size === 0) wasEmptied();
    },
    isRefusing: () => phase === "refusing",
    async drain(server, connections, graceMs) {
      const turnAwayMs = Math.min(graceMs / 10, TURN_AWAY_LIMIT_MS);
      phase = "draining";
      for (const response of inFlight) {
        const { socket } = response.req;
        // An answer that says it is the last would take those behind it along.
        if (connectionOf(socket)?.newest() === response && !response.headersSent) makeLast(response, socket);
      }
      const late = setTimeout(() => {
        phase = "refusing";
      }, graceMs / 2);
      let isOver = graceMs === 0;
      const over = new Promise<void>((resolve) => {
        setTimeout(() => {
          isOver = true;
          resolve();
        }, graceMs).unref();
      });

      // An idle connection may have a request on its way, and a balancer may be about to open one.
      await Promise.race([pause(turnAwayMs), over]);
      // Not `Server.close` of node:http: it takes a connection for idle whose answer is written, but not sent yet.
      const closed = new Promise<void>((resolve) => NetServer.prototype.close.call(server, () => resolve()));
      const closeIdle = () => {
        if (!connections.hasUnread()) server.closeIdleConnections();
      };
      closeIdle();
      while (!isOver) {
        if (inFlight.size > 0)
          await Promise.race([
            new Promise<void>((resolve) => {
              wasEmptied = resolve;
            }),
            over,
          ]);
        closeIdle();
        // A connection that is still open was not announced to close: it carries a stream, or sends its first head.
        await Promise.race([closed, pause(turnAwayMs), over]);
        if (inFlight.size === 0) break;
      }
      clearTimeout(late);
      server.closeAllConnections();
      // Stops what node:http does at intervals.
      server.close();
      await closed;
    },
  };
}

function pause(ms: number): Promise<void> {
  // Open connections, or the listener itself, hold the process while it matters.
  return new Promise((resolve) => void setTimeout(resolve, ms).unref());
}

const queues = new WeakMap<Socket, Set<ServerResponse>>();

/**
 * Lets a response that has no connection yet emit `close` when the connection goes before its turn comes, as the one
 * whose turn it is does. Code that counts, logs or gives up requests learns of the end by that event alone.
 */
export function closeWithConnection(response: ServerResponse): void {
  const { socket } = response.req;
  const queue = queues.get(socket) ?? new Set();
  if (!queues.has(socket)) {
    queues.set(socket, queue);
    socket.once("close", () => {
      for (const queued of queue) {
        // node:http notifies the one that has the connection by now.
        if (queued.socket !== null || queued.writableFinished) continue;
        queued.destroy();
        queued.emit("close");
      }
    });
  }
  queue.add(response);
  response.once("close", () => queue.delete(response));
}

/**
 * Express gives each request and response the prototypes `app.request` and `app.response`. Changing the prototype of
 * a living object sends every later access to it down V8's slow path. Here the server constructs them with those
 * prototypes, which makes Express' own assignment a no-op. Any other listener gets node:http's classes.
 */
export function messageClasses(listener: RequestListener): ServerOptions {
  const app = listener as { request?: object; response?: object };
  if (app.request === undefined || app.response === undefined) return {};

  class ExpressRequest extends IncomingMessage {}
  class ExpressResponse extends ServerResponse {}
  app.request = Object.setPrototypeOf(ExpressRequest.prototype, app.request);
  app.response = Object.setPrototypeOf(ExpressResponse.prototype, app.response);
  return { IncomingMessage: ExpressRequest, ServerResponse: ExpressResponse as typeof ServerResponse };
}

/** Below it an ordinary front end with its keep-alive connections is turned away. */
const FEW_CONNECTIONS = 256;
/** How long a limit that was read is believed, ms: it can be lowered while the process runs. */
const BELIEVED_MS = 250;

type Warn = (facts: object, message: string) => void;

/**
 * Asked for each connection: not more than are configured, and not more than there are descriptors for. One more is
 * closed in order, with a line and a count, while without a descriptor the system resets it without either.
 */
export function createDescriptorRoom(
  configured: number,
  log: { readonly info: Warn; readonly warn: Warn },
  read: () => FileDescriptors | undefined = readFileDescriptors,
  now: () => number = () => performance.now(),
): () => ConnectionRoom {
  const first = read();
  let room: ConnectionRoom = { max: configured, idleGivesWay: "after seconds" };
  let readAt = now();
  let reported = Number.POSITIVE_INFINITY;

  function look(descriptors: FileDescriptors | undefined): void {
    if (descriptors === undefined || first === undefined) return;
    // What is open now includes connections; what was open at the start is what everything else takes.
    const enough = connectionsFor({ limit: descriptors.limit, open: first.open });
    if (enough >= configured) {
      room = { max: configured, idleGivesWay: "after seconds" };
      return;
    }
    room = { max: enough, idleGivesWay: "at once" };
    if (enough >= reported) return;
    reported = enough;
    const facts = { descriptors: descriptors.limit, connections: enough, configured };
    const message =
      "file descriptors are enough for fewer connections than http.connections.max; raise ulimit -n";
    if (enough < FEW_CONNECTIONS) log.warn(facts, message);
    else log.info(facts, message);
  }

  look(first);
  return () => {
    const time = now();
    if (time - readAt >= BELIEVED_MS) {
      readAt = time;
      look(read());
    }
    return room;
  };
}
