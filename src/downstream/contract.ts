/** The types of the downstream room that other rooms and embedding programs use: APIs, targets, transport, forwarder, client. */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Readable } from "node:stream";
import type { GatewayError } from "../errors.ts";
import type { Owner } from "../foundation/budget.ts";
import type { FixedFields } from "../foundation/checked-head.ts";
import type { Secret } from "../foundation/secret.ts";

/** Configuration of a downstream API. */
export interface DownstreamApiOptions {
  readonly name: string;
  /** Absolute https URL (http only with `allowPrivateNetwork`), no query, no fragment, no userinfo. */
  readonly baseUrl: string;
  readonly scopes: readonly string[];
  /** Total time for one forwarded request, ms, until the answer's headers are here. */
  readonly timeoutMs: number;
  /** Longest pause between two chunks of a body, ms, in either direction. */
  readonly idleTimeoutMs: number;
  /** The same for an answer of `text/event-stream`, in which nothing may happen for long, ms. */
  readonly streamIdleTimeoutMs: number;
  /** Least rate of a request body, bytes a second: a body that comes at this rate is not ended by `timeoutMs`. */
  readonly minUploadBytesPerSecond: number;
  /** Largest request body, bytes. */
  readonly maxRequestBytes: number;
  readonly allowPrivateNetwork: boolean;
  /** Whether the gateway follows the API's redirects of GET and HEAD; see `followRedirects`. */
  readonly followRedirects: boolean;
  /** Whether it is spoken to as Microsoft Graph, or as another OData API. Default: by its host. */
  readonly kind?: "graph" | "odata" | "plain" | undefined;
  /** Whether paths with an encoded slash or backslash, or with a double encoding, may pass. */
  readonly encodedSlashes: "refuse" | "pass";
  /** Requests under way at once, each on a connection of its own. */
  readonly maxConcurrent: number;
  /** Requests that may wait for one of these to end; one more is refused as `overloaded`. */
  readonly maxWaiting: number;
  readonly connections: ConnectionRules;
  /** Longest pause asked for by a 429 or 503 that the gateway makes itself before it repeats, ms; 0 for none. */
  readonly maxThrottleWaitMs: number;
  /** Consecutive failures to connect that open the breaker, and for how long, ms. */
  readonly breaker: { readonly failures: number; readonly openMs: number };
  /**
   * Whose permissions requests use. With `app`, the gateway's own, only listed header fields of a caller are forwarded;
   * see `headerRulesOf`. Default: the user's.
   */
  readonly actsAs?: "user" | "app";
  /** The API whose places and connections this one uses; see `asApplication`. Default: its own. */
  readonly connectsAs?: DownstreamApiOptions;
  /** Changes to the default header rules, field names in any case. */
  readonly headers?:
    | {
        readonly request?: HeaderRuleChanges;
        readonly response?: HeaderRuleChanges;
        /** Tells the API who calls the gateway: `Forwarded` and `X-Forwarded-*`, written anew. Default false. */
        readonly sendForwarded?: boolean;
      }
    | undefined;
}

/** How connections to an API are kept. */
export interface ConnectionRules {
  /** Connections at once. The smaller of this and `maxConcurrent` holds, since each carries one request. */
  readonly max: number;
  /** How long an unused connection is kept, ms, unless the API asks for less. */
  readonly keepAliveMs: number;
  /** Requests after which a connection is closed; 0 sets no limit. */
  readonly maxRequests: number;
  /** Age at which a connection is closed, ms, as soon as no request is on it: a change of DNS takes effect by then. */
  readonly maxAgeMs: number;
}

export interface HeaderRuleChanges {
  /** Pass although the default rules drop them. */
  readonly allow?: readonly string[];
  /** Are dropped besides. */
  readonly deny?: readonly string[];
}

/** What a route lets through to its API. */
export interface TargetRules {
  /** Where the route is mounted, without trailing slash: `/graph`. */
  readonly path: string;
  /** Upper-case method names. */
  readonly methods: readonly string[];
  /** Patterns of downstream paths; see `compilePathPatterns`. Nothing else passes. */
  readonly allow: readonly string[];
  /**
   * Where other routes are mounted below this one: `/graph/admin`. What is addressed to them in their own spelling
   * never comes here, so whatever comes and could be read as theirs is spelt to get around their rules.
   */
  readonly reserved?: readonly string[];
}

/** A request target proven to lie below the API's base URL. */
export interface Target {
  readonly api: DownstreamApiOptions;
  /** Scheme, host and port. */
  readonly origin: string;
  /** Path below the origin, with the caller's query untouched. */
  readonly path: string;
  /**
   * The target of a path below the same origin, query included, to which the API redirects, by the same rules as if the caller had asked for
   * it. Throws what the route refuses. Without it no redirect is followed.
   */
  readonly redirected?: (path: string) => Target;
}

