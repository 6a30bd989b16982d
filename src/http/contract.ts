/** Types of this room that its files and other rooms share. */

import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import type { Request, RequestHandler, Response } from "express";
import type { ResumedDelegation } from "../delegations/contract.ts";
import type {
  ForwardRecord,
  Framing,
  OwnFields,
  RewriteAnswer,
  TransferObserver,
  TransferTrace,
} from "../downstream/contract.ts";
import type { GatewayError } from "../errors.ts";
import type {
  AuthorityTrace,
  DownstreamToken,
  TokenOrigin,
  TokenRequestFacts,
  TokenSubject,
} from "../exchange/contract.ts";
import type { Owner } from "../foundation/budget.ts";
import type { Secret } from "../foundation/secret.ts";
import type { RoutePolicy, VerifiedCaller } from "../identity/contract.ts";
import type { RouteChallenge } from "../mcp/contract.ts";

/** How many callers may be connected, how much each may have under way, and how long each may take. */
export interface ConnectionLimits {
  /** Connections at once. One more takes the place of one without progress, or is closed. */
  readonly max: number;
  /** Requests of one connection that run at the same time; what comes behind them waits. */
  readonly maxPipelined: number;
  /** From the beginning of a connection, or of its next request, until all headers are here. */
  readonly headersTimeoutSeconds: number;
  /** The same until the body is here, too; 0 sets no limit. Not less than the headers' time. */
  readonly requestTimeoutSeconds: number;
  /** How long a connection without a request is kept. Longer than a balancer keeps it, or requests are lost between. */
  readonly keepAliveTimeoutSeconds: number;
  /** Requests after which the caller is asked to open another connection; 0 sets no limit. */
  readonly maxRequests: number;
  /** Longest pause in which a caller takes nothing of the answer that is there for it. */
  readonly writeStallSeconds: number;
  /** Least rate at which a caller takes an answer, bytes a second, once it has taken longer than such a pause. */
  readonly minWriteBytesPerSecond: number;
  /** Longest time until a caller has taken what was handed over last. */
  readonly writeTimeoutSeconds: number;
}

/**
 * `dropped`: closed at once. `gave_way`: closed for a newcomer. `unread`: closed because its answer was not taken.
 * `held_up`: closed because it would have held up the end of the process.
 */
export type ConnectionEvent = "opened" | "closed" | "dropped" | "gave_way" | "unread" | "held_up";

export type LoadEvent =
  | { readonly type: "shedding_began"; readonly lagMs: number }
  | { readonly type: "shedding_ended"; readonly lagMs: number }
  | { readonly type: "shed" };

/** Whether new requests are turned away, and what answers those that are. */
export interface Overload {
  /** Kept up to date, so that a request looks and nothing is asked for it. */
  readonly load: {
    /** Whether load is shed now. */
    readonly isShedding: boolean;
    /** A request that has waited so long for its turn is turned away all the same, ms. */
    readonly longestWaitMs: number;
  };
  /** Answers in the place of whatever would have done the work. */
  readonly shed: RequestListener;
  /** Answers a request that would have to wait, where those that do hold as much as they may. */
  readonly refuseToWait: RequestListener;
}

/** What the counting of requests had to do without. */
export type RateLimitEvent =
  /** Redis did not answer, so this process counted the request by itself. */
  | { readonly type: "counted_alone" }
  /** More are counted at once than memory is meant for: the window nearest to its end was forgotten. */
  | { readonly type: "window_forgotten" };

/** The interfaces of the local API. */
export type Via = "sidecar" | "texas" | "forward-auth";

/** What the gateway knows of one request: filled in room by room, read once for the log line and the metrics. */
export interface RequestRecord extends ForwardRecord {
  readonly correlationId: string;
  /** Prefix below which another Express app mounts the gateway; empty where the gateway has the whole server. */
  readonly prefix: string;
  /** `performance.now()` when the request came in, ms. */
  readonly startedAt: number;
  /** By which interface of the local API it came; undefined on the public side. */
  via: Via | undefined;
  /** How the request is framed; undefined until its message has been checked, and for good where that refuses it. */
  framing: Framing | undefined;
  /** Mount path of the matched route: a bounded set, unlike the request's own path, which may name a person. */
  route: string | undefined;
  caller: VerifiedCaller | undefined;
  /** On whose account the request holds places and memory, once its caller is known. */
  owner: Owner | undefined;
  /** The delegation by which a job acts for the caller; undefined for a caller who is there. */
  delegation: Pick<ResumedDelegation, "id" | "demanded"> | undefined;
  tokenOrigin: TokenOrigin | undefined;
  /** Why the request was refused; `undefined` while it is granted. */
  refusal:
    | { readonly code: string; readonly reason: string | undefined; readonly diagnostics: object | undefined }
    | undefined;
  /** Milliseconds spent in each room. */
  verifyMs: number | undefined;
  exchangeMs: number | undefined;
  /** Of the token request to Entra, where there was one. */
  tokenRequest: TokenRequestFacts | undefined;
  /** What the caller asks of a server of the Model Context Protocol, once that is read. */
  mcp: McpFacts | undefined;
  /** Set when the request begins, if anybody wants to know. */
  trace: RequestTrace | undefined;
  transfers: TransferObserver | undefined;
}

