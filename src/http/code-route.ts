/** Code that acts for callers: routes with handlers, and middleware for the app of another program. */

import type { ErrorRequestHandler, Request, RequestHandler, Response } from "express";
import type { Delegations, KeptDelegation } from "../delegations/contract.ts";
import type { AssertAllowed, DownstreamClient, OwnFields } from "../downstream/contract.ts";
import { GatewayError } from "../errors.ts";
import type { DownstreamToken, TokenExchange } from "../exchange/contract.ts";
import type { Principal, RoutePolicy, TokenVerifier } from "../identity/contract.ts";
import type { ToolRules } from "../mcp/tools/contract.ts";
import type { McpGate, ObtainToken, RateLimitRules, RequestObserver, RequestRecord } from "./contract.ts";
import { refuseJobs } from "./delegations.ts";
import {
  type Actor,
  type ActsAs,
  actingRecord,
  actorOf,
  admit,
  callerOf,
  checkMessage,
  isRecorded,
  obtainWith,
  openRecord,
  recordOf,
} from "./pipeline.ts";
import type { ChallengeFacts } from "./problem.ts";
import { answerErrors } from "./refusal.ts";

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
  /** Scopes of the caller's token for this API, which is exchanged where none is at hand; undefined where Entra did not say. */
  grantedScopes(api: Api): Promise<readonly string[] | undefined>;
  /** Leave for jobs to act in the caller's absence; its functions throw where gateway.yaml has no `delegations`. */
  readonly delegation: HandlerDelegation<Api>;
  /** Aborts when the caller has left, or the time to begin an answer is over. */
  readonly signal: AbortSignal;
}

export interface HandlerDelegation<Api extends string = string> {
  /** Keeps the caller's leave. The handle is shown this once: keep it where the job finds it, and nowhere else. */
  keep(): Promise<KeptDelegation>;
  /** The user behind a handle, where the caller of this request is a job that it serves: an application of the list. */
  resume(handle: string): Promise<ResumedUser<Api>>;
}

/** A user in whose absence a handler acts. */
export interface ResumedUser<Api extends string = string> {
  /** The user as of the day of the delegation; `clientId` is the job's, and `groups` are unknown. */
  readonly principal: Principal;
  readonly downstream: Readonly<Record<Api, DownstreamClient>>;
  credential(api: Api): UserTokenCredential;
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
  /**
   * Whether requests are messages of the Model Context Protocol: they are read and checked first, and `request.body`
   * is their text as a Buffer. Default false.
   */
  readonly mcp?: boolean;
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
  /** Who may call. Left out: no scope, role or client is asked for, and callers are users. */
  readonly policy: Partial<RoutePolicy>;
  /** Rate limits of this route alone, in place of the configured ones. */
  readonly limits?: RateLimitRules;
  /** Whose permissions `downstream` and `credential` use. Default `user`. */
  readonly as?: ActsAs;
  /** Configured APIs that stand for names in `uses`. Default: the API of the same name. */
  readonly apis?: Readonly<Record<string, string>>;
  /** Rules for the tools of a handler that speaks the Model Context Protocol. */
  readonly tools?: ToolRules | undefined;
  /** Patterns of downstream paths that the handler may call; any other is `target_forbidden`. Default: any. */
  readonly allow?: readonly string[];
  /** Whether a job may send requests for a user who delegated, with a `Delegation` field. Default: no. */
  readonly takesDelegations?: boolean;
}

/** A route in code whose policy says everything. */
export interface ServedCodeRoute extends CodeRoute {
  readonly policy: RoutePolicy;
}

const EVERY_USER: RoutePolicy = {
  requiredScopes: [],
  requiredRoles: [],
  allowedClients: [],
  callers: "user",
};

