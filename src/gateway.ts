/** Composition root: configuration in, the public and the admin side out. Reads like a request's walk through the rooms. */

import type { RequestListener } from "node:http";
import { isDeepStrictEqual } from "node:util";
import { type CodeParts, codeRoutesOf } from "./code-routes.ts";
import type { GatewayConfig } from "./config/load.ts";
import type { Console, ConsoleFeed } from "./console/contract.ts";
import type { ClientAssertionCallback, CredentialOptions, CredentialRing } from "./credential/contract.ts";
import { findCredentialFaults, openCredential } from "./credential/credential.ts";
import { createForward } from "./downstream/forward.ts";
import { createForwardBatch } from "./downstream/graph/forward-batch.ts";
import { createTransport } from "./downstream/transport/pool.ts";
import { ConfigurationError, type GatewayError } from "./errors.ts";
import type { OfflineGrants, OpenTokenExchange } from "./exchange/contract.ts";
import { aadstsEntry } from "./exchange/entra/answers.ts";
import {
  createCredentialCheck,
  createManagedIdentityToken,
  createRedisToken,
} from "./exchange/entra/application.ts";
import { createTokenExchange } from "./exchange/exchange.ts";
import type { Fetch } from "./foundation/bounded-fetch.ts";
import { createBudget } from "./foundation/budget.ts";
import { createClosing, type Keep } from "./foundation/closing.ts";
import { type AdminPages, adminListener, adminPages, createReadiness } from "./http/admin.ts";
import type { CallableApi, ServedCodeRoute } from "./http/code-route.ts";
import { createMiddleware, type DelegationMiddleware } from "./http/code-route.ts";
import type { OpenSecondSide } from "./http/contract.ts";
import { challengeFacts, createPublicSide, resourceFacts, securityFields } from "./http/public-side.ts";
import { type ServedRoute, servedRoutes } from "./http/route-table.ts";
import type { ListenOptions } from "./http/server.ts";
import { resolveAuthority } from "./identity/authority.ts";
import type { Authority } from "./identity/contract.ts";
import { createTokenVerifier } from "./identity/token-verifier.ts";
import type { Bridge, McpRoute } from "./mcp/contract.ts";
import { loadRooms, type OptionalRooms } from "./optional-rooms.ts";
import { type Outbound, openOutbound } from "./outbound/outbound.ts";
import type { WatchedPermissions } from "./permission-watch.ts";
import type { OpenRedis } from "./redis/contract.ts";
import { openServing, type ReadConfig, type Reconfigured, type Served, type Serving } from "./serving.ts";
import type { Logger, LogSink } from "./telemetry/contract.ts";
import { type Observability, openObservability } from "./telemetry/observability.ts";

/** Parts that a program that embeds the gateway may bring; each has a default. */
export interface GatewayParts extends CodeParts {
  /** Where log lines go. Default: standard output. */
  readonly logSink?: LogSink;
  /** Makes client assertions for the source `client-assertion`, asked for each proof of the gateway. */
  readonly clientAssertion?: ClientAssertionCallback;
  /** How the authority and other issuers of the gateway's tokens are reached. Default: the global `fetch`. */
  readonly fetch?: Fetch;
  /** Certificate authorities in PEM for downstream APIs, for tests; production sets NODE_EXTRA_CA_CERTS. */
  readonly downstreamCa?: string;
  /**
   * For tests: a call of a handler that its `needs` do not declare fails with an error that names it. Handlers without
   * `needs` may call anything. Default: false.
   */
  readonly checksNeeds?: boolean;
  /** Milliseconds since the epoch. Default: the system's clock. */
  readonly now?: () => number;
  /** Worst lag of the event loop since the last call, ms, for tests of overload. Default: as measured. */
  readonly sampleLag?: () => number;
}

