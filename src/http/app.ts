/** The public Express app: what every request passes, then the routes, then the two ways to end without an answer. */

import cors from "cors";
import express, { type ErrorRequestHandler, type Express, type Request, type RequestHandler } from "express";
import helmet from "helmet";
import type { Forward } from "../downstream/forward.ts";
import type { ForwardBatch } from "../downstream/forward-batch.ts";
import { readFraming } from "../downstream/request-body.ts";
import { GatewayError } from "../errors.ts";
import type { TokenExchange } from "../exchange/exchange.ts";
import type { RoutePolicy } from "../identity/claims-policy.ts";
import type { TokenVerifier } from "../identity/token-verifier.ts";
import { type CallableApi, type CodeRoute, handle } from "./code-route.ts";
import { authenticate, type ProxyRoute, permit, proxyTo } from "./pipeline.ts";
import { bearerChallenge, type ChallengeFacts, phraseProblem, sendProblem } from "./problem.ts";
import type { LimitRoute, RateLimitRules } from "./rate-limits.ts";
import { openRecord, type RequestRecord, recordOf } from "./request-record.ts";
import { protectedResource, type ResourceFacts } from "./resource-metadata.ts";

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
  readonly cors: { readonly origins: readonly string[]; readonly maxAgeSeconds: number };
  /** Called when the first byte of a request is here, and returns what to call when its answer has ended. */
  readonly observe: (record: RequestRecord, method: string) => (status: number, completed: boolean) => void;
  /** An error that is nobody's refusal: a defect of ours. */
  readonly onInternalError: (error: unknown, record: RequestRecord) => void;
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

  app.use(openRecord);
  app.use(observed(options.observe));
  app.use(unambiguous);
  app.use(helmet());
  if (options.cors.origins.length > 0) app.use(crossOrigin(options.cors));
  if (options.resource !== undefined) app.use(protectedResource(options.resource));

  for (const route of options.codeRoutes)
    app[route.method](
      route.path,
      named(route.path),
      authenticate(verifier),
      ...limit(route.path, route.limits),
      permit(route.policy),
      handle(route, options.apis, exchange, clientId),
    );
  for (const route of options.proxyRoutes)
    app.use(
      route.target.path,
      named(route.target.path),
      authenticate(verifier),
      ...limit(route.target.path, route.limits),
      permit(route.policy),
      proxyTo(
        { ...route, target: { ...route.target, reserved: mountsBelow(route.target.path) } },
        {
          clientId,
          exchange,
          forward,
          forwardBatch,
          publicUrl,
          challenge: bearerChallenge(options.challenge),
        },
      ),
    );

  // Behind the routes of the file, which may take other methods at the same path.
  for (const path of new Set(options.codeRoutes.map((route) => route.path)))
    app.all(path, named(path), authenticate(verifier), ...limit(path), otherMethod(path, options.codeRoutes));

  app.use(() => {
    throw new GatewayError("route_unknown", { detail: "No route of this gateway matches the path." });
  });
  app.use(answerErrors(options));
  return app;
}

/** Refuses whatever arrives, and does as little as it can for it. Default: because shutdown has begun in earnest. */
export function createRefusal(
  { challenge, cors }: Pick<PublicAppOptions, "challenge" | "cors">,
  refusal = draining(),
): Express {
  const app = express();
  app.disable("x-powered-by");
  app.use(openRecord);
  if (cors.origins.length > 0) app.use(crossOrigin(cors));
  app.use(() => {
    throw refusal;
  });
  app.use(answerErrors({ challenge, onInternalError: () => {} }));
  return app;
}

function draining(): GatewayError {
  return new GatewayError("draining", {
    detail: "This instance is shutting down. Send the request again; another will take it.",
    retryAfterSeconds: 1,
  });
}

function observed(observe: PublicAppOptions["observe"]): RequestHandler {
  return (request, response, next) => {
    const ended = observe(recordOf(request), request.method);
    // `close` comes exactly once, after `finish` or instead of it when the connection broke.
    response.once("close", () => ended(response.statusCode, response.writableFinished));
    next();
  };
}

/** Before anything else looks at it: a message that two servers could frame in two ways ends its connection here. */
const unambiguous: RequestHandler = (request, response, next) => {
  try {
    readFraming(request);
    // RFC 9112 §3.2: one Host, no more and no less; Node drops all but the first.
    if (request.httpVersion === "1.1" && hostsOf(request) !== 1)
      throw new GatewayError("request_malformed", {
        detail: "The request must have one Host field.",
        reason: "host",
      });
  } catch (error) {
    response.shouldKeepAlive = false;
    throw error;
  }
  next();
};

function hostsOf({ rawHeaders }: Request): number {
  let hosts = 0;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index];
    if (name?.length === 4 && name.toLowerCase() === "host") hosts++;
  }
  return hosts;
}

/** RFC 9110 §15.5.6: a 405 names what would have been allowed. Express answers HEAD wherever it answers GET. */
function otherMethod(path: string, routes: readonly CodeRoute[]): RequestHandler {
  const methods = routes
    .filter((route) => route.path === path)
    .flatMap(({ method }) => (method === "get" ? ["GET", "HEAD"] : [method.toUpperCase()]));
  return (_request, response) => {
    response.setHeader("allow", methods.join(", "));
    throw new GatewayError("method_not_allowed", {
      detail: "This route does not take the method of the request.",
    });
  };
}

/** What stands in a code route's path before its first parameter, without trailing slash. */
function staticPart({ path }: CodeRoute): string {
  return path.replace(/\/[^/]*[:*{].*$/s, "");
}

function named(path: string): RequestHandler {
  return (request, _response, next) => {
    recordOf(request).route = path;
    next();
  };
}

/** What a browser must be told so that it can act on a challenge or a throttle. */
function crossOrigin({ origins, maxAgeSeconds }: PublicAppOptions["cors"]): RequestHandler {
  return cors({
    origin: [...origins],
    maxAge: maxAgeSeconds,
    exposedHeaders: [
      "www-authenticate",
      "retry-after",
      "ratelimit",
      "ratelimit-policy",
      "x-correlation-id",
      "request-id",
      "etag",
      "content-range",
    ],
  });
}

function answerErrors(options: Pick<PublicAppOptions, "challenge" | "onInternalError">): ErrorRequestHandler {
  return (thrown: unknown, request, response, _next) => {
    const record = recordOf(request);
    const error = asGatewayError(thrown);
    if (error.code === "internal") options.onInternalError(thrown, record);
    record.refusal = { code: error.code, reason: error.reason, diagnostics: error.diagnostics };
    const tenantId = record.caller?.principal.tenantId;
    sendProblem(
      response,
      phraseProblem(error, options.challenge, { correlationId: record.correlationId, tenantId }),
    );
  };
}

/**
 * Express' own refusals are a URIError, or say by `expose` that they are the caller's to know; anything else unknown
 * is a defect. A status alone proves nothing: clients of other services put the one that they received on theirs.
 */
function asGatewayError(thrown: unknown): GatewayError {
  if (thrown instanceof GatewayError) return thrown;
  const { status, expose } = (thrown instanceof Error ? thrown : {}) as {
    status?: unknown;
    expose?: unknown;
  };
  const isRefusal = expose === true || thrown instanceof URIError;
  if (isRefusal && typeof status === "number" && status >= 400 && status < 500)
    return new GatewayError("request_malformed", { detail: "The request could not be read.", cause: thrown });
  return new GatewayError("internal", { detail: "The gateway failed to handle the request.", cause: thrown });
}