/** What is left out asks for nothing, but that a user calls. */
export function wholePolicy(policy: Partial<RoutePolicy>): RoutePolicy {
  return { ...EVERY_USER, ...policy };
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

function configured(delegations: Delegations | undefined): Delegations {
  if (delegations === undefined) throw new Error("gateway.yaml has no delegations, and a handler uses them");
  return delegations;
}

/** Name in the configuration of an API that the route's handler calls. */
export function configuredApi({ apis = {} }: CodeRoute, name: string): string {
  return Object.hasOwn(apis, name) ? (apis[name] ?? name) : name;
}

/** A call as `needs` writes it, and the API of `uses` that it goes to. */
export function callsOf({ needs, uses }: Pick<CodeRoute, "needs" | "uses">, use: string): readonly string[] {
  return (needs ?? []).flatMap((need) => {
    const [, name, call = need] = /^([A-Za-z][\w-]*):\s*(.+)$/.exec(need) ?? [];
    return name === use || (name === undefined && use === uses[0]) ? [call] : [];
  });
}

/** For tests: lets pass what the route declares. One that declares nothing may call anything. */
function declared(route: CodeRoute, use: string): AssertAllowed | undefined {
  if (route.needs === undefined) return undefined;
  const calls = callsOf(route, use).map((call) => {
    const parts = call.split(/\{[^}]*\}/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    return new RegExp(`^${parts.join("[^/]+")}$`, "i");
  });
  return (method, path) => {
    const call = `${method} ${path}`;
    if (calls.some((pattern) => pattern.test(call))) return;
    const whose = `the handler of ${route.method.toUpperCase()} ${route.path}`;
    throw new Error(`${whose} calls ${call} of ${use}, which its needs do not declare`);
  };
}

function both(one: AssertAllowed | undefined, other: AssertAllowed | undefined): AssertAllowed | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return (method, path) => {
    one(method, path);
    other(method, path);
  };
}

export interface HandlerPorts {
  readonly apis: Readonly<Record<string, CallableApi>>;
  readonly exchange: TokenExchange;
  /** Application (client) id of the gateway. */
  readonly clientId: string;
  /** Undefined where they are not configured. */
  readonly delegations: Delegations | undefined;
  /** Reads the messages for a handler that speaks the Model Context Protocol. */
  readonly gate?: McpGate | undefined;
  /** Whether a call that the route's `needs` do not declare is an error: for tests. Default: false. */
  readonly checksNeeds?: boolean | undefined;
}

/** Calls the route's handler with clients that act for the caller of this one request alone. */
export function handle(route: CodeRoute, ports: HandlerPorts): RequestHandler {
  const { apis, exchange, clientId, delegations, gate, checksNeeds = false } = ports;
  const actor = actorOf(route.as, clientId);
  const asUser = actorOf("user", clientId);
  const used = route.uses.map((name): UsedApi => {
    const api = apis[configuredApi(route, name)];
    if (api === undefined) throw new Error(`route ${route.path} uses ${name}, which is not a downstream API`);
    const rules = route.allow && api.callRules(route.allow);
    return { name, api, assertAllowed: checksNeeds ? both(rules, declared(route, name)) : rules };
  });

  const { timeoutMs = DEFAULT_TIMEOUT_MS } = route;
  return async (request, response, next) => {
    const record = recordOf(request);
    if (gate !== undefined) {
      const passed = await gate.read(request, response);
      if (passed === undefined) return;
      request.body = passed.body;
    }
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
    response.setHeader("cache-control", "no-store");
    const { principal } = callerOf(record);
    let failure: TokenCredentialError | undefined;
    const acting = createActing({
      route,
      used,
      exchange,
      signal,
      onFailure: (latest) => {
        failure = latest;
      },
    });
    const delegation: HandlerDelegation = {
      async keep() {
        const caller = callerOf(record);
        try {
          return await configured(delegations).keep({ caller, correlationId, signal });
        } catch (error) {
          throw asUser.rephrase(record, error);
        }
      },
      async resume(handle) {
        const { principal: job } = callerOf(record);
        const asked = { handle, job, correlationId, route: record.route };
        const resumed = await configured(delegations).resume(asked);
        // The request stays the job's in log and limits; what is done for the user has a record that is the user's.
        const ofUser = actingRecord(record, resumed);
        return { principal: resumed.caller.principal, ...acting(ofUser, asUser) };
      },
    };
    try {
      const onBehalfOf = { ...acting(record, actor), delegation, signal };
      await route.handler(Object.assign(request, { principal, correlationId }), response, onBehalfOf);
    } catch (thrown) {
      // A failure after the caller has left is no defect, and its answer would reach no one.
      if (signal.aborted) return;
      const error = refusalBehind(thrown, failure);
      // Express reads some thrown strings as orders to look for another route.
      throw error instanceof Error ? error : new TypeError("the handler threw no Error", { cause: error });
    }
  };
}