/** A gateway that is assembled and listens nowhere yet. */
export interface Gateway {
  /** The public side: an Express app, to be mounted on any server. */
  readonly app: RequestListener;
  /** The admin side: live, ready, metrics. */
  readonly admin: RequestListener;
  /** The pages of the admin side, for a listener in another thread. */
  readonly adminPages: AdminPages;
  /** Pages and events of the flow console, for the same listener; undefined where it is not enabled. */
  readonly console: ConsoleFeed | undefined;
  /** Answers what arrives when the time for new requests is over. */
  readonly refuse: RequestListener;
  /** How the server of the public side protects itself. */
  readonly guard: Pick<
    ListenOptions,
    "connections" | "onConnection" | "overload" | "recognize" | "claimedUser" | "own"
  >;
  /** Every route that is served, by path. A reload changes them. */
  readonly routes: readonly ServedRoute[];
  /** The local API and the guard of its listener; undefined where it is not configured. */
  readonly local: LocalGateway | undefined;
  readonly log: Logger;
  /** Resolves when signing keys are there. Until then `/readyz` answers 503, and callers get `key_set_unavailable`. */
  warmUp(): Promise<void>;
  /**
   * Opens the file of the audit stream again, and looks at the files of the credential and of the master keys.
   *
   * @throws {ConfigurationError} when the audit file cannot be opened; the one before serves on.
   */
  reload(): Promise<void>;
  /**
   * Takes over routes, APIs, limits and cross-origin rules of another configuration: requests that begin from now on are
   * served by it, those under way end by the one before. Cached tokens, connections of APIs that stay the same, budgets
   * and counts of limits that stay the same go on. A line of the log says how it went.
   *
   * @param read Gives the configuration. One that it refuses with a `ConfigurationError`, or whose routes and APIs do
   * not go together, changes nothing.
   */
  reconfigure(read: ReadConfig): Promise<Reconfigured>;
  /** From now on `/readyz` answers 503, so that balancers turn away; requests are still served. */
  leaveRotation(): void;
  /** Lets go of connections and timers. Call it when no request is in flight. */
  close(): Promise<void>;
}

/** The local API as a listener takes it. */
export interface LocalGateway {
  readonly listener: RequestListener;
  readonly refuse: RequestListener;
  readonly guard: Pick<
    ListenOptions,
    "connections" | "onConnection" | "overload" | "recognize" | "claimedUser"
  >;
}

/** How often the credential's files are looked at between requests, ms, so that readiness follows them. */
const CREDENTIAL_WATCH_MS = 60_000;

/** @throws {ConfigurationError} when a credential cannot be opened, or routes and APIs do not go together. */
export async function createGateway(config: GatewayConfig, parts: GatewayParts = {}): Promise<Gateway> {
  const { keep, close } = createClosing();
  try {
    // Not by spreading, which would read the routes once and for all.
    return Object.assign(await assemble(config, parts, keep), { close });
  } catch (error) {
    await close();
    throw error;
  }
}

/** Authentication and delegation for an Express app of another program, without routes and without listeners. */
export interface Delegation extends DelegationMiddleware {
  readonly log: Logger;
  /** Resolves when signing keys are there and the credential has been accepted. Until then callers get 503. */
  warmUp(): Promise<void>;
  /** Lets go of connections and timers. Call it when no request is in flight. */
  close(): Promise<void>;
}

/**
 * Takes identity, credential, exchange and downstream APIs of the configuration; its routes stay out.
 *
 * @throws {ConfigurationError} when a credential cannot be opened.
 */
