/** The public side: the Express app with every route, what it publishes of itself, and what protects it. */

import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import express, { type Express, type RequestHandler, type Router } from "express";
import helmet from "helmet";
import type { Forward, OwnFields } from "../downstream/contract.ts";
import type { ForwardBatch } from "../downstream/graph/forward-batch.ts";
import { isGraph } from "../downstream/target/downstream-api.ts";
import { GatewayError } from "../errors.ts";
import type { TokenExchange } from "../exchange/contract.ts";
import type { Budget } from "../foundation/budget.ts";
import { fixedFields } from "../foundation/checked-head.ts";
import type { RoutePolicy, TokenVerifier } from "../identity/contract.ts";
import type { Bridge } from "../mcp/contract.ts";
import type { ToolRules } from "../mcp/tools/contract.ts";
import { type Admit, createAdmission, createMounts } from "./admission.ts";
import { type CallableApi, handle, type ServedCodeRoute } from "./code-route.ts";
import type {
  McpGate,
  McpSignIn,
  OpenSecondSide,
  RateLimitRules,
  RequestObserver,
  RequestRecord,
} from "./contract.ts";
import { type CrossOriginOptions, crossOrigin, withMcpFields } from "./cross-origin.ts";
import { type DelegationRoutes, mountDelegations } from "./delegations.ts";
import { createLoadShedding, type LoadSheddingOptions } from "./load-shedding.ts";
import type { McpGateOptions } from "./mcp-gate.ts";
import { isLimit, loadParts } from "./optional-parts.ts";
import {
  claimedUserOf,
  type ProxyRoute,
  proxyTo,
  receive,
  recognizeUser,
  recordOf,
  refuseMethod,
  sayOwnFields,
} from "./pipeline.ts";
import { answerProbe } from "./probe.ts";
import { bearerChallenge, type ChallengeFacts } from "./problem.ts";
import type { ConfiguredLimits, LimitRoute, RateLimits, RateLimitsOptions } from "./rate-limits.ts";
import { answerErrors, createRefusal } from "./refusal.ts";
import { methodsOf } from "./route-table.ts";

/** For the description of the API, which lists what a route may answer. */
export { statusOf } from "./problem.ts";

/** What the public side follows from, and what changes with a configuration. */
export interface PublicSideOptions
  extends Omit<PublicRouterOptions, "limit" | "challenge" | "mcpSignIn" | "createMcpGate"> {
  readonly authorizeEndpoint: ChallengeFacts["authorizeEndpoint"];
  readonly limits: RateLimitRules;
  /** Sign-in of MCP clients; none where it is not configured. */
  readonly bridge?: Bridge | undefined;
  /** Addresses and networks whose `X-Forwarded-*` are believed. */
  readonly trustedProxies: readonly string[];
}

/** What the public side keeps from its beginning to its end. */
export interface PublicSidePorts {
  /** Application (client) id of the gateway. */
  readonly clientId: string;
  readonly counters: RateLimitsOptions["counters"];
  readonly onRateLimit: RateLimitsOptions["onEvent"];
  readonly maxEventLoopLagMs: LoadSheddingOptions["maxEventLoopLagMs"];
  readonly sampleLag: LoadSheddingOptions["sampleLag"];
  readonly onLoad: LoadSheddingOptions["onEvent"];
  /** Whether other sides serve the same routes. */
  readonly hasSecondSides: boolean;
}

/** How one configuration phrases refusals. */
type RefuseWith = (refusal?: GatewayError) => RequestListener;

/**
 * The app, and what its listener needs beside it: the refusal of late requests, and load shedding where it is on. A request
 * is served or refused by the configuration that is the latest when it begins.
 */