/** An API of `uses`, under the name that the handler has for it. */
interface UsedApi {
  readonly name: string;
  readonly api: CallableApi;
  readonly assertAllowed: AssertAllowed | undefined;
}

interface ActingOptions {
  readonly route: CodeRoute;
  readonly used: readonly UsedApi[];
  readonly exchange: TokenExchange;
  readonly signal: AbortSignal;
  /** Called with the latest failure of a credential, which an SDK may hide behind an error of its own. */
  readonly onFailure: (latest: TokenCredentialError) => void;
}

/** Makes what a handler acts by, for the caller of one record: clients of APIs, credentials, scopes. */
function createActing({ route, used, exchange, signal, onFailure }: ActingOptions) {
  function apiOf(name: string): CallableApi {
    const found = used.find((one) => one.name === name);
    if (found === undefined) throw new Error(`route ${route.path} does not use ${name}`);
    return found.api;
  }

  return (record: RequestRecord, actor: Actor) => {
    const clients = used.map(({ name, api, assertAllowed }) => [
      name,
      boundClient({ record, actor, api, exchange, signal, assertAllowed }),
    ]);
    const credential = (name: string): UserTokenCredential => {
      const { scopes } = apiOf(name);
      return createTokenCredential({
        scopes,
        tenantId: callerOf(record).principal.tenantId,
        obtainToken: obtainWith(record, { actor, scopes, exchange }),
        signal,
        onFailure,
      });
    };
    const grantedScopes = async (name: string): Promise<readonly string[] | undefined> => {
      const token = await obtainWith(record, { actor, scopes: apiOf(name).scopes, exchange })({ signal });
      return token.grantedScopes;
    };
    return { downstream: Object.fromEntries(clients), credential, grantedScopes };
  };
}

/** What the SDKs hand over as signal: less than the platform's own. */
export interface AbortSignalLike {
  readonly aborted: boolean;
  addEventListener(type: "abort", listener: () => void): void;
  removeEventListener(type: "abort", listener: () => void): void;
}

export interface GetTokenOptions {
  /** Claims request as decoded JSON text, from a challenge: no cached token is good enough then. */
  readonly claims?: string | undefined;
  /** The user's own tenant or nothing: an exchange goes to the tenant that the assertion is from. */
  readonly tenantId?: string | undefined;
  /** Always on: the gateway declares `cp1` with every exchange. */
  readonly enableCae?: boolean | undefined;
  readonly abortSignal?: AbortSignalLike | undefined;
}

export interface AccessToken {
  readonly token: string;
  /** Ms since the epoch. */
  readonly expiresOnTimestamp: number;
  /** When a client may ask again ahead of the end, ms since the epoch. */
  readonly refreshAfterTimestamp: number;
  readonly tokenType: "Bearer";
}

/** Assignable to `TokenCredential` of `@azure/core-auth`, which the gateway itself does not need. */
export interface UserTokenCredential {
  /** @throws {TokenCredentialError} */
  getToken(scopes: string | string[], options?: GetTokenOptions): Promise<AccessToken>;
}

/**
 * The names are those of `@azure/identity`, where chains of credentials tell them apart: *unavailable* has not even
 * tried, and another credential may be used instead; with *authentication failed*, Entra said no. `cause` is the
 * refusal that the caller of the gateway is to see.
 */
export class TokenCredentialError extends Error {
  override readonly name: "CredentialUnavailableError" | "AuthenticationError";
  override readonly cause: GatewayError;

  constructor(cause: GatewayError) {
    super(cause.message, { cause });
    this.name = UNTRIED.includes(cause.code) ? "CredentialUnavailableError" : "AuthenticationError";
    this.cause = cause;
  }
}

/** Refusals before any request to Entra. */
const UNTRIED: readonly string[] = [
  "credential_unavailable",
  "downstream_misconfigured",
  "overloaded",
] satisfies readonly GatewayError["code"][];