/** An API's base URL taken apart. */
export interface ApiBase {
  readonly origin: string;
  /** Without trailing slash, so empty for an API at the root. */
  readonly path: string;
}

/** Names and values in turn, as in `IncomingMessage.rawHeaders`; a repeated name is a field of several lines. */
export type HeaderLines = readonly string[];

/** Header fields of an answer: lower-case names; several lines of one field are an array. */
export type AnswerHeaders = Readonly<Record<string, string | readonly string[]>>;

/** Fields that the gateway adds to each answer, its own or passed on: security fields. One line each, names in lower case. */
export type OwnFields = FixedFields;

/** The caller's end of the connection, as far as trusted proxies can tell. */
export interface ForwardedHop {
  /** IP address. */
  readonly for: string;
  readonly proto: string;
  readonly host: string | undefined;
}

/** Observes all requests to APIs. Durations are ms since the request was handed over. */
export interface TransferObserver {
  sent(api: string): void;
  /** The request is sent once more: its connection was lost, or could not be made, before anything came of it. */
  repeated(api: string): void;
  /** The request no longer waits in line: it has a connection (a new one was perhaps made for it), or was given up. */
  left(api: string, waitedMs: number): void;
  answered(api: string, status: number, afterMs: number, method: string, target: Target): void;
  /** No answer began: a refusal's code, or `abandoned` for a request that the gateway gave up. */
  failed(api: string, code: string, afterMs: number): void;
}

/** The span of one request to an API. */
export interface TransferSpan {
  /** Fields that name this span to the API, names and values in turn. */
  readonly fields: HeaderLines;
  answered(status: number): void;
  failed(code: string): void;
}

/** The trace that requests to APIs are part of. */
export interface TransferTrace {
  forwarding(request: {
    readonly api: string;
    readonly method: string;
    readonly origin: string;
  }): TransferSpan;
}

/** Notes on one caller's requests to APIs; the last one's where there are several. */
export interface TransferRecord {
  /** The caller on whose account places at an API are held; without one, the process. */
  readonly owner?: Owner | undefined;
  readonly transfers: TransferObserver | undefined;
  readonly trace: TransferTrace | undefined;
  /** From handing the request over to the answer's headers, ms; the sum of all requests. */
  downstreamMs: number | undefined;
  /** `request-id` of the answer. */
  downstreamRequestId: string | undefined;
  /** Waited because an API asked for it, ms. */
  throttleMs: number | undefined;
}

/** A change of an API that operators want to hear of: its host cannot be connected to, or can be again. */
export interface TransportEvent {
  readonly type: "breaker_opened" | "breaker_closed";
  readonly api: string;
}

export interface TransportRequest {
  readonly target: Target;
  readonly method: string;
  readonly headers: HeaderLines;
  readonly body: Readable | Uint8Array | undefined;
  /** The whole of a streamed body, once it is kept: an idempotent request can then be sent again. */
  readonly keptBody?: (() => Uint8Array | undefined) | undefined;
  readonly record?: TransferRecord | undefined;
}

/** Receives one answer: `head` once, then `chunk`s, then `end`; or `failed`, at any point. Nothing follows `abort`. */
export interface AnswerReceiver {
  /** `isElsewhere` when a redirect led to the answer of another origin, which has no say in the user's tokens. */
  head(status: number, headers: AnswerHeaders, isElsewhere?: boolean): void;
  chunk(chunk: Buffer): void;
  end(): void;
  failed(error: GatewayError): void;
}

/** A request under way. */
export interface Transfer {
  /** Stops reading the answer until `resume`, so that the downstream's own writes come to a halt. */
  pause(): void;
  resume(): void;
  /** Gives the request up wherever it is, waiting in line included. The receiver hears nothing more. */
  abort(): void;
}

export interface Transport {
  send(request: TransportRequest, receiver: AnswerReceiver): Transfer;
  /** Refuses new requests and resolves when those under way have ended. */
  close(): Promise<void>;
  /** Ends everything at once. */
  destroy(): Promise<void>;
}

/** Bytes in, bytes out; bytes that `push` holds back come with a later call or with `flush`. */
export interface BodyRewriter {
  push(chunk: Buffer): Buffer;
  flush(): Buffer;
}

/** Points the links of an API's answers at the gateway. */
export interface RewriteAnswer {
  /** Makes the rewriter of one answer's body; `undefined` leaves the answer's bytes alone. */
  body(status: number, headers: AnswerHeaders): BodyRewriter | undefined;
  /** The header fields of an answer. */
  fields(status: number, headers: AnswerHeaders): AnswerHeaders;
  /** One header field's value, its name in lower case, where the fields are part of a body. */
  field(name: string, value: string, status: number): string;
}

