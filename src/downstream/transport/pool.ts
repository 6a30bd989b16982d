/** Sends requests to downstream APIs over bounded, verified connections. */

import type { lookup as systemLookup } from "node:dns";
import { isIP } from "node:net";
import type { GatewayError } from "../../errors.ts";
import { type Breaker, createBreaker, NO_BREAKER } from "../../foundation/breaker.ts";
import { createMembers } from "../../foundation/members.ts";
import { createConnector } from "../../outbound/connector.ts";
import type { Connect, ProxyFor } from "../../outbound/contract.ts";
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
import { type Connections, createConnections, createPlaces } from "./connections.ts";
import { isPrivateAddress, PrivateAddressError, publicLookup } from "./private-address.ts";
import { followRedirects } from "./redirects.ts";
import { type Line, PooledTransfer } from "./transfer.ts";
import { closed, unconnectable } from "./transport-error.ts";

export interface TransportOptions {
  /** The APIs of the beginning; see `ReplaceableTransport`. */
  readonly apis: readonly DownstreamApiOptions[];
  /** Parts of an API's places, and of those in line for one, that one user and one client may hold. */
  readonly fairness: { readonly userShare: number; readonly clientShare: number };
  /** The proxy for a destination. Default: none. */
  readonly proxyFor?: ProxyFor;
  readonly onEvent?: (event: TransportEvent) => void;
  /** Ms since the epoch. */
  readonly now?: () => number;
  /** Longest wait for a connection, TLS handshake included, ms. */
  readonly connectTimeoutMs: number;
  /** Largest header section of an answer, bytes. */
  readonly maxHeaderBytes: number;
  /** Certificate authorities in PEM to trust instead of the system's, for tests; production sets NODE_EXTRA_CA_CERTS. */
  readonly ca?: string;
  /** Name resolution, for tests. */
  readonly resolve?: typeof systemLookup;
}

/** Short, because hosts that redirects lead to come and go. */
const KEEP_ALIVE_ELSEWHERE_MS = 4000;

export interface ReplaceableTransport extends Transport {
  /**
   * From now on these APIs are called. One that is the same object as before keeps its places and connections. One that
   * is no longer among them is closed after its last request: requests that began before may still be sent to it, each
   * on a connection of its own.
   */
  replaceApis(apis: readonly DownstreamApiOptions[]): void;
}

/**
 * Places and connections of one API are its own, so that one slow API cannot use up another's; so are those to the
 * origins that its redirects lead to, so that no API's leave to enter a private network serves another's.
 * Redirects are followed for the APIs that say so; see `followRedirects`.
 */
export function createTransport(options: TransportOptions): ReplaceableTransport {
  const now = options.now ?? Date.now;
  const breakerOf = createHostBreakers(now, options.onEvent);
  // By the API itself and not by its name: for a while, two configurations may have an API of the same name.
  const pools = new WeakMap<DownstreamApiOptions, ApiPool>();
  let current: ReadonlySet<DownstreamApiOptions> = new Set();
  const underWay = createMembers<PooledTransfer>();
  let isClosed = false;
  let onIdle = () => {};
  const onEnd = (ended: PooledTransfer) => {
    underWay.delete(ended);
    if (underWay.size === 0) onIdle();
  };

  function send(request: TransportRequest, receiver: AnswerReceiver): Transfer {
    const pool = pools.get(request.target.api.connectsAs ?? request.target.api);
    if (pool === undefined) throw new TypeError(`no downstream API named ${request.target.api.name}`);
    const line = pool.lineTo(request.target);
    const refusal = isClosed ? closed() : refusalOf(line.breaker);
    if (refusal !== undefined) {
      receiver.failed(refusal);
      return { pause() {}, resume() {}, abort() {} };
    }
    const transfer = new PooledTransfer(line, request, receiver);
    underWay.add(transfer);
    transfer.start();
    return transfer;
  }

  function closeAll(): void {
    isClosed = true;
    for (const api of current) pools.get(api)?.close();
  }

  function replaceApis(apis: readonly DownstreamApiOptions[]): void {
    const next = new Set(apis);
    for (const api of next)
      if (!pools.has(api)) pools.set(api, createApiPool(api, options, breakerOf(api), onEnd));
    for (const api of current) if (!next.has(api)) pools.get(api)?.close();
    current = next;
    breakerOf.forgetOthers(apis);
  }

  replaceApis(options.apis);
  const transport = {
    send,
    replaceApis,
    async close() {
      closeAll();
      if (underWay.size > 0) await new Promise<void>((resolve) => (onIdle = resolve));
    },
    async destroy() {
      closeAll();
      // Those that end leave the collection at once.
      for (const transfer of [...underWay]) transfer.refuse();
    },
  };
  const following = followRedirects(transport);
  return {
    ...transport,
    send: (request, receiver) =>
      (request.target.api.followRedirects === true ? following : transport).send(request, receiver),
  };
}

