/** A gateway reduced to its forwarder, between a caller on a real socket and a downstream API on another. */

import { once } from "node:events";
import http from "node:http";
import net, { type AddressInfo } from "node:net";
import { afterEach } from "@jest/globals";
import type {
  DownstreamApiOptions,
  ForwardOutcome,
  ForwardRequest,
  Transport,
} from "../../src/downstream/contract.ts";
import { createForward, type ForwardOptions } from "../../src/downstream/forward.ts";
import { compileTarget } from "../../src/downstream/target/downstream-api.ts";
import { createTransport, type TransportOptions } from "../../src/downstream/transport/pool.ts";
import { GatewayError } from "../../src/errors.ts";
import { Secret } from "../../src/foundation/secret.ts";
import { readFraming } from "../../src/http/pipeline.ts";
import { LIMITS } from "./api-options.ts";

const cleanups: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Runs after the test, last registered first. */
export function onCleanup(cleanup: () => Promise<void> | void): void {
  cleanups.push(cleanup);
}

/** Values in the order in which they come, for whoever waits for them. */
export function createInbox<T>(): { put(value: T): void; next(): Promise<T> } {
  const values: T[] = [];
  const waiting: ((value: T) => void)[] = [];
  return {
    put(value) {
      const taker = waiting.shift();
      if (taker === undefined) values.push(value);
      else taker(value);
    },
    next: () => {
      const value = values.shift();
      return value === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(value);
    },
  };
}

/** Listens on a free port of the loopback interface and is closed after the test. */
export async function listen(server: net.Server): Promise<number> {
  const sockets = new Set<net.Socket>();
  server.on("connection", (socket: net.Socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket)).on("error", () => {});
  });
  onCleanup(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

/** A downstream API that answers by a handler. */
export function startApi(handler: http.RequestListener): Promise<number> {
  return listen(http.createServer(handler));
}

/** A downstream API below HTTP: gets each connection's bytes, and answers what it likes. */
export function startRawApi(onConnection: (socket: net.Socket) => void): Promise<number> {
  return listen(net.createServer(onConnection));
}

/** One caller may take everything, as in most tests there is no other. */
export const NO_SHARES = { userShare: 1, clientShare: 1 };

export type TestTransportOptions = Partial<Omit<TransportOptions, "apis">>;

export function transportFor(api: DownstreamApiOptions, options: TestTransportOptions = {}): Transport {
  const transport = createTransport({ apis: [api], ...LIMITS, ...options });
  onCleanup(() => transport.destroy());
  return transport;
}

export interface GatewayOptions {
  readonly api: DownstreamApiOptions;
  readonly transport?: TestTransportOptions;
  readonly fairness?: Partial<ForwardOptions["fairness"]>;
  readonly prepare?: (incoming: http.IncomingMessage, outgoing: http.ServerResponse) => void;
  readonly forward?: Omit<Partial<ForwardRequest>, "framing">;
  /** Token of the n-th attempt, counted from 0. */
  readonly tokenFor?: (incoming: http.IncomingMessage, attempt: number) => string;
  readonly server?: http.ServerOptions;
  readonly configure?: (server: http.Server) => void;
}

export interface Gateway {
  readonly port: number;
  readonly url: (path: string) => string;
  /** What became of each request, in the order of their ends. */
  readonly outcomes: { next(): Promise<ForwardOutcome | GatewayError> };
}

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/** An http server that forwards everything below `/graph` and tries once more when it is challenged. */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const forward = createForward({
    transport: transportFor(options.api, options.transport),
    fairness: { replayBytes: 32 * 2 ** 20, ...NO_SHARES, ...options.fairness },
  });
  const target = compileTarget(options.api, { path: "/graph", methods: METHODS, allow: ["/**"] });
  const outcomes = createInbox<ForwardOutcome | GatewayError>();
  const tokenFor = options.tokenFor ?? (() => "delegated");

  const serve = async (incoming: http.IncomingMessage, outgoing: http.ServerResponse) => {
    options.prepare?.(incoming, outgoing);
    const attempt = (number: number) =>
      forward({
        incoming,
        framing: readFraming(incoming),
        outgoing,
        target: target(incoming.method ?? "", incoming.url ?? ""),
        token: new Secret(tokenFor(incoming, number)),
        correlationId: "c-1",
        ...options.forward,
      });
    try {
      let outcome = await attempt(0);
      if (outcome.kind === "challenged" && outcome.replayable) {
        outcomes.put(outcome);
        outcome = await attempt(1);
      }
      outcomes.put(outcome);
      if (outcome.kind === "challenged") outgoing.writeHead(401).end(outcome.claims);
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error;
      outcomes.put(error);
      outgoing.writeHead(500, { "x-code": error.code }).end(error.reason ?? "");
    }
  };
  const server = http.createServer(options.server ?? {}, serve);
  options.configure?.(server);
  const port = await listen(server);
  return { port, url: (path) => `http://127.0.0.1:${port}${path}`, outcomes };
}

export interface Reply {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
  readonly body: Buffer;
}

/** One request on a connection of its own. Rejects when the answer is cut. */
export async function call(
  url: string,
  { body, ...options }: http.RequestOptions & { body?: string | Uint8Array | undefined } = {},
): Promise<Reply> {
  const request = http.request(url, { agent: false, ...options });
  request.end(body);
  return reply(request);
}

/** Waits for the whole answer to a request. */
export async function reply(request: http.ClientRequest): Promise<Reply> {
  const [response] = (await once(request, "response")) as [http.IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    rawHeaders: response.rawHeaders,
    body: Buffer.concat(chunks),
  };
}

/** Reads everything a request carries. */
export async function bodyOf(incoming: http.IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Far more than the buffers of a few sockets hold, bytes. */
export const TOTAL = 96 * 1024 * 1024;
export const CHUNK = Buffer.alloc(64 * 1024, 7);
/** What the buffers of four sockets may hold; far below the total, so that hoarding shows. */
export const IN_FLIGHT = 32 * 1024 * 1024;

/** An API that answers with `TOTAL` bytes, as fast as they are taken. */
export async function startTorrent(): Promise<{ port: number; taken: () => number }> {
  let taken = 0;
  const port = await startApi(async (_request, response) => {
    response.on("error", () => {});
    while (taken < TOTAL && !response.destroyed) {
      taken += CHUNK.length;
      if (!response.write(CHUNK)) await new Promise((resolve) => response.once("drain", resolve));
    }
    response.end();
  });
  return { port, taken: () => taken };
}

/** Resolves when nothing has moved for a while, or everything has. */
export async function untilStalled(moved: () => number): Promise<number> {
  let last = -1;
  while (moved() !== last && moved() < TOTAL) {
    last = moved();
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  return moved();
}