/** How a request says where its body ends (RFC 9112 §6.3). Without a body, or with one of no bytes: `none`. */
export type Framing =
  | { readonly kind: "none" }
  | { readonly kind: "length"; readonly bytes: number }
  | { readonly kind: "chunked" };

/** How many batches may be under way, and how much memory they may hold. */
export interface BatchLimits {
  /** Batches under way at once, in all. */
  readonly places: number;
  /** Bytes of their bodies and answers, in all. */
  readonly bytes: number;
  /** Parts of both, above 0 and at most 1, that one user and one client may hold. */
  readonly userShare: number;
  readonly clientShare: number;
}

export interface ForwardRequest {
  readonly incoming: IncomingMessage;
  /** Of `incoming`, as it was read when that arrived: a request of which it is in doubt comes no further. */
  readonly framing: Framing;
  /** Fields already set on it win over the downstream's; `vary` is joined. */
  readonly outgoing: ServerResponse;
  readonly target: Target;
  readonly token: Secret;
  readonly correlationId: string;
  /** `WWW-Authenticate` of a 401 that passes through, in place of the downstream's. Default: a bare `Bearer`. */
  readonly challenge?: string;
  /** The whole body, where it has been read already; `incoming` is then not read. */
  readonly body?: Buffer | undefined;
  /** Who calls the gateway, for an API that is to know. */
  readonly forwarded?: ForwardedHop | undefined;
  /** Changes the answer's body while it streams. The API is then asked for an answer without content coding. */
  readonly rewrite?: RewriteAnswer | undefined;
  /**
   * Called once at most, when the downstream is connected and the first byte of the body is wanted. A server that
   * listens to `checkContinue` calls `outgoing.writeContinue()` here; without that listener node:http has done so.
   */
  readonly onBodyWanted?: () => void;
  /** Filled in as it becomes known, before listeners to the end of `outgoing` are called. */
  readonly record?: ForwardRecord;
}

/** The downstream's part in the report of a request. */
export interface ForwardRecord extends TransferRecord {
  downstreamStatus: number | undefined;
  cut: string | undefined;
}

/**
 * Why an answer did not reach the caller whole: the caller left, or stayed and took nothing; the downstream broke off,
 * or sent nothing.
 */
export type Cut = "caller_gone" | "caller_stalled" | "downstream_failed" | "idle";

export type ForwardOutcome =
  | {
      readonly kind: "answered";
      /** The downstream's own status, whatever it was. */
      readonly status: number;
      /** Ms from the call of `forward` until the answer's headers. */
      readonly headersAfterMs: number;
      readonly requestBytes: number;
      readonly responseBytes: number;
      /** Set when the answer was not delivered whole; the caller's connection has then been destroyed. */
      readonly cut: Cut | undefined;
    }
  | {
      /** Nothing has been written. Exchange again with these claims and, if `replayable`, forward once more. */
      readonly kind: "challenged";
      readonly status: number;
      /** Decoded JSON text, as the downstream wrote it. */
      readonly claims: string;
      readonly replayable: boolean;
    }
  | {
      /** The caller left before the answer began, so the gateway answers nothing. */
      readonly kind: "abandoned";
    };

/**
 * Forwards one request. A downstream status is a result and passes with its body untouched, compressed or not.
 * Redirects pass too: the token is meant for one origin, and whether any is followed is the transport's matter.
 * Upgrades are not offered.
 *
 * Rejects with `request_malformed`, `body_too_large`, `rate_limited`, `overloaded`, `downstream_unreachable`,
 * `downstream_timeout`, `downstream_misconfigured` or `draining`, always before anything is written. Once the head of
 * the answer is written a failure destroys the caller's connection, so that a cut answer can never be taken for a
 * whole one.
 */
export type Forward = (request: ForwardRequest) => Promise<ForwardOutcome>;

/**
 * A path below the API's base URL: text beginning with `/`, percent-encoded where needed and with a query if wanted;
 * or segments as plain text, which is the safe form for ids that came from a caller: `["users", id, "messages"]`.
 */
export type DownstreamPath = string | readonly string[];

/** Added to the path's query, encoded; `$` of OData's parameters stays readable, undefined values are left out. */
export type DownstreamQuery = Readonly<Record<string, string | number | boolean | undefined>>;

