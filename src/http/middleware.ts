/** Authentication and delegation as Express middleware, for an app that answers its routes itself and forwards nothing. */

import type { ErrorRequestHandler, Request, RequestHandler } from "express";
import type { DownstreamClient, OwnFields } from "../downstream/contract.ts";
import { GatewayError } from "../errors.ts";
import type { TokenExchange } from "../exchange/contract.ts";
import type { Principal, RoutePolicy, TokenVerifier } from "../identity/contract.ts";
import { boundClient, type CallableApi } from "./code-route.ts";
import type { RequestObserver, RequestRecord } from "./contract.ts";
import { checkMessage } from "./message-check.ts";
import { actorOf } from "./obtain-token.ts";
import { admit } from "./pipeline.ts";
import type { ChallengeFacts } from "./problem.ts";
import { answerErrors } from "./refusal.ts";
import { isRecorded, openRecord, recordOf } from "./request-record.ts";

/** What the middleware puts on a request. */
export interface DelegatedRequest extends Request {
  readonly principal: Principal;
  readonly correlationId: string;
  /** Clients that act for the caller, by the names given to `onBehalfOf`. */
  readonly downstream: Readonly<Record<string, DownstreamClient>>;
}

export interface DelegationMiddleware {
  /**
   * Verifies the bearer token and lets pass whom the policy admits: any verified user, where it is left out. A refusal
   * goes to `answerErrors`.
   */
  authenticate(policy?: Partial<RoutePolicy>): RequestHandler;
  /**
   * Behind `authenticate`: puts a client for each of these APIs on `request.downstream`. A token is exchanged when a
   * client is used, and comes from the cache where one is there.
   *
   * @throws {Error} when the configuration has no API of that name.
   */
  onBehalfOf(...apis: readonly string[]): RequestHandler;
  /** Behind the routes: answers refusals (`GatewayError`) as problems, and leaves every other error to the app. */
  readonly answerErrors: ErrorRequestHandler;
}

export interface MiddlewareOptions {
  readonly verifier: TokenVerifier;
  readonly exchange: TokenExchange;
  readonly apis: Readonly<Record<string, CallableApi>>;
  readonly challenge: ChallengeFacts;
  readonly own: OwnFields;
  readonly observer: RequestObserver;
  readonly onInternalError: (error: unknown, record: RequestRecord) => void;
}

export function createMiddleware(options: MiddlewareOptions): DelegationMiddleware {
  const { verifier, exchange, observer, challenge } = options;
  const actor = actorOf("user", challenge.clientId);
  const answer = answerErrors(options);
  return {
    authenticate(policy = {}) {
      const whole: RoutePolicy = {
        requiredScopes: [],
        requiredRoles: [],
        allowedClients: [],
        callers: "user",
        ...policy,
      };
      return (request, response, next) => {
        // One app may ask for a token twice, the second time with a narrower policy.
        const isFirst = !isRecorded(request);
        const record = isFirst ? openRecord(request) : recordOf(request);
        if (isFirst) {
          observer.began(record, request);
          response.on("close", () =>
            observer.ended(record, {
              method: request.method,
              status: response.statusCode,
              completed: response.writableFinished,
            }),
          );
          checkMessage(request, response);
          response.setHeader("x-correlation-id", record.correlationId);
          response.setHeader("cache-control", "no-store");
        }
        // The name of the route is known to the app alone; the path itself may name a person.
        const path = record.prefix === "" ? "/" : record.prefix;
        return admit({ path, policy: whole, verifier }, (_request, _response, proceed) => {
          const { correlationId, caller } = record;
          Object.assign(request, { principal: caller?.principal, correlationId, downstream: {} });
          proceed();
        })(request, response, next);
      };
    },
    onBehalfOf(...names) {
      const used = names.map((name) => {
        const api = Object.hasOwn(options.apis, name) ? options.apis[name] : undefined;
        if (api === undefined) throw new Error(`downstreamApis of gateway.yaml has no API named ${name}`);
        return [name, api] as const;
      });
      return (request, response, next) => {
        const record = recordOf(request);
        const left = new AbortController();
        response.once("close", () => left.abort());
        const { signal } = left;
        const clients = used.map(([name, api]) => [
          name,
          boundClient({ record, actor, api, exchange, signal, assertAllowed: undefined }),
        ]);
        const before = (request as Partial<DelegatedRequest>).downstream;
        Object.assign(request, { downstream: { ...before, ...Object.fromEntries(clients) } });
        next();
      };
    },
    answerErrors(error, request, response, next) {
      if (!isRecorded(request) || !(error instanceof GatewayError)) return next(error);
      return answer(error, request, response, next);
    },
  };
}
