/** Listeners with limits, and the graceful end: requests in flight finish, late ones are refused. */

import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { OwnFields } from "../downstream/contract.ts";
import { ConfigurationError } from "../errors.ts";
import { connectionOf } from "./connection.ts";
import { watchConnections } from "./connections.ts";
import type { ConnectionEvent, ConnectionLimits, ConnectionRoom } from "./contract.ts";
import { createDrain } from "./drain.ts";
import { messageClasses } from "./express-messages.ts";
import { closeWithConnection } from "./queued-responses.ts";
import { destroyAfterWhile, endUnparsable } from "./unparsable.ts";

export interface ListenOptions {
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  /** The variable that a port conflict should be blamed on. */
  readonly setting: "PORT" | "ADMIN_PORT";
  /** Answers a request that arrives when the time for new work is over. */
  readonly refuse: RequestListener;
  /** What is left out is as in `UNTUNED`. */
  readonly connections?: Partial<ConnectionLimits> | undefined;
  /** Asked for each connection how many are taken now. Default: `connections.max`. */
  readonly room?: (() => ConnectionRoom) | undefined;
  readonly onConnection?: ((event: ConnectionEvent) => void) | undefined;
  /** Said also to what never becomes a request. Default: nothing. */
  readonly own?: OwnFields | undefined;
  /** Asked before anything of a request is looked at: whether `shed` is to answer it. */
  readonly overload?: { isOverloaded(): boolean; readonly shed: RequestListener } | undefined;
}

export interface Listening {
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

const UNTUNED: ConnectionLimits = {
  max: Number.POSITIVE_INFINITY,
  maxPipelined: 16,
  headersTimeoutSeconds: 20,
  requestTimeoutSeconds: 0,
  keepAliveTimeoutSeconds: 65,
  maxRequests: 0,
  writeStallSeconds: 30,
  minWriteBytesPerSecond: 512,
  writeTimeoutSeconds: 600,
};

/** @throws {ConfigurationError} when the address cannot be had. */
export async function listen(handler: RequestListener, options: ListenOptions): Promise<Listening> {
  const { onConnection = () => {}, overload, own } = options;
  const limits = { ...UNTUNED, ...options.connections };
  const { admit, left, isRefusing, drain } = createDrain();

  const run: RequestListener = (request, response) => {
    if (isRefusing()) options.refuse(request, response);
    else if (overload?.isOverloaded() === true) overload.shed(request, response);
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
    if (announcesBody(request))
      response.once("finish", () => {
        // Node reads what is left of a body, for the caller reads the answer when it has sent all; but for ever.
        if (!request.complete) destroyAfterWhile(request.socket, request);
      });
    if (place === "runs") run(request, response);
  };
  const connections = watchConnections({ limits, room: options.room, run, onEvent: onConnection });
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
  // Node drops fields past this number without a word, `Content-Length` among them. The app refuses so many.
  server.maxHeadersCount = 0;
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
    port: (server.address() as AddressInfo).port,
    async drain(graceMs) {
      connections.drain();
      await drain(server, connections, graceMs);
      connections.close();
    },
  };
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

/** `::` takes IPv4 callers as well; where a machine knows no IPv6, all of its addresses are `0.0.0.0`. */
async function bind(server: Server, options: ListenOptions): Promise<void> {
  const { host, port } = options;
  try {
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

export type Bound = Pick<ListenOptions, "host" | "port" | "setting">;

/** Why an address cannot be had, and which setting to change. */
export function notBound(cause: NodeJS.ErrnoException, { host, port, setting }: Bound): ConfigurationError {
  const why: Readonly<Record<string, string>> = {
    EADDRINUSE: `port ${port} on ${host} is in use; stop the other process or set another ${setting}`,
    EACCES: `port ${port} needs privileges that this process lacks; set ${setting} above 1023`,
  };
  const path = ["EADDRNOTAVAIL", "ENOTFOUND", "EAFNOSUPPORT"].includes(cause.code ?? "") ? "HOST" : setting;
  const problem =
    why[cause.code ?? ""] ?? `cannot listen on ${host}:${port} (${cause.code ?? cause.message})`;
  return new ConfigurationError([{ path, problem }], { cause });
}