export async function createPublicSide(first: PublicSideOptions, ports: PublicSidePorts) {
  const { clientId, counters, onRateLimit, onLoad, hasSecondSides } = ports;
  const app = createApp();
  let rateLimits: RateLimits | undefined;
  let current: RefuseWith;

  async function prepare(options: PublicSideOptions) {
    const { own, cors, limits, trustedProxies } = options;
    const { createRateLimits, secondSides, ...parts } = await loadParts({ ...options, hasSecondSides });
    const challenge = challengeFacts({ ...options, clientId });
    rateLimits ??= createRateLimits?.({ clientId, counters, onEvent: onRateLimit });
    const { limit, takeOver } = rateLimits?.under(limits) ?? NO_LIMITS;
    const whole = { ...options, ...parts, clientId, challenge, limit };
    const router = createPublicRouter(whole);
    const refuseByThis: RefuseWith = (refusal) => createRefusal({ challenge, own, cors }, refusal);
    const begin = () => {
      takeOver();
      current = refuseByThis;
      app.set("trust proxy", [...trustedProxies]);
      // In the place of the app's own, behind which it would look at the path and cut the URL once more.
      Object.defineProperty(app, "router", { value: router, configurable: true });
    };
    /** Opens other sides that serve this configuration. */
    const besides: OpenSecondSide = (look) => secondSides(whole)(look);
    return { begin, besides };
  }

  /** One refusal, as the current configuration phrases it. */
  function refuseWith(refusal?: GatewayError): RequestListener {
    let made: { readonly by: RefuseWith; readonly listener: RequestListener } | undefined;
    return (request, response) => {
      if (made?.by !== current) made = { by: current, listener: current(refusal) };
      made.listener(request, response);
    };
  }

  const { begin, besides } = await prepare(first);
  begin();
  return {
    app,
    /** Opens other sides that serve the first configuration. */
    besides,
    refuse: refuseWith(),
    recognize: recognizeUser(first.verifier),
    claimedUser: claimedUserOf(first.verifier),
    overload: createLoadShedding({ ...ports, refuseWith, onEvent: onLoad }),
    /**
     * Builds the side of another configuration, and opens others beside it. `begin` puts it in the place of the current
     * one.
     *
     * Rejects with a ConfigurationError when it cannot be built; the current one goes on.
     */
    prepare,
  };
}

/** Where nothing is limited, nothing counts. */
const NO_LIMITS: ConfiguredLimits = {
  limit(_scope, own = {}) {
    if (isLimit(own)) throw new Error("a route has limits, and nothing was loaded that counts");
    return [];
  },
  takeOver() {},
};

function createApp(): Express {
  const app = express();
  app.disable("x-powered-by");
  app.disable("etag");
  app.set("case sensitive routing", true);
  app.set("strict routing", true);
  app.set("query parser", false);
  // Express' last resort, should our own way to answer fail, shows the stack anywhere else.
  app.set("env", "production");
  return app;
}

/** What challenges in `WWW-Authenticate` point at. */
export function challengeFacts(
  options: Pick<PublicSideOptions, "authorizeEndpoint" | "publicUrl" | "proxyRoutes"> &
    Pick<PublicSidePorts, "clientId">,
): ChallengeFacts {
  const { clientId, authorizeEndpoint, publicUrl, proxyRoutes } = options;
  return {
    clientId,
    authorizeEndpoint,
    resourceMetadata: publicUrl === undefined ? undefined : metadataUrl(publicUrl),
    graphMounts: proxyRoutes.filter(({ api }) => isGraph(api)).map(({ target }) => target.path),
  };
}

export interface PublicRouterOptions {
  readonly verifier: TokenVerifier;
  readonly exchange: TokenExchange;
  readonly forward: Forward;
  readonly forwardBatch: ForwardBatch;
  /** How callers reach the gateway, where that is configured. */
  readonly publicUrl?: string | undefined;
  readonly apis: Readonly<Record<string, CallableApi>>;
  readonly proxyRoutes: readonly (Omit<ProxyRoute, "gate"> & {
    readonly policy: RoutePolicy;
    readonly limits?: RateLimitRules;
    /** Whether a server of the Model Context Protocol stands behind. */
    readonly mcp?: boolean;
    /** Rules for its tools. */
    readonly tools?: ToolRules | undefined;
    /** Whether a job may send requests for a user who delegated. */
    readonly takesDelegations?: boolean;
  })[];
  /** Memory for messages to such servers. */
  readonly messageMemory: Budget;
  readonly codeRoutes: readonly ServedCodeRoute[];
  /** See `HandlerPorts`. */
  readonly checksNeeds?: boolean;
  /** Undefined where they are not configured. */
  readonly delegations: DelegationRoutes | undefined;
  /** Handlers behind `authenticate`; none where nothing is limited. */
  readonly limit: LimitRoute;
  readonly challenge: ChallengeFacts;
  /** RFC 9728 document; `undefined` publishes none. */
  readonly resource: ResourceFacts | undefined;
  /** Further documents that every client may read, by path. */
  readonly documents?: Readonly<Record<string, unknown>>;
  /** Sign-in of MCP clients; none where it is not configured. */
  readonly mcpSignIn: McpSignIn | undefined;
  /** Throws where no route asked for it. */
  readonly createMcpGate: (options: McpGateOptions) => McpGate;
  readonly cors: CrossOriginOptions;
  /** Path at which anybody learns whether the gateway is ready; none where it is not configured. */
  readonly probePath?: string | undefined;
  readonly isReady: () => boolean;
  /** Said in every answer. */
  readonly own: OwnFields;
  readonly observer: RequestObserver;
  /** Asked for each request: whether it has to be refused because the audit stream might not record it. */
  readonly auditIsAtRisk?: () => boolean;
  /** An error that no room throws as a refusal: a defect of the gateway. */
  readonly onInternalError: (error: unknown, record: RequestRecord) => void;
}