/** A POST to an MCP server. Names are those of callers only where they are plain, and `other` where not. */
export interface McpFacts {
  /** `tools/call`, or `batch`. */
  readonly method: string;
  /** Tools that are called, in order. */
  readonly tools: readonly string[];
  /** The same, as labels of metrics: a bounded set. */
  readonly labels: readonly string[];
  /** Fingerprint of the delegated token that the call was sent with: by it the audit stream tells which exchange gave it. */
  token: string | undefined;
}

/** Messages that passed. */
export interface PassedMessages {
  /** As the caller wrote them; undefined where the request is left unread. */
  readonly body: Buffer | undefined;
  /** For the answer; undefined where it holds no list. */
  readonly rewrite: RewriteAnswer | undefined;
}

export interface McpGate {
  /**
   * Reads the body of a POST and applies the rules to each message. Undefined: the request has been answered, or its
   * caller has gone. Rejects with a GatewayError.
   */
  read(request: Request, response: Response): Promise<PassedMessages | undefined>;
  /** For the stream of a GET, on which a list may be sent again. */
  readonly stream: RewriteAnswer | undefined;
}

/** How a request ended. */
export interface RequestEnd {
  readonly method: string;
  readonly status: number;
  /** Whether the caller was given the whole answer. */
  readonly completed: boolean;
}

/** Observes every request: its headers when they are here, and its end when the answer has ended. */
export interface RequestObserver {
  began(record: RequestRecord, incoming: IncomingMessage): void;
  ended(record: RequestRecord, end: RequestEnd): void;
}

/** The span of a room that the request walks through. */
export interface RoomSpan extends AuthorityTrace {
  /** @param origin Where what the room gave came from. */
  granted(origin?: string): void;
  refused(error: unknown): void;
}

export interface RequestTrace extends TransferTrace {
  /** 32 hex digits. */
  readonly traceId: string;
  room(name: "verify" | "exchange"): RoomSpan;
  ended(end: TraceEnd): void;
}

/** What is known at the end of a request. */
export interface TraceEnd {
  readonly route: string | undefined;
  readonly status: number;
  readonly code: string;
  readonly reason: string | undefined;
  readonly completed: boolean;
  readonly correlationId: string;
  readonly tenantId: string | undefined;
  readonly objectId: string | undefined;
  readonly clientId: string | undefined;
  readonly mcp: Pick<McpFacts, "method" | "tools"> | undefined;
}

/** How many connections are taken now. */
export interface ConnectionRoom {
  readonly max: number;
  /**
   * When a connection without a request gives way to a new one: after some seconds, or at once where so few are taken
   * that a newcomer, which is about to send a request, is worth more.
   */
  readonly idleGivesWay: "after seconds" | "at once";
}

