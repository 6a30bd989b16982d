/** Sends requests to downstream APIs over bounded, verified connections: the only file that knows undici. */

import type { lookup as systemLookup } from "node:dns";
import { isIP } from "node:net";
import type { Readable } from "node:stream";
import { buildConnector, type Dispatcher, Pool } from "undici";
import type { GatewayError } from "../errors.ts";
import { type Breaker, createBreaker } from "./breaker.ts";
import { type DownstreamApiOptions, readBaseUrl, type Target } from "./downstream-api.ts";
import type { AnswerHeaders, HeaderLines } from "./headers.ts";
import { isPrivateAddress, PrivateAddressError, publicLookup } from "./private-address.ts";
import {
  isConnectFailure,
  isStaleConnection,
  overloaded,
  transportError,
  unconnectable,
} from "./transport-error.ts";

/** What an operator wants to hear of: a host that cannot be connected to, and its return. */
export interface TransportEvent {
  readonly type: "breaker_opened" | "breaker_closed";
  readonly api: string;
}

export interface TransportOptions {
  readonly apis: readonly DownstreamApiOptions[];
  readonly onEvent?: (event: TransportEvent) => void;
  /** Ms since the epoch. */
  readonly now?: () => number;
  /** Longest wait for a connection, TLS handshake included, ms. Default 5000. */
  readonly connectTimeoutMs?: number;
  /** Connections of an API that says nothing of it; each carries one request at a time. Default 1024. */
  readonly maxConnections?: number;
  /** Requests that may wait for one, of an API that says nothing of it; one more is refused as `overloaded`. Default 1024. */
  readonly maxWaiting?: number;
  /** How long an unused connection is kept, ms, unless the API asks for less. Default 30000. */
  readonly keepAliveMs?: number;
  /** Largest header section of an answer, bytes. Default 65536. */
  readonly maxHeaderBytes?: number;
  /** Certificate authorities in PEM to trust instead of the system's, for tests; production sets NODE_EXTRA_CA_CERTS. */
  readonly ca?: string;
  /** Name resolution, for tests. */
  readonly resolve?: typeof systemLookup;
}

export interface TransportRequest {
  readonly target: Target;
  readonly method: string;
  readonly headers: HeaderLines;
  readonly body: Readable | Uint8Array | undefined;
}

/** Receives one answer: `head` once, then `chunk`s, then `end`; or `failed`, at any point. Nothing follows `abort`. */
export interface AnswerReceiver {
  head(status: number, headers: AnswerHeaders): void;
  chunk(chunk: Buffer): void;
  end(): void;
  failed(error: GatewayError): void;
}

/** A request under way. */
export interface Transfer {
  /** Stops reading the answer until `resume`, so that the downstream's own writes come to a halt. */
  pause(): void;
  resume(): void;
  /** Gives the request up wherever it is, waiting in line included. The receiver hears nothing more. */
  abort(): void;
}

export interface Transport {
  send(request: TransportRequest, receiver: AnswerReceiver): Transfer;
  /** Refuses new requests and resolves when those under way have ended. */
  close(): Promise<void>;
  /** Ends everything at once. */
  destroy(): Promise<void>;
}

/** Methods that a proxy may repeat by itself (RFC 9110 §9.2.2), when they have no body. */
const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);

/** One pool of connections for each API, so that one slow API cannot use up another's. */
export function createTransport(options: TransportOptions): Transport {
  // APIs of one host share its fate.
  const breakers = new Map<string, Breaker>();
  const breakerOf = (api: DownstreamApiOptions): Breaker => {
    const { origin } = readBaseUrl(api);
    const breaker = breakers.get(origin) ?? newBreaker(api, options);
    breakers.set(origin, breaker);
    return breaker;
  };
  const lanes = new Map(options.apis.map((api) => [api.name, createLane(api, options, breakerOf(api))]));
  const pools = [...lanes.values()].map((lane) => lane.pool);

  return {
    send(request, receiver) {
      const lane = lanes.get(request.target.api.name);
      if (lane === undefined) throw new TypeError(`no downstream API named ${request.target.api.name}`);
      return send(lane, request, receiver);
    },
    close: async () => {
      await Promise.all(pools.map((pool) => pool.close()));
    },
    destroy: async () => {
      await Promise.all(pools.map((pool) => pool.destroy()));
    },
  };
}

interface Lane {
  readonly pool: Pool;
  readonly capacity: number;
  readonly breaker: Breaker;
  /** Requests under way or in line. */
  active: number;
}

const DEFAULT_BREAKER = { failures: 5, openMs: 5000 };