interface ApiPool {
  lineTo(target: Target): Line;
  close(): void;
}

function createApiPool(
  api: DownstreamApiOptions,
  options: TransportOptions,
  breaker: Breaker,
  onEnd: Line["onEnd"],
): ApiPool {
  const { origin: apiOrigin } = readBaseUrl(api);
  const { max, keepAliveMs, maxRequests, maxAgeMs } = api.connections;
  const placesOptions = {
    // Each request under way has a connection of its own, so the smaller bound holds for both.
    maxUnderWay: Math.min(api.maxConcurrent, max),
    maxWaiting: api.maxWaiting,
    ...options.fairness,
  };
  const proxyFor = options.proxyFor ?? (() => undefined);
  const connectionsTo = (origin: string, keepMs: number) =>
    createConnections(origin, {
      connect: createConnect(api, options),
      keepAliveMs: keepMs,
      maxRequests,
      maxAgeMs,
      maxHeaderBytes: options.maxHeaderBytes,
      proxy: origin.startsWith("http:") ? proxyFor(new URL(origin)) : undefined,
      now: options.now ?? Date.now,
    });
  const line: Line = {
    places: createPlaces(placesOptions),
    connections: connectionsTo(apiOrigin, keepAliveMs),
    breaker,
    onEnd,
  };
  const placesElsewhere = createPlaces(placesOptions);
  const elsewhere = new Map<string, Connections>();

  return {
    lineTo({ origin }) {
      if (origin === apiOrigin) return line;
      for (const [other, connections] of elsewhere) if (connections.open() === 0) elsewhere.delete(other);
      const connections = elsewhere.get(origin) ?? connectionsTo(origin, KEEP_ALIVE_ELSEWHERE_MS);
      elsewhere.set(origin, connections);
      // Hosts that come and go would need a breaker each.
      return { places: placesElsewhere, connections, breaker: NO_BREAKER, onEnd };
    },
    close() {
      for (const connections of [line.connections, ...elsewhere.values()]) connections.close();
    },
  };
}

/** The rule against private addresses holds where the gateway connects itself; a proxy resolves names by its own rules. */
function createConnect(api: DownstreamApiOptions, options: TransportOptions): Connect {
  const { connectTimeoutMs: timeoutMs, ca, proxyFor = () => undefined } = options;
  const lookup = api.allowPrivateNetwork ? options.resolve : publicLookup(options.resolve);
  const connect = createConnector({ timeoutMs, ca, proxyFor, lookup: lookup as never });
  if (api.allowPrivateNetwork) return connect;
  return (target, callback) => {
    // A literal address is never looked up, so the lookup cannot refuse it.
    if (isIP(target.hostname) !== 0 && isPrivateAddress(target.hostname)) {
      const timer = setImmediate(callback, new PrivateAddressError());
      return { destroy: () => clearImmediate(timer) };
    }
    return connect(target, callback);
  };
}

function refusalOf(breaker: Breaker): GatewayError | undefined {
  const openMs = breaker.admit();
  return openMs === undefined ? undefined : unconnectable(openMs);
}

export interface HostBreakers {
  (api: DownstreamApiOptions): Breaker;
  /** Keeps the breakers of the origins of these APIs alone. */
  forgetOthers(apis: readonly DownstreamApiOptions[]): void;
}

/** Finds an API's breaker, made at the first call for its origin: APIs of one host share its fate. */
export function createHostBreakers(
  now: () => number,
  onEvent: (event: TransportEvent) => void = () => {},
): HostBreakers {
  const breakers = new Map<string, Breaker>();
  const find = (api: DownstreamApiOptions) => {
    const { origin } = readBaseUrl(api);
    const known = breakers.get(origin);
    if (known !== undefined) return known;
    const breaker = createBreaker({
      failures: api.breaker.failures,
      firstPauseMs: api.breaker.openMs,
      longestPauseMs: api.breaker.openMs,
      spread: 0,
      now,
      onOpened: () => onEvent({ type: "breaker_opened", api: api.name }),
      onClosed: () => onEvent({ type: "breaker_closed", api: api.name }),
    });
    breakers.set(origin, breaker);
    return breaker;
  };
  return Object.assign(find, {
    forgetOthers(apis: readonly DownstreamApiOptions[]) {
      const kept = new Set(apis.map((api) => readBaseUrl(api).origin));
      for (const origin of [...breakers.keys()]) if (!kept.has(origin)) breakers.delete(origin);
    },
  });
}
