/** The public side: the Express app with every route, what it publishes of itself, and what protects it. */

import type { IncomingMessage, ServerResponse } from "node:http";
import express, { type Express, type RequestHandler } from "express";
import helmet from "helmet";
import type { Forward, OwnFields } from "../downstream/contract.ts";
import type { ForwardBatch } from "../downstream/graph/forward-batch.ts";
import { isGraph } from "../downstream/target/downstream-api.ts";
import { GatewayError } from "../errors.ts";
import type { TokenExchange } from "../exchange/contract.ts";
import type { RoutePolicy, TokenVerifier } from "../identity/contract.ts";
import type { Bridge } from "../mcp/contract.ts";
import { createAdmission, createMounts } from "./admission.ts";
import { type CallableApi, type CodeRoute, handle } from "./code-route.ts";
import type { RateLimitRules, RequestObserver, RequestRecord } from "./contract.ts";
import { type CrossOriginOptions, crossOrigin } from "./cross-origin.ts";
import { type DelegationRoutes, mountDelegations } from "./delegations.ts";
import { createLoadShedding, type LoadSheddingOptions } from "./load-shedding.ts";
import { mcpEndpoints } from "./mcp-endpoints.ts";
import {
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
import { createRateLimits, type LimitRoute, type RateLimitsOptions } from "./rate-limits.ts";
import { answerErrors, createRefusal } from "./refusal.ts";
import { methodsOf } from "./route-table.ts";

/** For the description of the API, which lists what a route may answer. */
export { statusOf } from "./problem.ts";

export interface PublicSideOptions extends Omit<PublicAppOptions, "limit" | "challenge"> {
  /** Application (client) id of the gateway. */
  readonly clientId: string;
  readonly authorizeEndpoint: ChallengeFacts["authorizeEndpoint"];
  readonly limits: RateLimitsOptions["rules"];
  readonly counters: RateLimitsOptions["counters"];
  readonly onRateLimit: RateLimitsOptions["onEvent"];
  readonly maxEventLoopLagMs: LoadSheddingOptions["maxEventLoopLagMs"];
  readonly sampleLag: LoadSheddingOptions["sampleLag"];
  readonly onLoad: LoadSheddingOptions["onEvent"];
}

/** The app, and what its listener needs beside it: the refusal of late requests, known users, and load shedding where it is on. */
export function createPublicSide(options: PublicSideOptions) {
  const { clientId, own, cors } = options;
  const challenge = challengeFacts(options);
  const { limits: rules, counters, onRateLimit, onLoad } = options;
  const refuseWith = (refusal?: GatewayError) => createRefusal({ challenge, own, cors }, refusal);
  const limit = createRateLimits({ clientId, rules, counters, onEvent: onRateLimit });
  return {
    app: createPublicApp({ ...options, challenge, limit }),
    limit,
    refuse: refuseWith(),
    recognize: recognizeUser(options.verifier),
    overload: createLoadShedding({ ...options, refuseWith, onEvent: onLoad }),
  };
}

/** What challenges in `WWW-Authenticate` point at. */
export function challengeFacts(
  options: Pick<PublicSideOptions, "clientId" | "authorizeEndpoint" | "publicUrl" | "proxyRoutes">,
): ChallengeFacts {
  const { clientId, authorizeEndpoint, publicUrl, proxyRoutes } = options;
  return {
    clientId,
    authorizeEndpoint,
    resourceMetadata: publicUrl === undefined ? undefined : metadataUrl(publicUrl),
    graphMounts: proxyRoutes.filter(({ api }) => isGraph(api)).map(({ target }) => target.path),
  };
}

export interface PublicAppOptions {
  readonly verifier: TokenVerifier;
  readonly exchange: TokenExchange;
  readonly forward: Forward;
  readonly forwardBatch: ForwardBatch;
  /** How callers reach the gateway, where that is configured. */
  readonly publicUrl?: string | undefined;
  readonly apis: Readonly<Record<string, CallableApi>>;
  readonly proxyRoutes: readonly (ProxyRoute & {
    readonly policy: RoutePolicy;
    readonly limits?: RateLimitRules;
    /** Whether a job may send requests for a user who delegated. */
    readonly takesDelegations?: boolean;
  })[];
  readonly codeRoutes: readonly CodeRoute[];
  /** Undefined where they are not configured. */
  readonly delegations: DelegationRoutes | undefined;
  /** Handlers behind `authenticate`; none where nothing is limited. */
  readonly limit: LimitRoute;
  readonly challenge: ChallengeFacts;
  /** RFC 9728 document; `undefined` publishes none. */
  readonly resource: ResourceFacts | undefined;
  /** Sign-in of MCP clients; none where it is not configured. */
  readonly bridge?: Bridge | undefined;
  /** Addresses and networks whose `X-Forwarded-*` are believed. */
  readonly trustedProxies: readonly string[];
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

export function createPublicApp(options: PublicAppOptions): Express {
  const { exchange, forward, forwardBatch, publicUrl } = options;
  const { clientId } = options.challenge;
  const app = express();
  app.disable("x-powered-by");
  app.disable("etag");
  app.set("case sensitive routing", true);
  app.set("strict routing", true);
  app.set("query parser", false);
  // Express' last resort, should our own way to answer fail, shows the stack anywhere else.
  app.set("env", "production");
  app.set("trust proxy", [...options.trustedProxies]);

  const mountsBelow = createMounts(options);

  // In front of the record: a balancer's probes are no requests of a caller, in the log or in the metrics.
  if (options.probePath !== undefined) app.use(answerProbe(options.probePath, options.isReady, options.own));
  app.use(receive(options.observer, options.auditIsAtRisk));
  // The forwarder writes the gateway's fields along with the API's. For other answers they are set beforehand.
  const say = saying(options.own);
  const { bridge } = options;
  if (bridge !== undefined) app.use(mcpEndpoints(bridge, options.own, { anyOrigin: true }));
  const admitted = createAdmission(options);
  if (options.cors.origins.length > 0) app.use(say, crossOrigin(options.cors));
  if (bridge !== undefined) app.use(mcpEndpoints(bridge, options.own, { anyOrigin: false }));
  if (options.resource !== undefined) app.use(protectedResource(options.resource, say));

  if (options.delegations !== undefined)
    mountDelegations(app, options.delegations, (path, policy, handler) => [
      say,
      ...admitted(policy === undefined ? { path } : { path, policy }, handler),
    ]);
  for (const route of options.codeRoutes)
    app[route.method](
      route.path,
      say,
      // One path may be several routes in code, each for a method.
      ...admitted(
        { ...route, counted: `${route.method} ${route.path}` },
        handle(route, {
          apis: options.apis,
          exchange,
          clientId,
          delegations: options.delegations?.delegations,
        }),
      ),
    );
  const ports = {
    clientId,
    exchange,
    forward,
    forwardBatch,
    publicUrl,
    own: options.own,
  };
  for (const route of options.proxyRoutes) {
    const { path } = route.target;
    const target = { ...route.target, reserved: mountsBelow(path) };
    const challenge = bearerChallenge({ ...options.challenge, mcp: bridge?.routes.get(path) });
    app.use(path, ...admitted({ ...route, path }, proxyTo({ ...route, target }, { ...ports, challenge })));
  }

  // Behind the routes of the file, which may take other methods at the same path.
  for (const path of new Set(options.codeRoutes.map((route) => route.path)))
    app.all(path, say, ...admitted({ path }, otherMethod(path, options.codeRoutes)));

  app.use(() => {
    throw new GatewayError("route_unknown", { detail: "No route of this gateway matches the path." });
  });
  app.use(answerErrors(options));
  return app;
}

function saying(own: OwnFields): RequestHandler {
  return (request, response, next) => {
    sayOwnFields(response, own, recordOf(request).correlationId);
    next();
  };
}

/** Express answers HEAD wherever it answers GET. */
function otherMethod(path: string, routes: readonly CodeRoute[]): RequestHandler {
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

/** Serves the RFC 9728 document to every client: it says nothing that a challenge would not. */
function protectedResource(facts: ResourceFacts, say: RequestHandler): RequestHandler {
  const paths = new Set([WELL_KNOWN, new URL(metadataUrl(facts.publicUrl)).pathname]);
  const document = {
    resource: facts.publicUrl,
    authorization_servers: facts.authorizationServers,
    scopes_supported: facts.scopes,
    bearer_methods_supported: ["header"],
  };
  return (request, response, next) => {
    if (!paths.has(request.path) || (request.method !== "GET" && request.method !== "HEAD")) {
      next();
      return;
    }
    say(request, response, () => {
      response.setHeader("cache-control", "public, max-age=3600");
      response.json(document);
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
  return Object.freeze({
    lines: Object.freeze(lines),
    names: new Set([...lines.filter((_, index) => index % 2 === 0), "x-correlation-id"]),
  });
}