/** Every route of one configuration, and the answers of last resort. */
export function createPublicRouter(options: PublicRouterOptions): Router {
  const { mcpSignIn } = options;
  const router = express.Router({ caseSensitive: true, strict: true });

  // In front of the record: a balancer's probes are no requests of a caller, in the log or in the metrics.
  if (options.probePath !== undefined)
    router.use(answerProbe(options.probePath, options.isReady, options.own));
  router.use(receive(options.observer, options.auditIsAtRisk));
  // The forwarder writes the gateway's fields along with the API's. For other answers they are set beforehand.
  const say = saying(options.own);
  if (mcpSignIn !== undefined) router.use(mcpSignIn.documents);
  const admitted = createAdmission(options);
  const speaksMcp = [...options.proxyRoutes, ...options.codeRoutes].some(({ mcp }) => mcp === true);
  if (options.cors.origins.length > 0)
    router.use(say, crossOrigin(speaksMcp ? withMcpFields(options.cors) : options.cors));
  if (mcpSignIn !== undefined) router.use(mcpSignIn.endpoints);
  const documents = { ...options.documents, ...(options.resource && resourceDocuments(options.resource)) };
  if (Object.keys(documents).length > 0) router.use(publishing(documents, say));

  if (options.delegations !== undefined)
    mountDelegations(router, options.delegations, (path, policy, handler) => [
      say,
      ...admitted(policy === undefined ? { path } : { path, policy }, handler),
    ]);
  mountCodeRoutes(router, options, { admitted, say });
  mountProxyRoutes(router, options, admitted);

  // Behind the routes of the file, which may take other methods at the same path.
  for (const path of new Set(options.codeRoutes.map((route) => route.path)))
    router.all(path, say, ...admitted({ path }, otherMethod(path, options.codeRoutes)));

  router.use(() => {
    throw new GatewayError("route_unknown", { detail: "No route of this gateway matches the path." });
  });
  router.use(answerErrors(options));
  return router;
}

function mountCodeRoutes(
  router: Router,
  options: PublicRouterOptions,
  { admitted, say }: { readonly admitted: Admit; readonly say: RequestHandler },
): void {
  const { apis, exchange, checksNeeds, delegations } = options;
  const { clientId } = options.challenge;
  for (const route of options.codeRoutes)
    router[route.method](
      route.path,
      say,
      // One path may be several routes in code, each for a method.
      ...admitted(
        { ...route, counted: `${route.method} ${route.path}` },
        handle(route, {
          apis,
          exchange,
          clientId,
          delegations: delegations?.delegations,
          gate: route.mcp === true ? gateOf(options, route.path, route.tools, CODE_BODY) : undefined,
          checksNeeds,
        }),
      ),
    );
}

function mountProxyRoutes(router: Router, options: PublicRouterOptions, admitted: Admit): void {
  const { exchange, forward, forwardBatch, publicUrl, own, mcpSignIn } = options;
  const { clientId } = options.challenge;
  const ports = { clientId, exchange, forward, forwardBatch, publicUrl, own };
  const mountsBelow = createMounts(options);
  for (const route of options.proxyRoutes) {
    const { path } = route.target;
    const target = { ...route.target, reserved: mountsBelow(path) };
    const challenge = bearerChallenge({ ...options.challenge, mcp: mcpSignIn?.challengeOf(path) });
    const gate = route.mcp === true ? gateOf(options, path, route.tools, route.api) : undefined;
    router.use(
      path,
      ...admitted({ ...route, path }, proxyTo({ ...route, target, gate }, { ...ports, challenge })),
    );
  }
}