export interface DownstreamRequestOptions {
  readonly query?: DownstreamQuery;
  /** Fields of the request. Those that the gateway sets itself cannot be changed here. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as `application/json`. */
  readonly json?: unknown;
  /** Sent as it is; say what it is in `headers`. A stream can be sent once only, so a claims challenge ends the call. */
  readonly body?: string | Uint8Array | Readable;
  /** Until the answer's headers are here, ms. Default and upper limit: the API's own `timeoutMs`. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/**
 * An answer, whatever its status. Read the body once, in one of the five ways. Left unread, a small one costs
 * nothing and a large one holds its connection until the API's `idleTimeoutMs` has passed or `discard` is called.
 */
export interface DownstreamResponse {
  readonly status: number;
  /** Whether the status is 2xx. */
  readonly ok: boolean;
  /** The fields that a caller may see; cookies and challenges of the downstream are not among them. */
  readonly headers: Headers;
  /** As it was sent, still encoded if `content-encoding` says so. Errors are GatewayErrors. */
  readonly body: Readable;
  /** The body as JSON. `T` is the handler's expectation; nothing checks it. */
  json<T = unknown>(): Promise<T>;
  /** The body as UTF-8 text. */
  text(): Promise<string>;
  /** The body's bytes. */
  bytes(): Promise<Uint8Array>;
  /**
   * Hands status, fields and body on to the caller, at the caller's pace. Resolves when all is written; a body that
   * breaks off destroys the caller's connection, and a caller who leaves ends the answer.
   */
  stream(outgoing: ServerResponse): Promise<void>;
  /** Ends the answer unread. */
  discard(): void;
}

/** One page of a collection. It may be empty and still not be the last. */
export interface Page<T> {
  readonly value: readonly T[];
  /** Where the changes since will be found: on the last page of a delta query. A path for `pages` and `get`. */
  readonly deltaLink: string | undefined;
}

/** A request of a batch. `T` is what its body is expected to be; nothing checks it. */
export interface BatchHandle<T> {
  readonly id: string;
  /** Never there: it only carries the type. */
  readonly expects?: T;
}

export interface BatchPartOptions {
  readonly query?: DownstreamQuery;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as `application/json`. */
  readonly json?: unknown;
  /** Requests that must succeed first; when one fails, this one is answered 424. */
  readonly dependsOn?: readonly BatchHandle<unknown>[];
}

/** The API's answer to one request of a batch. Bodies that are no JSON are base64 text. */
export interface BatchPartResponse<T> {
  readonly status: number;
  /** Whether the status is 2xx. */
  readonly ok: boolean;
  readonly headers: Headers;
  readonly body: T;
}

export interface BatchResponses {
  /** The answer to a request; rejects with `downstream_unreachable` when the API left it out. */
  of<T>(handle: BatchHandle<T>): BatchPartResponse<T>;
}

/**
 * Up to 20 requests in one. Throttled ones are repeated after the pause that the API asks for, within the API's
 * `timeoutMs`; a claims challenge is answered once.
 */
export interface DownstreamBatch {
  get<T = unknown>(path: DownstreamPath, options?: BatchPartOptions): BatchHandle<T>;
  post<T = unknown>(path: DownstreamPath, options?: BatchPartOptions): BatchHandle<T>;
  put<T = unknown>(path: DownstreamPath, options?: BatchPartOptions): BatchHandle<T>;
  patch<T = unknown>(path: DownstreamPath, options?: BatchPartOptions): BatchHandle<T>;
  delete<T = unknown>(path: DownstreamPath, options?: BatchPartOptions): BatchHandle<T>;
  /** Sends the requests that were added. Rejects as the client's methods do, and when the API answers with no batch. */
  send(): Promise<BatchResponses>;
}

/**
 * Calls one API as the user of the request. Each method resolves with the answer, whatever its status, and rejects
 * with a GatewayError when there is none: `downstream_unreachable`, `downstream_timeout`, `rate_limited`, `overloaded`;
 * an error of the exchange; `request_malformed` or `target_forbidden` for a path that does not stay below the base URL;
 * `claims_challenged` when the API wants more of the user than a new exchange could give. With the reason of
 * `signal` when that fires.
 */
export interface DownstreamClient {
  get(path: DownstreamPath, options?: DownstreamRequestOptions): Promise<DownstreamResponse>;
  post(path: DownstreamPath, options?: DownstreamRequestOptions): Promise<DownstreamResponse>;
  put(path: DownstreamPath, options?: DownstreamRequestOptions): Promise<DownstreamResponse>;
  patch(path: DownstreamPath, options?: DownstreamRequestOptions): Promise<DownstreamResponse>;
  delete(path: DownstreamPath, options?: DownstreamRequestOptions): Promise<DownstreamResponse>;
  /**
   * A collection, page after page (OData's `@odata.nextLink`), each asked for when the loop comes to it and with the
   * same headers. Throws in the loop; see `Page` and `readPages`.
   */
  pages<T = unknown>(
    path: DownstreamPath,
    options?: Omit<DownstreamRequestOptions, "json" | "body">,
  ): AsyncIterable<Page<T>>;
  /** An empty `$batch`, for an API that knows it. */
  batch(): DownstreamBatch;
}

/** Throws `target_forbidden` for a path below the API's base URL, query included, that the rules leave out. */
export type AssertAllowed = (method: string, path: string) => void;
