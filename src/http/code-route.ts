/** Routes written in code: a handler gets the principal and clients of downstream APIs bound to the user. */

import type { Request, RequestHandler, Response } from "express";
import type { AssertAllowed, DownstreamClient } from "../downstream/contract.ts";
import type { TokenExchange } from "../exchange/contract.ts";
import type { Principal, RoutePolicy } from "../identity/contract.ts";
import type { RequestRecord } from "./contract.ts";
import { type Actor, type ActsAs, actorOf, callerOf, type ObtainToken, obtainWith } from "./obtain-token.ts";
import type { RateLimitRules } from "./rate-limits.ts";
import { recordOf } from "./request-record.ts";
import {
  createTokenCredential,
  refusalBehind,
  type TokenCredentialError,
  type UserTokenCredential,
} from "./token-credential.ts";

/** Express' request, with who calls. */
export interface GatewayRequest extends Request {
  readonly principal: Principal;
  readonly correlationId: string;
}

/** What a handler may do in the caller's name. */
export interface OnBehalfOf<Api extends string = string> {
  /** A client for each downstream API that the route uses. */
  readonly downstream: Readonly<Record<Api, DownstreamClient>>;
  /** A credential for clients of the Azure SDKs and of Graph, good for this API and this request. */
  credential(api: Api): UserTokenCredential;
  /** Aborts when the caller has left, or the time to begin an answer is over. */
  readonly signal: AbortSignal;
}

/** Answers requests in code, wherever a route mounts it. */
export interface RouteHandler<Api extends string = string> {
  readonly method: "get" | "post" | "put" | "patch" | "delete";
  /** What follows the path of the route that mounts the handler, in Express' syntax: `/:id`. Default: nothing. */
  readonly below?: string;
  /** Names of the downstream APIs that the handler calls. */
  readonly uses: readonly Api[];
  /**
   * The calls that the handler makes, as `GET /me/messages` or, of an API besides the first of `uses`,
   * `orders: GET /orders`; `obo-gateway permissions` reads them. Left out: unknown.
   */
  readonly needs?: readonly string[];
  /** Until the answer must have begun, ms. Default 60000. What takes longer is aborted and answered with `internal`. */
  readonly timeoutMs?: number;
  /** May throw or reject: a GatewayError becomes its problem, anything else `internal`. */
  readonly handler: (
    request: GatewayRequest,
    response: Response,
    onBehalfOf: OnBehalfOf<Api>,
  ) => void | Promise<void>;
}

/** A handler with its place and its policy. */
export interface CodeRoute<Api extends string = string> extends Omit<RouteHandler<Api>, "below"> {
  /** Exact path, in Express' syntax. */
  readonly path: string;
  /** The handler's name in gateway.yaml, for lists of routes. */
  readonly name?: string;
  readonly policy: RoutePolicy;
  /** Rate limits of this route alone, in place of the configured ones. */
  readonly limits?: RateLimitRules;
  /** Whose permissions `downstream` and `credential` use. Default `user`. */
  readonly as?: ActsAs;
  /** Configured APIs that stand for names in `uses`. Default: the API of the same name. */
  readonly apis?: Readonly<Record<string, string>>;
  /** Patterns of downstream paths that the handler may call; any other is `target_forbidden`. Default: any. */
  readonly allow?: readonly string[];
}

const DEFAULT_TIMEOUT_MS = 60_000;

/** Ties the names in `uses` to the type of `downstream`, so that a misspelt API does not compile. */
export function routeHandler<const Api extends string>(handler: RouteHandler<Api>): RouteHandler {
  // A handler that asks for fewer APIs than "any name" is given exactly those; `handle` adds no others.
  return handler as unknown as RouteHandler;
}

/** Ties the names in `uses` to the type of `downstream`, so that a misspelt API does not compile. */
export function codeRoute<const Api extends string>(route: CodeRoute<Api>): CodeRoute {
  // A handler that asks for fewer APIs than "any name" is given exactly those; `handle` adds no others.
  return route as unknown as CodeRoute;
}