/** A token is given again until this long before its end, ms: time for the request that carries it. */
const MARGIN_MS = 5_000;
const REFRESH_MS = 5 * 60_000;

export interface TokenCredentialOptions {
  /** The configured scopes: whatever a client asks for, the token has these. */
  readonly scopes: readonly string[];
  readonly tenantId: string;
  readonly obtainToken: ObtainToken;
  /** Aborts when the caller has left. */
  readonly signal: AbortSignal;
  readonly onFailure: (failure: TokenCredentialError) => void;
}

/**
 * For one request and one API. Shares cache and flights with every other way to the API, since it asks for the same
 * scopes; a client that names another resource is refused instead of given a token that would not do there.
 *
 * The last token is kept and given again while it is good: the SDKs' refresh in the background outlives the request,
 * and no code would handle a failure of it.
 */
export function createTokenCredential(options: TokenCredentialOptions): UserTokenCredential {
  const { scopes, tenantId, obtainToken, signal, onFailure } = options;
  let held: DownstreamToken | undefined;

  function misused(
    asked: readonly string[],
    { tenantId: other, ...more }: GetTokenOptions,
  ): string | undefined {
    const resources = new Set(scopes.map(resourceOf));
    if (asked.some((scope) => scope.includes("/") && !resources.has(resourceOf(scope))))
      return "credential_scopes";
    if (other !== undefined && other.toLowerCase() !== tenantId.toLowerCase()) return "credential_tenant";
    return "proofOfPossessionOptions" in more && more.proofOfPossessionOptions !== undefined
      ? "credential_proof_of_possession"
      : undefined;
  }

  return {
    async getToken(asked, request = {}) {
      const { claims, abortSignal } = request;
      try {
        const reason = misused([asked].flat(), request);
        if (reason !== undefined) throw misconfigured(reason);
        if (claims !== undefined || held === undefined || held.expiresAt - MARGIN_MS <= Date.now()) {
          const either =
            abortSignal === undefined ? signal : AbortSignal.any([signal, platformSignal(abortSignal)]);
          held = await obtainToken({ signal: either, ...(claims !== undefined && { claims }) });
        }
      } catch (cause) {
        if (!(cause instanceof GatewayError)) throw cause;
        const failure = new TokenCredentialError(cause);
        onFailure(failure);
        throw failure;
      }
      const { accessToken, expiresAt } = held;
      return {
        token: accessToken.reveal(),
        expiresOnTimestamp: expiresAt,
        refreshAfterTimestamp: expiresAt - REFRESH_MS,
        tokenType: "Bearer",
      };
    },
  };
}

/**
 * The refusal behind what a handler threw: the error itself, or its cause, or, for clients that keep neither but
 * note the name as `code`, the credential's last failure.
 */
export function refusalBehind(thrown: unknown, failure: TokenCredentialError | undefined): unknown {
  for (let error = thrown, depth = 0; error instanceof Error && depth < 8; error = error.cause, depth += 1) {
    if (error instanceof GatewayError) return error;
    if (failure !== undefined && "code" in error && error.code === failure.name) return failure.cause;
  }
  return thrown;
}

/** `https://vault.azure.net/` of `https://vault.azure.net//.default`, without its closing slashes. */
export function resourceOf(scope: string): string {
  return scope.slice(0, scope.lastIndexOf("/")).replace(/\/+$/, "");
}

function platformSignal(like: AbortSignalLike): AbortSignal {
  if (like instanceof AbortSignal) return like;
  const controller = new AbortController();
  if (like.aborted) controller.abort();
  like.addEventListener("abort", () => controller.abort());
  return controller.signal;
}

function misconfigured(reason: string): GatewayError {
  return new GatewayError("downstream_misconfigured", {
    detail: "The gateway's configuration for this downstream API is not valid.",
    reason,
  });
}

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
      const whole = wholePolicy(policy);
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
          checkMessage(record, request, response);
          response.setHeader("x-correlation-id", record.correlationId);
          response.setHeader("cache-control", "no-store");
        }
        // The name of the route is known to the app alone; the path itself may name a person.
        const path = record.prefix === "" ? "/" : record.prefix;
        const admission = { path, policy: whole, verifier, actFor: refuseJobs };
        return admit(admission, (_request, _response, proceed) => {
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