/** One answer of the admin side. */
export interface AdminPage {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Pages that never change and a stream of events, as the flow console has them. */
export interface AdminFeed {
  /** By path. The stream stands below the shortest of them, at `/events`. */
  readonly pages: Readonly<Record<string, AdminPage>>;
  viewers(count: number): void;
  /** @param send Takes events as JSON texts. Newcomers see kept ones of the time before. */
  onEvents(send: (kept: readonly string[], passing: readonly string[]) => void): void;
}

export interface RateLimit {
  readonly requests: number;
  /** Length of a window, which begins with the first request in it. */
  readonly perSeconds: number;
}

export interface RateLimitRules {
  /** For each user, or application without a user: `tid` and `oid`. */
  readonly perUser?: RateLimit | undefined;
  /** For each client with all its users: `tid` and `azp`. */
  readonly perClient?: RateLimit | undefined;
}

/** A refusal as it is sent. */
export interface Problem {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Readonly<Record<string, unknown>>;
}

export type ObtainToken = (options?: {
  /** `recallToken` has just found no token. */
  readonly recalled?: boolean;
  readonly claims?: string;
  /** The token that the API refused with those claims. */
  readonly refused?: Secret;
  readonly signal?: AbortSignal;
}) => Promise<DownstreamToken>;

/** How a second side looks to its clients. */
export interface SideLook {
  /** Said in every answer. */
  readonly own: OwnFields;
  /** Phrases a problem as the interface's clients know it. */
  readonly adapt: (problem: Problem, record: RequestRecord) => Problem;
}

/**
 * A side of the gateway beside the public one: without Express, and by the same checks, limits, routes, exchange and
 * problems.
 */
export interface SecondSide {
  serve<Prepared>(
    handler: (...args: [...Parameters<PlainHandler>, prepared: Prepared]) => unknown,
    options: ServeOptions<Prepared>,
  ): RequestListener;
  /** Refuses whatever arrives. Default: because shutdown has begun in earnest. */
  refuse(refusal?: GatewayError): RequestListener;
  /** Runs `proceed` for a caller that is verified, within the limits, and let through by the policy. */
  admitting(
    route: AdmittedRoute,
    proceed: (...args: [...Parameters<PlainHandler>, caller: VerifiedCaller]) => unknown,
  ): PlainHandler;
  /** Decisions of the gateway's own proxy on requests whose bytes another proxy carries. */
  deciding(grant: Grant): Decisions;
  /** Tokens for the caller of a request, or for the gateway itself in a tenant. */
  tokensFor(
    record: RequestRecord,
    wanted: { readonly as: "user" | { readonly tenantId: string }; readonly scopes: readonly string[] },
  ): TokenAccess;
}

export type OpenSecondSide = (look: SideLook) => SecondSide;

/** A handler may throw or reject: the error becomes the answer. */
export type PlainHandler = (
  request: IncomingMessage,
  response: ServerResponse,
  record: RequestRecord,
) => unknown;

export interface ServeOptions<Prepared> {
  /** By which interface a request comes. */
  readonly viaOf: (request: IncomingMessage) => Via;
  /**
   * Runs before the request is checked. An error that it throws becomes the answer; method and target may be replaced
   * here, and the checks then see the new ones. The handler gets what it returns.
   */
  readonly prepare: (request: IncomingMessage) => Prepared;
}

export interface AdmittedRoute {
  readonly path: string;
  /** Without one, any verified caller is let through. */
  readonly policy?: RoutePolicy;
  /** The caller's token, where it does not stand in `Authorization`. */
  readonly token?: string;
}

/** Answers a request that passes. */
export type Grant = (response: ServerResponse, record: RequestRecord, token: DownstreamToken) => void;

/** A route that decides. */
export interface DecidingRoute {
  /** Where it is mounted. */
  readonly path: string;
  /** Name of its API. */
  readonly api: string;
  /**
   * Decides on the request's `method` and `originalUrl`, which are those of the request that another proxy holds.
   * Throws, or returns a promise that rejects, with what the route refuses.
   */
  decide(request: IncomingMessage, response: ServerResponse): unknown;
}

export interface Decisions {
  readonly routes: readonly DecidingRoute[];
  /** The route that the gateway's own proxy would choose for a target, query included; undefined for `route_unknown`. */
  routeOf(target: string): DecidingRoute | undefined;
}

/** The tokens of one subject for one set of scopes, as one request gets at them. */
export interface TokenAccess {
  readonly subject: Pick<TokenSubject, "digest" | "tenantId">;
  /** The token that is at hand. */
  recall(): DownstreamToken | undefined;
  readonly obtain: ObtainToken;
  /** Takes a token out of the caches: the one that was refused, or whichever is there. */
  forget(refused?: Secret): void;
}

/** A refusal on the route of an MCP server. */
export interface CarriedError {
  readonly error: GatewayError;
  /** Undefined where the error is no demand, or does not fit into a scope. */
  readonly carriedScope: string | undefined;
}

/** Sign-in of MCP clients, where it is configured. */
export interface McpSignIn {
  /** Answers with the documents that scripts of any origin may read. */
  readonly documents: RequestHandler;
  /** The other endpoints, behind the rules for origins. */
  readonly endpoints: RequestHandler;
  /** What challenges name on the route of an MCP server, by its mount path; undefined on any other. */
  challengeOf(route: string): RouteChallenge | undefined;
  /** Puts a demand on the user into a scope that the client signs in for next. */
  carry(error: GatewayError, record: RequestRecord, route: RouteChallenge): Promise<CarriedError>;
}