function newBreaker(api: DownstreamApiOptions, { now = Date.now, onEvent }: TransportOptions): Breaker {
  return createBreaker({
    ...(api.breaker ?? DEFAULT_BREAKER),
    now,
    onChange: (state) => onEvent?.({ type: `breaker_${state}`, api: api.name }),
  });
}

function createLane(api: DownstreamApiOptions, options: TransportOptions, breaker: Breaker): Lane {
  const connections = api.maxConcurrent ?? options.maxConnections ?? 1024;
  const waiting = api.maxWaiting ?? options.maxWaiting ?? 1024;
  const keepAliveMs = options.keepAliveMs ?? 30_000;
  const pool = new Pool(readBaseUrl(api).origin, {
    connections,
    connect: createConnector(api, options),
    // One request at a time on a connection: a slow answer must not hold up another user's.
    pipelining: 1,
    maxHeaderSize: options.maxHeaderBytes ?? 65_536,
    keepAliveTimeout: keepAliveMs,
    keepAliveMaxTimeout: keepAliveMs,
    // The senders keep time themselves, per request and to the millisecond.
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  return { pool, capacity: connections + waiting, breaker, active: 0 };
}

function createConnector(api: DownstreamApiOptions, options: TransportOptions): buildConnector.connector {
  const connect = buildConnector({
    timeout: options.connectTimeoutMs ?? 5000,
    // Said aloud, because the environment (NODE_TLS_REJECT_UNAUTHORIZED) could otherwise say no.
    rejectUnauthorized: true,
    minVersion: "TLSv1.2",
    allowH2: false,
    ...(options.ca === undefined ? {} : { ca: options.ca }),
    ...(api.allowPrivateNetwork ? {} : { lookup: publicLookup(options.resolve) }),
  });
  if (api.allowPrivateNetwork) return connect;
  return (target, callback) => {
    // A literal address is never looked up, so the lookup cannot judge it.
    if (isIP(target.hostname) !== 0 && isPrivateAddress(target.hostname)) {
      callback(new PrivateAddressError(), null);
      return;
    }
    connect(target, callback);
  };
}

function send(lane: Lane, request: TransportRequest, receiver: AnswerReceiver): Transfer {
  if (lane.active >= lane.capacity) {
    receiver.failed(overloaded());
    return { pause() {}, resume() {}, abort() {} };
  }
  const openMs = lane.breaker.admit();
  if (openMs !== undefined) {
    receiver.failed(unconnectable(openMs));
    return { pause() {}, resume() {}, abort() {} };
  }
  lane.active++;
  let controller: Dispatcher.DispatchController | undefined;
  let aborted = false;
  let started = false;
  let ended = false;
  let repeatable = request.body === undefined && IDEMPOTENT.has(request.method);

  const handler: Dispatcher.DispatchHandler = {
    onRequestStart(current) {
      controller = current;
      if (aborted) current.abort(new Error("given up while waiting for a connection"));
    },
    onResponseStart(_controller, status, headers) {
      // Interim answers (RFC 9110 §15.2) concern the connection to the API; ours answers for itself.
      if (status < 200 || aborted) return;
      started = true;
      lane.breaker.succeeded();
      receiver.head(status, headers as AnswerHeaders);
    },
    onResponseData(_controller, chunk) {
      if (!aborted) receiver.chunk(chunk);
    },
    onResponseEnd() {
      ended = true;
      lane.active--;
      // Trailers are dropped knowingly: HTTP/1.1 callers rarely ask for them, and they escape the header rules.
      if (!aborted) receiver.end();
    },
    onResponseError(_controller, error) {
      // An idle connection that the API closed just as we used it: nothing was answered, so ask once more.
      if (repeatable && !started && !aborted && isStaleConnection(error)) {
        repeatable = false;
        controller = undefined;
        dispatch();
        return;
      }
      lane.active--;
      if (isConnectFailure(error)) lane.breaker.failed();
      else lane.breaker.ended();
      if (!aborted) receiver.failed(transportError(error));
    },
  };
  const dispatch = () =>
    lane.pool.dispatch(
      {
        method: request.method,
        path: request.target.path,
        headers: request.headers as string[],
        body: request.body ?? null,
      },
      handler,
    );
  dispatch();

  return {
    pause: () => controller?.pause(),
    resume: () => controller?.resume(),
    abort() {
      // Callers let go of every transfer; only one that is still under way is worth an error and its stack.
      if (aborted || ended) return;
      aborted = true;
      controller?.abort(new Error("given up"));
    },
  };
}