/** A downstream API as a code route calls it. */
export interface CallableApi {
  readonly scopes: readonly string[];
  client(bound: {
    readonly obtainToken: ObtainToken;
    readonly correlationId: string;
    readonly signal: AbortSignal;
    readonly record: RequestRecord;
    readonly assertAllowed: AssertAllowed | undefined;
  }): DownstreamClient;
  /** For a route that allows its handler these paths only. */
  callRules(allow: readonly string[]): AssertAllowed;
}

interface Binding {
  readonly record: RequestRecord;
  readonly actor: Actor;
  readonly api: CallableApi;
  readonly exchange: TokenExchange;
  readonly signal: AbortSignal;
  readonly assertAllowed: AssertAllowed | undefined;
}

/** A client of one API that acts for the caller of one request. */
export function boundClient({
  record,
  actor,
  api,
  exchange,
  signal,
  assertAllowed,
}: Binding): DownstreamClient {
  const obtainToken = obtainWith(record, { actor, scopes: api.scopes, exchange });
  const { correlationId } = record;
  return api.client({ obtainToken, correlationId, signal, record, assertAllowed });
}

/** Name in the configuration of an API that the route's handler calls. */
export function configuredApi({ apis = {} }: CodeRoute, name: string): string {
  return Object.hasOwn(apis, name) ? (apis[name] ?? name) : name;
}

/** Calls the route's handler with clients that act for the caller of this one request and nobody else. */
export function handle(
  route: CodeRoute,
  apis: Readonly<Record<string, CallableApi>>,
  exchange: TokenExchange,
  clientId: string,
): RequestHandler {
  const actor = actorOf(route.as, clientId);
  const used = route.uses.map((name) => {
    const api = apis[configuredApi(route, name)];
    if (api === undefined) throw new Error(`route ${route.path} uses ${name}, which is not a downstream API`);
    return [name, api, route.allow && api.callRules(route.allow)] as const;
  });

  const { timeoutMs = DEFAULT_TIMEOUT_MS } = route;
  return async (request, response, next) => {
    const record = recordOf(request);
    const left = new AbortController();
    // A handler that forgets to answer would keep its caller waiting for ever.
    const deadline = setTimeout(() => {
      if (response.headersSent) return;
      next(new Error(`the handler of ${route.path} did not begin to answer in ${timeoutMs} ms`));
      left.abort();
    }, timeoutMs);
    response.once("close", () => {
      clearTimeout(deadline);
      left.abort();
    });
    const { correlationId } = record;
    const { signal } = left;
    const downstream = Object.fromEntries(
      used.map(([name, api, assertAllowed]) => [
        name,
        boundClient({ record, actor, api, exchange, signal, assertAllowed }),
      ]),
    );
    response.setHeader("cache-control", "no-store");
    const { principal } = callerOf(record);
    let failure: TokenCredentialError | undefined;
    function credential(name: string): UserTokenCredential {
      const api = used.find(([one]) => one === name)?.[1];
      if (api === undefined) throw new Error(`route ${route.path} does not use ${name}`);
      return createTokenCredential({
        scopes: api.scopes,
        tenantId: principal.tenantId,
        obtainToken: obtainWith(record, { actor, scopes: api.scopes, exchange }),
        signal,
        onFailure: (latest) => {
          failure = latest;
        },
      });
    }
    try {
      const onBehalfOf = { downstream, credential, signal };
      await route.handler(Object.assign(request, { principal, correlationId }), response, onBehalfOf);
    } catch (thrown) {
      // What fails because the caller has left is nobody's fault, and nobody is there to be told.
      if (signal.aborted) return;
      const error = refusalBehind(thrown, failure);
      // Express reads some thrown strings as orders to look for another route.
      throw error instanceof Error ? error : new TypeError("the handler threw no Error", { cause: error });
    }
  };
}
