/** The public Express app: what every request passes, then the routes, then the two ways to end without an answer. */

import express, { type Express, type RequestHandler } from "express";
import type { Forward, OwnFields } from "../downstream/contract.ts";
import type { ForwardBatch } from "../downstream/graph/forward-batch.ts";
import { GatewayError } from "../errors.ts";
import type { TokenExchange } from "../exchange/contract.ts";
import type { RoutePolicy, TokenVerifier } from "../identity/contract.ts";
import { type CallableApi, type CodeRoute, handle } from "./code-route.ts";
import type { RequestObserver, RequestRecord } from "./contract.ts";
import { type CrossOriginOptions, crossOrigin } from "./cross-origin.ts";
import { checkMessage } from "./message-check.ts";
import { sayOwnFields } from "./own-fields.ts";
import { admit, type ProxyRoute, permit, proxyTo } from "./pipeline.ts";
import { answerProbe } from "./probe.ts";
import { bearerChallenge, type ChallengeFacts } from "./problem.ts";
import type { LimitRoute, RateLimitRules } from "./rate-limits.ts";
import { answerErrors } from "./refusal.ts";
import { openRecord, recordOf } from "./request-record.ts";
import { protectedResource, type ResourceFacts } from "./resource-metadata.ts";
import { methodsOf, staticPart } from "./route-table.ts";

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
  })[];
  readonly codeRoutes: readonly CodeRoute[];
  /** Handlers behind `authenticate`; none where nothing is limited. */
  readonly limit: LimitRoute;
  readonly challenge: ChallengeFacts;
  /** RFC 9728 document; `undefined` publishes none. */
  readonly resource: ResourceFacts | undefined;
  /** Addresses and networks whose `X-Forwarded-*` are believed. */
  readonly trustedProxies: readonly string[];
  readonly cors: CrossOriginOptions;
  /** Path at which anybody learns whether the gateway is ready; none where it is not configured. */
  readonly probePath?: string | undefined;
  readonly isReady: () => boolean;
  /** Said in every answer. */
  readonly own: OwnFields;
  readonly observer: RequestObserver;
  /** Asked for each request, before anything of it is looked at: a refusal of every request, while there is a reason. */
  readonly refuseAll?: () => GatewayError | undefined;
  /** An error that no room throws as a refusal: a defect of the gateway. */
  readonly onInternalError: (error: unknown, record: RequestRecord) => void;
}

interface Admitted {
  readonly path: string;
  /** Without one, any verified caller is let through. */
  readonly policy?: RoutePolicy;
  readonly limits?: RateLimitRules | undefined;
  /** What limits of its own are counted under. Default: the path. */
  readonly counted?: string;
}

export function createPublicApp(options: PublicAppOptions): Express {
  const { verifier, exchange, forward, forwardBatch, publicUrl, limit } = options;
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

  // Express compares mounts with the path as it is spelt, so `/graph/%61dmin` passes by a route at `/graph/admin`.
  const paths = [
    ...options.proxyRoutes.map(({ target }) => target.path),
    ...options.codeRoutes.map(staticPart),
  ];
  const mountsBelow = (mount: string) => paths.filter((path) => path.startsWith(`${mount}/`));

  // In front of the record: a balancer's probes are no requests of a caller, in the log or in the metrics.
  if (options.probePath !== undefined) app.use(answerProbe(options.probePath, options.isReady, options.own));
  app.use(receive(options.observer, options.refuseAll));
  // The forwarder writes the gateway's fields along with the API's. For other answers they are set beforehand.
  const say = saying(options.own);
  // Limits count verified callers, before the route's policy decides what a caller may do.
  const admitted = (
    { path, policy, limits: rules, counted = path }: Admitted,
    proceed: RequestHandler,
  ): readonly RequestHandler[] => {
    const limits = limit(counted, rules);
    if (limits.length === 0) return [admit({ path, policy, verifier }, proceed)];
    return [admit({ path, policy: undefined, verifier }), ...limits, permit(policy), proceed];
  };
  if (options.cors.origins.length > 0) app.use(say, crossOrigin(options.cors));
  if (options.resource !== undefined) app.use(protectedResource(options.resource, say));

  for (const route of options.codeRoutes)
    app[route.method](
      route.path,
      say,
      // One path may be several routes in code, each for a method.
      ...admitted(
        { ...route, counted: `${route.method} ${route.path}` },
        handle(route, options.apis, exchange, clientId),
      ),
    );
  const ports = {
    clientId,
    exchange,
    forward,
    forwardBatch,
    publicUrl,
    own: options.own,
    challenge: bearerChallenge(options.challenge),
  };
  for (const route of options.proxyRoutes) {
    const { path } = route.target;
    const target = { ...route.target, reserved: mountsBelow(path) };
    app.use(path, ...admitted({ ...route, path }, proxyTo({ ...route, target }, ports)));
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

/** The first to see a request: opens its record, and ends its connection where two servers could read it differently. */
function receive(observer: RequestObserver, refuseAll: PublicAppOptions["refuseAll"]): RequestHandler {
  return (request, response, next) => {
    const record = openRecord(request);
    observer.began(record, request);
    // `close` comes exactly once, after `finish` or instead of it when the connection broke.
    response.on("close", () =>
      observer.ended(record, {
        method: request.method,
        status: response.statusCode,
        completed: response.writableFinished,
      }),
    );
    checkMessage(request, response);
    const refusal = refuseAll?.();
    if (refusal !== undefined) throw refusal;
    next();
  };
}

function saying(own: OwnFields): RequestHandler {
  return (request, response, next) => {
    sayOwnFields(response, own, recordOf(request).correlationId);
    next();
  };
}

/** RFC 9110 §15.5.6: a 405 names what would have been allowed. Express answers HEAD wherever it answers GET. */
function otherMethod(path: string, routes: readonly CodeRoute[]): RequestHandler {
  const methods = routes.filter((route) => route.path === path).flatMap(methodsOf);
  return (_request, response) => {
    response.setHeader("allow", methods.join(", "));
    throw new GatewayError("method_not_allowed", {
      detail: "This route does not take the method of the request.",
    });
  };
}