/** Reads the messages to a server of the Model Context Protocol. */
function gateOf(
  { createMcpGate, limit, own, messageMemory: memory }: PublicRouterOptions,
  path: string,
  rules: ToolRules | undefined,
  body: McpGateOptions["body"],
): McpGate {
  return createMcpGate({ path, rules, body, limit, own, memory });
}

/** Bounds of a message to a handler in code, which has no API's to go by. */
const CODE_BODY = { maxRequestBytes: 4 * 2 ** 20, idleTimeoutMs: 60_000, timeoutMs: 30_000 };

function saying(own: OwnFields): RequestHandler {
  return (request, response, next) => {
    sayOwnFields(response, own, recordOf(request).correlationId);
    next();
  };
}

/** Express answers HEAD wherever it answers GET. */
function otherMethod(path: string, routes: readonly ServedCodeRoute[]): RequestHandler {
  return refuseMethod(
    routes
      .filter((route) => route.path === path)
      .flatMap(methodsOf)
      .join(", "),
  );
}

interface ResourceFacts {
  /** The gateway as callers reach it, the RFC's `resource` identifier. */
  readonly publicUrl: string;
  /** Issuers whose tokens are accepted. */
  readonly authorizationServers: readonly string[];
  /** Scopes that some route asks for, as clients request them. */
  readonly scopes: readonly string[];
}

/** What the RFC 9728 document follows from: it tells a client that discovers the gateway where to get a token for it. */
interface ResourceOptions {
  readonly publicUrl: string;
  /** Tenants whose users may call; `*` is any. */
  readonly tenants: readonly string[];
  /** Issuer of a tenant's tokens. */
  readonly issuer: (tenant: string) => string;
  /** App ID URI, before which a route's scope is qualified. */
  readonly appIdUri: string;
  readonly policies: readonly Pick<RoutePolicy, "requiredScopes">[];
}

export function resourceFacts({
  publicUrl,
  tenants,
  issuer,
  appIdUri,
  policies,
}: ResourceOptions): ResourceFacts {
  const scopes = new Set(policies.flatMap(({ requiredScopes }) => requiredScopes));
  return {
    publicUrl,
    authorizationServers: (tenants.includes("*") ? ["organizations"] : tenants).map(issuer),
    scopes: [...scopes].map((scope) => `${appIdUri}/${scope}`),
  };
}

const WELL_KNOWN = "/.well-known/oauth-protected-resource";

/** URL of the document for a resource: the well-known segment goes between host and path (RFC 9728 §3.1). */
function metadataUrl(publicUrl: string): string {
  const { origin, pathname } = new URL(publicUrl);
  return `${origin}${WELL_KNOWN}${pathname === "/" ? "" : pathname}`;
}

/** The RFC 9728 document at its paths. */
function resourceDocuments(facts: ResourceFacts): Readonly<Record<string, unknown>> {
  const document = {
    resource: facts.publicUrl,
    authorization_servers: facts.authorizationServers,
    scopes_supported: facts.scopes,
    bearer_methods_supported: ["header"],
  };
  return { [WELL_KNOWN]: document, [new URL(metadataUrl(facts.publicUrl)).pathname]: document };
}

/** Serves documents to every client: they say nothing that a challenge or a refusal would not. */
function publishing(documents: Readonly<Record<string, unknown>>, say: RequestHandler): RequestHandler {
  return (request, response, next) => {
    const isRead = request.method === "GET" || request.method === "HEAD";
    if (!isRead || !Object.hasOwn(documents, request.path)) {
      next();
      return;
    }
    say(request, response, () => {
      response.setHeader("cache-control", "public, max-age=3600");
      response.json(documents[request.path]);
    });
  };
}

/**
 * The security fields, which every answer carries. Helmet's defaults are the same for every request, so they are asked
 * for once and written as lines from then on.
 */
export function securityFields(): OwnFields {
  const lines: string[] = [];
  const recorder = {
    setHeader(name: string, value: string | number | readonly string[]) {
      lines.push(name.toLowerCase(), String(value));
    },
    removeHeader() {},
  };
  let failure: unknown;
  helmet()({} as IncomingMessage, recorder as unknown as ServerResponse, (error) => {
    failure = error;
  });
  if (failure !== undefined) throw failure;
  return fixedFields(lines, ["x-correlation-id"]);
}
