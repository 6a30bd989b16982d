/** Sends requests to downstream APIs over bounded, verified connections: the only file that knows undici. */

import type { lookup as systemLookup } from "node:dns";
import { isIP } from "node:net";
import type { Dispatcher } from "undici";
import buildConnector from "undici/lib/core/connect.js";
import Agent from "undici/lib/dispatcher/agent.js";
import Pool from "undici/lib/dispatcher/pool.js";
import type { GatewayError } from "../../errors.ts";
import type {
  AnswerReceiver,
  DownstreamApiOptions,
  Target,
  Transfer,
  Transport,
  TransportEvent,
  TransportRequest,
} from "../contract.ts";
import { readBaseUrl } from "../target/downstream-api.ts";
import { type Breaker, createBreaker } from "./breaker.ts";
import { createHostBreakers } from "./host-breakers.ts";
import { isPrivateAddress, PrivateAddressError, publicLookup } from "./private-address.ts";
import { followRedirects } from "./redirects.ts";
import { type Lane as AnyLane, LaneTransfer } from "./transfer.ts";
import { overloaded, unconnectable } from "./transport-error.ts";

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

/**
 * One pool of connections for each API, so that one slow API cannot use up another's. A target on another origin than
 * its API's goes over connections that all APIs share, but for those that may not enter a private network.
 */
export function createTransport(options: TransportOptions): Transport {
  const breakerOf = createHostBreakers(options.now ?? Date.now, options.onEvent);
  const lanes = new Map(options.apis.map((api) => [api.name, createLane(api, options, breakerOf(api))]));
  const elsewhere = new Map<boolean, Lane>();
  const laneTo = ({ api, origin }: Target): Lane => {
    const lane = lanes.get(api.name);
    if (lane === undefined) throw new TypeError(`no downstream API named ${api.name}`);
    if (origin === lane.origin) return lane;
    const shared = elsewhere.get(api.allowPrivateNetwork) ?? createLaneElsewhere(api, options);
    elsewhere.set(api.allowPrivateNetwork, shared);
    return shared;
  };
  const endAll = async (end: (dispatcher: Dispatcher) => Promise<void>) => {
    await Promise.all([...lanes.values(), ...elsewhere.values()].map((lane) => end(lane.dispatcher)));
  };

  return followRedirects({
    send: (request, receiver) => send(laneTo(request.target), request, receiver),
    close: () => endAll((dispatcher) => dispatcher.close()),
    destroy: () => endAll((dispatcher) => dispatcher.destroy()),
  });
}

interface Lane extends AnyLane {
  /** The one origin that it leads to, if it is one. */
  readonly origin?: string;
  readonly dispatcher: Dispatcher;
  readonly capacity: number;
}

function createLane(api: DownstreamApiOptions, options: TransportOptions, breaker: Breaker): Lane {
  const connections = api.maxConcurrent ?? options.maxConnections ?? 1024;
  const waiting = api.maxWaiting ?? options.maxWaiting ?? 1024;
  const { origin } = readBaseUrl(api);
  const dispatcher = new Pool(origin, { connections, ...connectionOptions(api, options) });
  return { origin, dispatcher, capacity: connections + waiting, breaker, active: 0 };
}

function createLaneElsewhere(api: DownstreamApiOptions, options: TransportOptions): Lane {
  const { maxConnections: connections = 1024 } = options;
  const settings = connectionOptions(api, { ...options, keepAliveMs: KEEP_ALIVE_ELSEWHERE_MS });
  // Without a breaker: hosts that come and go would need one each.
  const breaker = createBreaker({ failures: 0, openMs: 0, now: Date.now });
  return { dispatcher: new Agent({ connections, ...settings }), capacity: connections, breaker, active: 0 };
}

/** Short, because it is all that limits how many hosts have idle connections. */
const KEEP_ALIVE_ELSEWHERE_MS = 4000;

function connectionOptions(api: DownstreamApiOptions, options: TransportOptions) {
  const keepAliveMs = options.keepAliveMs ?? 30_000;
  return {
    connect: createConnector(api, options),
    // One request at a time on a connection: a slow answer must not hold up another user's.
    pipelining: 1,
    maxHeaderSize: options.maxHeaderBytes ?? 65_536,
    keepAliveTimeout: keepAliveMs,
    keepAliveMaxTimeout: keepAliveMs,
    // The senders keep time themselves, per request and to the millisecond.
    headersTimeout: 0,
    bodyTimeout: 0,
  };
}

function createConnector(api: DownstreamApiOptions, options: TransportOptions): buildConnector.connector {
  const { connectTimeoutMs: timeout = 5000, ca } = options;
  const connect = buildConnector({
    timeout,
    // Said aloud, because the environment (NODE_TLS_REJECT_UNAUTHORIZED) could otherwise say no.
    rejectUnauthorized: true,
    minVersion: "TLSv1.2",
    allowH2: false,
    ...(ca === undefined ? {} : { ca }),
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

function refusalOf({ active, capacity, breaker }: Lane): GatewayError | undefined {
  if (active >= capacity) return overloaded();
  const openMs = breaker.admit();
  return openMs === undefined ? undefined : unconnectable(openMs);
}

function send(lane: Lane, request: TransportRequest, receiver: AnswerReceiver): Transfer {
  const refusal = refusalOf(lane);
  if (refusal !== undefined) {
    receiver.failed(refusal);
    return { pause() {}, resume() {}, abort() {} };
  }
  lane.active++;
  const transfer = new LaneTransfer(lane, request, receiver);
  transfer.dispatch();
  return transfer;
}