export async function createDelegation(
  config: GatewayConfig,
  parts: Omit<GatewayParts, "routes" | "handlers"> = {},
): Promise<Delegation> {
  const { keep, close } = createClosing();
  try {
    const served = { config, routes: [], rooms: await loadRooms({ config, hasCode: true }) };
    const building = await openBuilding(served, parts, keep);
    const { signals, log } = building;
    const { exchange, credential } = await openExchange(building);
    const verifier = await openIdentity(building, () => served, exchange);
    const { apisOf, own } = openDownstream(building);
    const closing = watchCredential(building, credential);
    const middleware = createMiddleware({
      verifier,
      exchange,
      apis: apisOf(served),
      own,
      challenge: challengeFacts({
        ...challengeOptions(building, config),
        clientId: config.application.clientId,
      }),
      observer: signals.requests,
      onInternalError: signals.internalError,
    });
    const warmUp = async () => {
      await Promise.all([verifier.warmUp(), credential.warmUp(closing), exchange.warmUp()]);
    };
    return { ...middleware, log, warmUp, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function openBuilding({ config, rooms }: Served, parts: GatewayParts, keep: Keep): Promise<Building> {
  const authority = resolveAuthority(config.application.authorityHost);
  const outbound = keep(openOutbound(config.proxies));
  const { agentFor } = outbound;
  const now = parts.now ?? Date.now;
  const observability = await openObservability({ ...config, sink: parts.logSink, agentFor, keep });
  const permissions =
    config.permissionsTable === undefined
      ? undefined
      : rooms.watchPermissions(config.permissionsTable, observability);
  const signals = permissions?.signals ?? observability.signals;
  const console = config.console.enabled
    ? keep(await rooms.createConsole({ explain: aadstsEntry, now }))
    : undefined;
  return {
    config,
    rooms,
    parts,
    keep,
    authority,
    outbound,
    fetch: parts.fetch ?? outbound.fetch,
    now,
    ...observability,
    signals: console === undefined ? signals : console.tap(signals),
    console,
    permissions,
  };
}

async function assemble(config: GatewayConfig, parts: GatewayParts, keep: Keep) {
  const first = await servedFirst(config, parts);
  const { current, reconfigureBy } = openServing(first);
  const building = await openBuilding(first, parts, keep);
  const { credential, exchange, redis } = await openExchange(building);
  // After the exchange, which sees the time on the answers of Entra.
  const verifier = await openIdentity(building, current, exchange);
  const { replaceApis, ...downstream } = openDownstream(building);
  const delegations = openDelegations(building, exchange, redis);
  const { isReady, leaveRotation, ...admin } = assembleAdminSide(building, current, {
    verifier,
    credential,
    exchange,
  });
  const counters = redis?.counters;
  const bridgeOf = bridges(building, redis);
  const ports = { verifier, exchange, delegations, isReady, counters, bridgeOf, ...downstream };
  const { prepare, besides, ...publicSide } = await assemblePublicSide(building, ports, current());
  const local = assembleLocalSide(building, { ...ports, ...publicSide.guard }, current(), besides);
  return {
    ...publicSide,
    ...admin,
    local: local?.side,
    get routes() {
      return servedRoutes(current().config.routes, current().routes, delegations !== undefined);
    },
    log: building.log,
    ...assembleLife(building, { verifier, exchange, credential, redis }),
    leaveRotation,
    reconfigure: reconfigureBy({
      servedBy: (next) => servedBy(next, parts),
      async prepare(next) {
        const { begin, besides } = await prepare(next);
        const beginLocally = local?.prepare(next, besides);
        return () => {
          replaceApis(next.config);
          begin();
          beginLocally?.();
          building.permissions?.compareWith(next.config, next.routes);
        };
      },
      onEvent: building.signals.configuration,
    }),
  };
}

/** What operators look at: readiness, metrics, documents, and the console where it is enabled. */
function assembleAdminSide(
  { console, metrics, outputs, permissions }: Building,
  current: () => Serving,
  {
    verifier,
    credential,
    exchange,
  }: Pick<LifePorts, "credential"> & {
    readonly verifier: Awaited<ReturnType<typeof openIdentity>>;
    readonly exchange: Awaited<ReturnType<typeof openExchange>>["exchange"];
  },
) {
  const { clockDriftMs, cached } = exchange;
  console?.watch({ credential: credential.status, cached, keysReady: verifier.ready });
  metrics.watchConfiguration(current);
  const { config, routes } = current();
  permissions?.compareWith(config, routes);
  const { isReady, checks, leaveRotation } = createReadiness({
    verifier,
    credential,
    clockDriftMs,
    outputs,
    configuration: current,
  });
  const pages = adminPages({
    checks,
    generation: () => current().generation,
    metrics,
    documents: { "/permissions": permissions?.observed },
  });
  return { isReady, leaveRotation, admin: adminListener(pages), adminPages: pages, console };
}

/** Parts that each step of the assembly takes from the steps before it. */
interface Building extends Observability {
  readonly config: GatewayConfig;
  /** Those that the first configuration asks for; a later one may ask for more. */
  readonly rooms: OptionalRooms;
  readonly parts: GatewayParts;
  readonly keep: Keep;
  readonly authority: Authority;
  readonly outbound: Outbound;
  readonly fetch: Fetch;
  readonly now: () => number;
  /** Undefined where it is not enabled. */
  readonly console: Console | undefined;
  /** Undefined where no table of permissions is configured. */
  readonly permissions: WatchedPermissions | undefined;
}

/** What serves because of a configuration: its routes in code, and the rooms that it asks for. */
async function servedBy(config: GatewayConfig, parts: GatewayParts): Promise<Served> {
  const routes: readonly ServedCodeRoute[] = await codeRoutesOf(config, parts);
  return { config, routes, rooms: await loadRooms({ config, hasCode: routes.length > 0 }) };
}

/** Faults of the routes are reported together with those of the credential, which is opened later. */
async function servedFirst(config: GatewayConfig, parts: GatewayParts): Promise<Served> {
  try {
    return await servedBy(config, parts);
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    const { clientAssertion, now } = parts;
    const found = await findCredentialFaults({ ...config.credential, clientAssertion, now });
    throw new ConfigurationError([...error.faults, ...found], { cause: error });
  }
}

/** Verifies the callers' tokens. */
async function openIdentity(
  building: Building,
  serving: () => Served,
  { clockDriftMs }: Pick<OpenTokenExchange, "clockDriftMs">,
) {
  const { config, keep, authority, fetch, now, signals } = building;
  // Named in refusals of tokens for other APIs, and so only where the metadata publishes them to every reader.
  const publishedScopes = () => publishedResource(building, serving())?.scopes ?? [];
  const onEvent = signals.identity;
  return keep(
    await createTokenVerifier({
      ...config.identity,
      authority,
      publishedScopes,
      fetch,
      now,
      clockDriftMs,
      onEvent,
    }),
  );
}

/** Exchanges a caller's token for a delegated one: credential, Redis, exchange. */
async function openExchange(building: Building) {
  const { config, keep, metrics, signals } = building;
  const { application, exchange: options } = config;
  const wire = authorityWire(building);
  const credential = await openGatewayCredential({
    ...building,
    directFetch: building.parts.fetch ?? building.outbound.directFetch,
    clientAssertion: building.parts.clientAssertion,
    proveWith: createCredentialCheck(wire),
    onEvent: signals.credential,
  });
  metrics.watchCredential(credential.status);
  // After the credential, which may be refused: the connection to Redis is made at once, and again for ever.
  const redis = keep(await openSharedStore(building, wire, credential));
  const { maxEntries, maxBytes, expiryMarginSeconds } = options.cache;
  const exchange = keep(
    createTokenExchange({
      ...wire,
      allowedTenants: application.exchangeTenants,
      credential,
      cache: { maxEntries, maxBytes, expiryMarginMs: expiryMarginSeconds * 1000 },
      redis,
      refusalMemoryMs: options.refusalMemoryMs,
      budget: { total: options.maxConcurrent, ...config.fairness },
      consent: options.consent,
      onEvent: signals.exchange,
    }),
  );
  metrics.watchTokenCache({ ...exchange.cached, sharedAvailable: redis?.available });
  metrics.watchClock(exchange.clockDriftMs);
  return { credential, exchange, redis };
}

/** How token requests reach Entra. */
function authorityWire({ config, fetch, now, authority }: Building) {
  const { application, exchange } = config;
  return {
    clientId: application.clientId,
    authorityHost: `${authority.origin}/`,
    tokenEndpoint: authority.tokenEndpoint,
    authorizeEndpoint: authority.authorizeEndpoint,
    homeTenantId: application.tenantId,
    fetch,
    timeoutMs: exchange.timeoutMs,
    ...(application.regionalAuthority !== undefined && { regionalAuthority: application.regionalAuthority }),
    now,
  };
}

/** What replicas share in Redis; undefined where none is configured. */
async function openSharedStore(
  { config, rooms, now, signals }: Building,
  wire: ReturnType<typeof authorityWire>,
  credential: CredentialRing,
) {
  const { cache, cacheKeys, cacheKeysFile } = config.exchange;
  if (cache.redis.url.reveal() === "") return undefined;
  const onEvent = signals.exchange;
  return rooms.openRedis({
    ...cache.redis,
    keys: cacheKeys,
    keysFile: cacheKeysFile,
    token: cache.redis.auth === "entra" ? createRedisToken({ ...wire, credential, onEvent }) : undefined,
    now,
    onEvent,
  });
}

/** What users left to jobs; nothing where it is not configured. */
function openDelegations(
  { config, rooms, authority, now, signals }: Building,
  exchange: OfflineGrants,
  redis: OpenRedis | undefined,
) {
  if (config.delegations === undefined) return undefined;
  const { scopes, requiredScopes, ...rules } = config.delegations;
  // The configuration's own check speaks of the file; this is for a configuration that a program puts together.
  if (redis === undefined)
    throw new ConfigurationError([{ path: "delegations", problem: "need exchange.cache.redis.url" }]);
  const delegations = rooms.createDelegations({
    rules,
    scopes,
    authorityHost: `${authority.origin}/`,
    clientId: config.application.clientId,
    redis,
    exchange,
    now,
    onEvent: signals.delegation,
  });
  return { delegations, requiredScopes };
}

export interface GatewayCredentialOptions extends Pick<Building, "config" | "fetch" | "now" | "authority"> {
  readonly clientAssertion: ClientAssertionCallback | undefined;
  /** Reaches what gives managed identities their tokens, which no proxy does. */
  readonly directFetch: Fetch;
  /** Asks Entra whether it accepts a proof. */
  readonly proveWith: ReturnType<typeof createCredentialCheck>;
  readonly onEvent: CredentialOptions["onEvent"];
}

/**
 * How the gateway proves itself to Entra: certificate, workload identity, or another configured source. The doctor
 * opens credentials by this function too, so that it finds what the gateway will find.
 *
 * @throws {ConfigurationError} when none can be opened.
 */
export async function openGatewayCredential(options: GatewayCredentialOptions): Promise<CredentialRing> {
  const { config, fetch, directFetch, now, authority, clientAssertion, proveWith, onEvent } = options;
  const { clientId, tenantId } = config.application;
  const { managedIdentityClientId } = config.credential;
  return openCredential({
    ...config.credential,
    clientAssertion,
    ...(managedIdentityClientId !== undefined && {
      managedIdentityToken: createManagedIdentityToken({
        clientId: managedIdentityClientId,
        fetch: directFetch,
        timeoutMs: config.exchange.timeoutMs,
      }),
    }),
    federationAudience: authority.federatedCredentialAudience,
    canary: { request: { clientId, tokenEndpoint: authority.tokenEndpoint(tenantId) }, proveWith },
    fetch,
    now,
    onEvent,
  });
}

/** Connections to the APIs, and the three ways to use them: forward, forward a batch, call from code. */
function openDownstream({ config, parts, outbound, keep, now, signals }: Building) {
  const { fairness, heldAnswerBytes: maxBytes } = config;
  const apisIn = ({ downstreamApis }: GatewayConfig) => Object.values(downstreamApis);
  const transport = keep(
    createTransport({
      apis: apisIn(config),
      ...config.transport,
      fairness,
      proxyFor: outbound.proxyFor,
      now,
      onEvent: signals.downstream,
      ...(parts.downstreamCa !== undefined && { ca: parts.downstreamCa }),
    }),
  );
  const own = securityFields();
  return {
    own,
    forward: createForward({ transport, fairness, now, own }),
    forwardBatch: createForwardBatch({
      transport,
      now,
      limits: { places: fairness.batches, bytes: fairness.batchBytes, ...fairness },
    }),
    /** None where no code calls APIs; a route in code that names one is then a fault of the start. */
    apisOf({ config: of, rooms }: Pick<Served, "config" | "rooms">): Readonly<Record<string, CallableApi>> {
      const { clients } = rooms;
      if (clients === undefined) return {};
      return Object.fromEntries(
        apisIn(of).map((api): [string, CallableApi] => [
          api.name,
          {
            scopes: api.scopes,
            client: (bound) => clients.createDownstreamClient({ api, transport, maxBytes, ...bound }),
            callRules: (allow) => clients.compileCallRules(api, allow),
          },
        ]),
      );
    },
    replaceApis: (of: GatewayConfig) => transport.replaceApis(apisIn(of)),
  };
}

type PublicPorts = Pick<
  Parameters<typeof createPublicSide>[0],
  "verifier" | "exchange" | "forward" | "forwardBatch" | "own" | "isReady" | "delegations"
> & {
  readonly apisOf: (served: Served) => Readonly<Record<string, CallableApi>>;
  readonly bridgeOf: (served: Served) => Bridge | undefined;
  readonly counters: Parameters<typeof createPublicSide>[1]["counters"];
};

/** The public side: the app with every route, its policies, limits and refusals, and the protection of its listener. */
async function assemblePublicSide(building: Building, ports: PublicPorts, first: Served) {
  const { config, parts, keep, outputs, metrics, signals } = building;
  const { apisOf, bridgeOf, counters, ...lasting } = ports;
  const messageMemory = createBudget({ total: config.fairness.mcpBytes, ...config.fairness });
  /** All that a configuration decides about the public side; what is added here takes part in every reload. */
  const optionsOf = (serving: Served) => ({
    ...lasting,
    messageMemory,
    ...serving.config.http,
    ...challengeOptions(building, serving.config),
    apis: apisOf(serving),
    bridge: bridgeOf(serving),
    codeRoutes: serving.routes,
    ...(parts.checksNeeds !== undefined && { checksNeeds: parts.checksNeeds }),
    resource: publishedResource(building, serving),
    documents: publishedDocuments(serving),
    limits: serving.config.limits,
    auditIsAtRisk: outputs.auditIsAtRisk,
    observer: signals.requests,
    onInternalError: signals.internalError,
  });
  const { app, besides, refuse, prepare, overload, recognize, claimedUser } = await createPublicSide(
    optionsOf(first),
    {
      clientId: config.application.clientId,
      counters,
      onRateLimit: signals.rateLimit,
      maxEventLoopLagMs: config.http.maxEventLoopLagMs,
      sampleLag: parts.sampleLag,
      onLoad: signals.load,
      hasSecondSides: config.local !== undefined,
    },
  );
  if (overload !== undefined) metrics.watchLoad(keep(overload));
  const { connections } = config.http;
  const callers = { overload, recognize, claimedUser };
  const guard = { connections, onConnection: signals.connection, ...callers, own: ports.own };
  return { app, besides, refuse, guard, prepare: (serving: Served) => prepare(optionsOf(serving)) };
}

type LocalPorts = Pick<PublicPorts, "verifier" | "isReady" | "apisOf"> &
  Pick<Awaited<ReturnType<typeof assemblePublicSide>>["guard"], "overload" | "recognize" | "claimedUser">;

/**
 * The local side, where it is configured: the same rooms, limits and refusals behind another listener. Its routes are
 * those of the public side, so a reload replaces both.
 */
function assembleLocalSide(
  { config, rooms, now, signals }: Building,
  { apisOf, overload, recognize, claimedUser, verifier, isReady }: LocalPorts,
  first: Served,
  firstBesides: OpenSecondSide,
) {
  const { local, application } = config;
  if (local === undefined) return undefined;
  const { createLocalSide, recognizeLocally } = rooms;
  const sideOf = (serving: Served, open: OpenSecondSide) => {
    const callable = apisOf(serving);
    return createLocalSide({
      ...local,
      apis: local.apis,
      open,
      verifier,
      isReady,
      homeTenantId: application.tenantId,
      callable,
      now,
    });
  };
  let current = sideOf(first, firstBesides);
  const refuseWith =
    (refusal?: GatewayError): RequestListener =>
    (request, response) =>
      current.refuse(refusal)(request, response);
  const side: LocalGateway = {
    listener: (request, response) => current.listener(request, response),
    refuse: refuseWith(),
    guard: {
      connections: localConnections(config.http.connections, local),
      onConnection: signals.connection,
      recognize: recognizeLocally(recognize),
      claimedUser,
      overload: overload?.sheddingWith(refuseWith),
    },
  };
  return {
    side,
    prepare(serving: Served, open: OpenSecondSide): () => void {
      const next = sideOf(serving, open);
      return () => {
        current = next;
      };
    },
  };
}

/** The public side's limits, as far as the local API has none that differ. */
function localConnections(
  connections: GatewayConfig["http"]["connections"],
  { maxConnections, requestTimeoutSeconds }: NonNullable<GatewayConfig["local"]>,
) {
  const headersTimeoutSeconds = Math.min(connections.headersTimeoutSeconds, requestTimeoutSeconds);
  return { ...connections, max: maxConnections, requestTimeoutSeconds, headersTimeoutSeconds };
}

/** What else the gateway says of itself, where that is switched on. */
function publishedDocuments({ config, routes, rooms }: Served) {
  if (!config.http.openapi) return {};
  return { "/.well-known/openapi.json": rooms.openapiDocument({ config, codeRoutes: routes }) };
}

/**
 * Sign-in of MCP clients, where a configuration asks for it. One that asks for the same as the one before has its
 * bridge, and with that the sign-ins that are under way.
 */
function bridges({ authority, fetch, now }: Building, redis: OpenRedis | undefined) {
  let last: { readonly asked: unknown; readonly bridge: Bridge } | undefined;
  return ({ config, rooms }: Served) => {
    const { mcp } = config;
    const { publicUrl } = config.http;
    if (mcp === undefined || publicUrl === undefined) return undefined;
    const asked = { ...mcp, publicUrl, routes: mcpRoutes(config) };
    if (last === undefined || !isDeepStrictEqual(last.asked, asked))
      last = { asked, bridge: openBridge(asked, config, rooms.createBridge) };
    return last.bridge;
  };

  function openBridge(
    asked: NonNullable<GatewayConfig["mcp"]> & { publicUrl: string; routes: readonly McpRoute[] },
    config: GatewayConfig,
    createBridge: OptionalRooms["createBridge"],
  ): Bridge {
    const { exchange, identity } = config;
    return createBridge({
      ...asked,
      appIdUri: exchange.consent.appIdUri,
      tenants: identity.tenants,
      authorityOrigin: authority.origin,
      authorizeEndpoint: authority.authorizeEndpoint,
      tokenEndpoint: authority.tokenEndpoint,
      // With a file of keys, Redis' own view of it follows a change.
      keys: redis?.masterKeys ?? (() => exchange.cacheKeys),
      redis,
      fetch,
      timeoutMs: exchange.timeoutMs,
      now,
    });
  }
}

/** The routes of MCP servers, with the scopes that their clients sign in for. */
export function mcpRoutes({ routes, handlerRoutes }: GatewayConfig): readonly McpRoute[] {
  return [...routes.map((route) => ({ ...route, path: route.target.path })), ...handlerRoutes]
    .filter(({ mcp }) => mcp)
    .map(({ path, policy, tools }) => ({
      path,
      scopes: policy.requiredScopes,
      toolScopes: Object.values(tools?.scopes ?? {}).flat(),
    }));
}

/** The RFC 9728 document of the gateway, where its public address is configured. */
function publishedResource(
  { authority }: Pick<Building, "authority">,
  { config, routes }: Pick<Served, "config" | "routes">,
) {
  const { publicUrl } = config.http;
  if (publicUrl === undefined) return undefined;
  const { appIdUri } = config.exchange.consent;
  return resourceFacts({
    publicUrl,
    tenants: config.identity.tenants,
    issuer: (tenant) => authority.issuer(tenant, "2.0"),
    appIdUri,
    policies: [...config.routes, ...routes].map(({ policy }) => policy),
  });
}

/** The facts of the gateway that challenges in `WWW-Authenticate` point at. */
function challengeOptions({ authority }: Pick<Building, "authority">, { http, routes }: GatewayConfig) {
  return {
    authorizeEndpoint: authority.authorizeEndpoint,
    publicUrl: http.publicUrl,
    proxyRoutes: routes,
  };
}

interface LifePorts {
  readonly verifier: { warmUp(): Promise<void> };
  readonly exchange: Pick<OpenTokenExchange, "warmUp">;
  readonly credential: CredentialRing;
  readonly redis: Pick<OpenRedis, "reload"> | undefined;
}

/** Start and reload of an assembled gateway. */
function assembleLife(building: Building, { verifier, exchange, credential, redis }: LifePorts) {
  const closing = watchCredential(building, credential);
  return {
    async warmUp() {
      // One trial of the credential before the first request: a roll-out with a wrong one must not replace working pods.
      await Promise.all([verifier.warmUp(), credential.warmUp(closing), exchange.warmUp()]);
    },
    async reload() {
      building.outputs.reopen();
      await Promise.all([credential.refresh(), redis?.reload()]);
    },
  };
}

/** Looks at the credential's files between requests. The signal aborts when the gateway closes. */
function watchCredential({ keep, log }: Building, credential: CredentialRing): AbortSignal {
  const watch = setInterval(() => {
    credential.refresh().catch((err) => log.error({ err }, "the credential could not be looked at"));
  }, CREDENTIAL_WATCH_MS).unref();
  const closing = new AbortController();
  keep({
    close() {
      clearInterval(watch);
      closing.abort();
    },
  });
  return closing.signal;
}
