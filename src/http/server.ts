/** Listeners with limits, and the graceful end: what is in flight finishes, what comes late is told so. */

import { randomUUID } from "node:crypto";
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Readable } from "node:stream";
import type { HeaderLines, OwnFields } from "../downstream/contract.ts";
import { ConfigurationError } from "../errors.ts";
import { createDrain } from "./drain.ts";
import { messageClasses } from "./express-messages.ts";
import { closeWithConnection } from "./queued-responses.ts";

/** How many callers may be connected, and how long each may take. */
export interface ConnectionLimits {
  /** Connections at once; Node closes one more as soon as it is accepted. */
  readonly max: number;
  /** From the beginning of a connection, or of its next request, until all headers are here. */
  readonly headersTimeoutSeconds: number;
  /** The same until the body is here, too; 0 sets no limit. Not less than the headers' time. */
  readonly requestTimeoutSeconds: number;
  /** How long a connection without a request is kept. Longer than a balancer keeps it, or requests are lost between. */
  readonly keepAliveTimeoutSeconds: number;
  /** Requests after which the caller is told to open another connection; 0 sets no limit. */
  readonly maxRequests: number;
}

export type ConnectionEvent = "opened" | "closed" | "dropped";

export interface ListenOptions {
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  /** The variable that a port conflict should be blamed on. */
  readonly setting: "PORT" | "ADMIN_PORT";
  /** Answers a request that arrives when the time for new work is over. */
  readonly refuse: RequestListener;
  /** Default: any number, and the times of `UNTUNED`. */
  readonly connections?: ConnectionLimits | undefined;
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
  headersTimeoutSeconds: 20,
  requestTimeoutSeconds: 0,
  keepAliveTimeoutSeconds: 65,
  maxRequests: 0,
};

/** How long a connection on which nothing more will be answered may go on sending, or stay half open, ms. */
const LINGER_MS = 30_000;

/** @throws {ConfigurationError} when the address cannot be had. */
export async function listen(handler: RequestListener, options: ListenOptions): Promise<Listening> {
  const { connections = UNTUNED, onConnection, overload, own } = options;
  const { inFlight, admit, drain } = createDrain();

  const serve: RequestListener = (request, response) => {
    const admission = admit(response);
    if (admission === "ignored") return;
    if (response.socket === null) closeWithConnection(response);
    if (isLastByNode(response)) response.shouldKeepAlive = false;
    if (announcesBody(request))
      response.once("finish", () => {
        // Node reads what is left of a body, for the caller reads the answer when it has sent all; but for ever.
        if (!request.complete) destroyAfterWhile(request.socket, request);
      });
    if (admission === "refuse") options.refuse(request, response);
    else if (overload?.isOverloaded() === true) overload.shed(request, response);
    else handler(request, response);
  };
  const server = createServer(
    {
      ...messageClasses(handler),
      maxHeaderSize: MAX_HEADER_BYTES,
      ...timesOf(connections),
      // The app looks at it itself, and answers like any other refusal.
      requireHostHeader: false,
    },
    serve,
  );
  // RFC 9110 §10.1.1 permits 417 and does not ask for it. Node would give it by itself, with nobody told.
  server.on("checkExpectation", serve);
  server.maxConnections = connections.max;
  server.maxRequestsPerSocket = connections.maxRequests;
  if (onConnection !== undefined) {
    const closed = () => onConnection("closed");
    server.on("connection", (socket) => {
      onConnection("opened");
      socket.once("close", closed);
    });
    server.on("drop", () => onConnection("dropped"));
  }
  const answered = new WeakSet<Socket>();
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) => {
    // The rest of what the caller had begun to send; it reads our answer only when that is off its hands.
    if (answered.has(socket)) return;
    const open = [...inFlight].filter(({ req }) => req.socket === socket);
    // An answer that is due, or has begun, is what the caller would take ours for; unless the error is in the very
    // request that it is due for.
    const ours = open.every(({ headersSent, req }) => !headersSent && !req.complete);
    if (!ours || !socket.writable) {
      socket.destroy();
      return;
    }
    answered.add(socket);
    answerUnparsable(error, socket, own?.lines ?? []);
  });
  await bind(server, options);

  return {
    port: (server.address() as AddressInfo).port,
    drain: (graceMs) => drain(server, graceMs),
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
    // Node looks every half minute unless told, which would add that to each of these times.
    connectionsCheckingInterval: headersTimeoutSeconds * 250,
  };
}

/** RFC 9112 §6.3: without either field there is none. */
function announcesBody({ headers }: IncomingMessage): boolean {
  return headers["content-length"] !== undefined || headers["transfer-encoding"] !== undefined;
}

function bind(server: Server, { host, port, setting }: ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) => {
      const why: Readonly<Record<string, string>> = {
        EADDRINUSE: `port ${port} on ${host} is in use; stop the other process or set another ${setting}`,
        EACCES: `port ${port} needs privileges that this process lacks; set ${setting} above 1023`,
      };
      const path = cause.code === "EADDRNOTAVAIL" || cause.code === "ENOTFOUND" ? "HOST" : setting;
      const problem =
        why[cause.code ?? ""] ?? `cannot listen on ${host}:${port} (${cause.code ?? cause.message})`;
      reject(new ConfigurationError([{ path, problem }], { cause }));
    });
    server.listen(port, host, () => resolve());
  });
}

/**
 * Bytes that never became a request: no Express, no record, so the answer is written by hand.
 * RFC 9112 §2.2 and §6.1: answer and close; the connection's framing cannot be trusted any more.
 */
function answerUnparsable(error: NodeJS.ErrnoException, socket: Socket, own: HeaderLines): void {
  const correlationId = randomUUID();
  const [status, phrase] =
    error.code === "HPE_HEADER_OVERFLOW"
      ? [431, "Request Header Fields Too Large"]
      : error.code === "ERR_HTTP_REQUEST_TIMEOUT"
        ? [408, "Request Timeout"]
        : [400, "Bad Request"];
  const body = JSON.stringify({
    type: "urn:obo-gateway:problem:request_malformed",
    title: "The request is malformed",
    status,
    code: "request_malformed",
    detail: phrase,
    correlationId,
  });
  const ours = own.map((text, index) => (index % 2 === 0 ? `${text}: ` : `${text}\r\n`)).join("");
  socket.end(
    `HTTP/1.1 ${status} ${phrase}\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\n` +
      `${ours}x-correlation-id: ${correlationId}\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
  // A caller that never closes its side would hold the connection, and no timeout of the server counts it any more.
  destroyAfterWhile(socket, socket);
}

/** Unless `over` closes first. At once would be too early: a reset while the caller still sends takes the answer with it. */
function destroyAfterWhile(socket: Socket, over: Readable): void {
  const timer = setTimeout(() => socket.destroy(), LINGER_MS).unref();
  over.once("close", () => clearTimeout(timer));
}
