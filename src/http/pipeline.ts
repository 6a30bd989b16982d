/** The walk of a request through the rooms, as Express middleware: receive, admit, then exchange and forward. */

import { randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Request, RequestHandler, Response } from "express";
import type { ResumedDelegation } from "../delegations/contract.ts";
import type {
  DownstreamApiOptions,
  Forward,
  ForwardedHop,
  ForwardOutcome,
  ForwardRequest,
  Framing,
  OwnFields,
  RewriteAnswer,
  Target,
  TargetRules,
} from "../downstream/contract.ts";
import type { ForwardBatch } from "../downstream/graph/forward-batch.ts";
import { createLinkRewrite, isBatchTarget } from "../downstream/graph/links.ts";
import { asApplication, compileTarget, isGraph, readsOData } from "../downstream/target/downstream-api.ts";
import { GatewayError } from "../errors.ts";
import type { DownstreamToken, TokenExchange, TokenSubject } from "../exchange/contract.ts";
import { applicationSubject } from "../exchange/entra/application.ts";
import { loopTurns } from "../foundation/turns.ts";
import { authorize } from "../identity/claims-policy.ts";
import type {
  Principal,
  RoutePolicy,
  TokenVerifier,
  Verification,
  VerifiedCaller,
} from "../identity/contract.ts";
import { connectionOf } from "./connection.ts";
import type {
  McpGate,
  ObtainToken,
  PassedMessages,
  RequestObserver,
  RequestRecord,
  RoomSpan,
} from "./contract.ts";
import { publicAddress } from "./public-address.ts";
import { challengedAgain, inTermsOf, notTheUsers } from "./user-challenge.ts";

/**
 * The first to see a request: opens its record, and ends its connection where two servers could read it differently. Throws
 * what refuses the request.
 */
export function beginRequests(
  observer: RequestObserver,
  auditIsAtRisk: (() => boolean) | undefined,
): (request: Request, response: Response) => RequestRecord {
  return (request, response) => {
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
    checkMessage(record, request, response);
    if (auditIsAtRisk?.() === true) throw auditAtRisk();
    return record;
  };
}

/** The same as a handler of Express. */
export function receive(...options: Parameters<typeof beginRequests>): RequestHandler {
  const begin = beginRequests(...options);
  return (request, response, next) => {
    begin(request, response);
    next();
  };
}

/** `audit.onLoss: refuse` puts a whole audit stream before answers. */
function auditAtRisk(): GatewayError {
  return new GatewayError("overloaded", {
    detail:
      "The gateway cannot record requests at the moment, and is configured to serve none that it cannot record.",
    reason: "audit_unwritable",
    retryAfterSeconds: 5,
  });
}

/**
 * Fields of one request: browsers send some twenty, with proxies on the way some forty. Each is a name and a value that several
 * rules look at, and 32 KiB hold 8,000 of them.
 */
export const MOST_FIELDS = 200;

/** Of a request whose fields are too many the listener has dropped some: which ones it has says nothing about the message. */
export function hasTooManyFields({ rawHeaders }: IncomingMessage): boolean {
  return rawHeaders.length > MOST_FIELDS * 2;
}

/** Fields by which frameworks let a POST stand for another method. */
const METHOD_OVERRIDES = [
  "x-http-method",
  "x-http-method-override",
  "x-http-methods-override",
  "x-method-override",
] as const;

/** Connections of another program's server that a message in doubt has ended: the server may have parsed on. */
const ended = new WeakSet<Socket>();

/**
 * Checks a message as it arrives, and notes how it is framed. One whose bounds or target are in doubt is the last of its
 * connection: what follows on it may have been part of it for the server before this one (RFC 9112 §6.3, §11.2).
 *
 * @throws {GatewayError} `request_malformed`
 */
export function checkMessage(record: RequestRecord, request: Request, response: Response): void {
  try {
    if (ended.has(request.socket)) throw ambiguousFraming();
    checkFields(request);
    const framing = readFraming(request);
    checkUpgrade(request);
    record.framing = framing;
  } catch (error) {
    response.shouldKeepAlive = false;
    const connection = connectionOf(request.socket);
    if (connection === undefined) ended.add(request.socket);
    else connection.endHere();
    throw error;
  }
  checkMethod(request);
}

function checkFields(request: IncomingMessage): void {
  const { rawHeaders, httpVersion } = request;
  if (hasTooManyFields(request))
    throw malformed("header_fields", `The request has more than ${MOST_FIELDS} header fields.`);
  // RFC 9112 §3.2: one Host, no more and no less; Node drops all but the first.
  if (httpVersion === "1.1" && hostsIn(rawHeaders) !== 1)
    throw malformed("host", "The request must have one Host field.");
}

function hostsIn(rawHeaders: readonly string[]): number {
  let hosts = 0;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index];
    if (name?.length === 4 && name.toLowerCase() === "host") hosts++;
  }
  return hosts;
}

const NO_BODY: Framing = { kind: "none" };
const CHUNKED: Framing = { kind: "chunked" };

/**
 * Reads the framing of a request once more than the HTTP parser did, and for all that handle the body. A request on whose
 * length two servers could disagree is how a second, hidden request is smuggled past the first server.
 *
 * @throws {GatewayError} `request_malformed`; the connection must not be used for another request.
 */
export function readFraming({ headers, httpVersion }: IncomingMessage): Framing {
  // What node:http lets through besides is 0.9, which has neither fields nor framing.
  if (httpVersion !== "1.1" && httpVersion !== "1.0") throw ambiguousFraming();
  const coding = headers["transfer-encoding"];
  const length = headers["content-length"];
  if (coding !== undefined) {
    // RFC 9112 §6.1: never beside a length, never in HTTP/1.0, and chunked is the only coding we know.
    const known = coding.toLowerCase() === "chunked";
    if (!known || length !== undefined || httpVersion === "1.0") throw ambiguousFraming();
    return CHUNKED;
  }
  if (length === undefined) return NO_BODY;
  if (!/^\d{1,15}$/.test(length)) throw ambiguousFraming();
  const bytes = Number(length);
  return bytes === 0 ? NO_BODY : { kind: "length", bytes };
}

function ambiguousFraming(): GatewayError {
  return malformed("framing", "The request does not say unambiguously where its body ends.");
}

/**
 * A client that asks for another protocol would take the answer in HTTP for a failure without a reason. HTTP/2 alone is
 * ignored, as RFC 9110 §7.8 allows: clients offer it with ordinary requests, and go on in HTTP/1.1.
 */
function checkUpgrade({ headers: { upgrade } }: IncomingMessage): void {
  if (upgrade === undefined || upgrade.toLowerCase() === "h2c") return;
  throw malformed("upgrade", "This gateway does not change the protocol. Send the request without Upgrade.");
}

function checkMethod({ method = "", headers }: IncomingMessage): void {
  for (const name of METHOD_OVERRIDES) {
    const meant = headers[name];
    if (meant === undefined || meant === method) continue;
    throw malformed(
      "method_override",
      `Send the request with the method that ${name} names, without the field.`,
    );
  }
}

function malformed(reason: string, detail: string): GatewayError {
  return new GatewayError("request_malformed", { detail, reason });
}

const RECORD = Symbol("request record");
type Recorded = IncomingMessage & { [RECORD]?: RequestRecord };

/** Ids that fit a log line and a header: GUIDs, ULIDs, trace ids, and what tests like to write. */
const PLAUSIBLE_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** Opens the record, before anything can go wrong. */
export function openRecord(request: Request): RequestRecord {
  const given = request.headers["x-correlation-id"];
  const correlationId = typeof given === "string" && PLAUSIBLE_ID.test(given) ? given : randomUUID();
  const record: RequestRecord = {
    correlationId,
    prefix: request.baseUrl,
    startedAt: performance.now(),
    via: undefined,
    framing: undefined,
    route: undefined,
    caller: undefined,
    owner: undefined,
    delegation: undefined,
    tokenOrigin: undefined,
    refusal: undefined,
    downstreamStatus: undefined,
    cut: undefined,
    verifyMs: undefined,
    exchangeMs: undefined,
    tokenRequest: undefined,
    mcp: undefined,
    downstreamMs: undefined,
    downstreamRequestId: undefined,
    throttleMs: undefined,
    trace: undefined,
    transfers: undefined,
  };
  (request as Recorded)[RECORD] = record;
  return record;
}

/** @throws when `openRecord` has not run: a mistake in the composition, not in the request. */
export function recordOf(request: Request): RequestRecord {
  const record = (request as Recorded)[RECORD];
  if (record === undefined)
    throw new Error("request without a record: openRecord must be called first of all");
  return record;
}

/** @throws when `checkMessage` has not passed the request: a mistake in the composition, not in the request. */
export function framingOf({ framing }: RequestRecord): Framing {
  if (framing === undefined)
    throw new Error("request without framing: checkMessage must pass it before its body is handled");
  return framing;
}

/** The user of a request, once its caller is known. */
export function userOf(request: IncomingMessage): string | undefined {
  return (request as Recorded)[RECORD]?.owner?.user;
}

/** Whether `openRecord` has run: an app that brings routes of its own has requests without a record. */
export function isRecorded(request: Request): boolean {
  return (request as Recorded)[RECORD] !== undefined;
}

/** As the caller wrote it, without the prefix of an app that mounts this one: routes know nothing of that. */
export function targetBelowPrefix({ originalUrl }: Request, { prefix }: RequestRecord): string {
  return prefix === "" ? originalUrl : originalUrl.slice(prefix.length);
}

/** Sets the security fields and the correlation id on an answer that is not the forwarder's, which writes them by itself. */
export function sayOwnFields(response: ServerResponse, { lines }: OwnFields, correlationId: string): void {
  for (let index = 0; index + 1 < lines.length; index += 2)
    response.setHeader(lines[index] as string, lines[index + 1] as string);
  response.setHeader("x-correlation-id", correlationId);
}

/** RFC 9110 §15.5.6: a 405 names what would have been allowed. */
export function refuseMethod(allowed: string): RequestHandler {
  return (_request, response) => {
    response.setHeader("allow", allowed);
    throw new GatewayError("method_not_allowed", {
      detail: "This route does not take the method of the request.",
    });
  };
}

export interface Admission {
  /** Names the route in logs and metrics. */
  readonly path: string;
  /** Without one, any verified caller is let through. */
  readonly policy: RoutePolicy | undefined;
  readonly verifier: TokenVerifier;
  /** What becomes of a request with a `Delegation` field; undefined where `permit` comes later. */
  readonly actFor: ActFor | undefined;
  /** Where the caller's token stands, as values of `Authorization`. Default: in that header field. */
  readonly credentials?: ((request: Request) => readonly string[]) | undefined;
}

/**
 * Makes the user behind the request's `Delegation` field its caller, or rejects. The caller's own token has been verified;
 * one that means nothing by the field stays the caller.
 */
export type ActFor = (record: RequestRecord, handle: string) => Promise<void>;

/** Node joins several lines of one field by commas, which no handle holds. */
function delegationIn({ headers: { delegation } }: Request): string | undefined {
  return delegation === undefined ? undefined : String(delegation);
}

/** A record of its own for what one request of a job does for a user. */
export function actingRecord(record: RequestRecord, resumed: ResumedDelegation): RequestRecord {
  const acting = { ...record };
  actAs(acting, resumed);
  return acting;
}

/** From now on the request is the user's, with the job as client: policies, shares and logs go by that. */
export function actAs(record: RequestRecord, { id, caller, demanded }: ResumedDelegation): void {
  record.caller = caller;
  record.owner = caller.owner;
  record.delegation = { id, demanded };
}

/**
 * Validates the bearer token of the `Authorization` header, and lets pass whom the route's policy admits.
 *
 * @param proceed Comes next, where nothing stands between: cheaper than as a handler of its own, for which Express
 * would compare the path and cut the URL once more.
 */
export function admit(
  { path, policy, verifier, actFor, credentials = authorizationOf }: Admission,
  proceed: RequestHandler = (_request, _response, next) => next(),
): RequestHandler {
  const letPass = (
    record: RequestRecord,
    began: number,
    verification: Verification,
    span: RoomSpan | undefined,
  ) => {
    record.verifyMs = performance.now() - began;
    if (verification.outcome !== "verified") {
      span?.refused(verification.error);
      throw verification.error;
    }
    span?.granted();
    record.caller = verification.caller;
    record.owner = verification.caller.owner;
  };
  const permitted = permit({ policy, actFor }, proceed);
  return (request, response, next) => {
    const record = recordOf(request);
    record.route = path;
    const span = record.trace?.room("verify");
    const began = performance.now();
    // A token that was verified before is known without a turn of the event loop, which saves a hundredth of what a hit
    // executes; a caller of `admit` need not know which way it went.
    const verification = verifier.verify(credentials(request));
    if (verification instanceof Promise)
      return verification.then((late) => {
        letPass(record, began, late, span);
        return permitted(request, response, next);
      });
    letPass(record, began, verification, span);
    return permitted(request, response, next);
  };
}

/**
 * Lets pass whom the route's policy admits: the caller, or the user for whom a job sends the request. Where limits are
 * counted they stand between `admit` and this, so that a job's requests count as the job's.
 */
export function permit(
  { policy, actFor }: Pick<Admission, "policy" | "actFor">,
  proceed: RequestHandler,
): RequestHandler {
  return (request, response, next) => {
    const record = recordOf(request);
    const handle = actFor === undefined ? undefined : delegationIn(request);
    if (actFor !== undefined && handle !== undefined)
      return actFor(record, handle).then(() => {
        checkPolicy(policy, callerOf(record).principal);
        return proceed(request, response, next);
      });
    checkPolicy(policy, callerOf(record).principal);
    return proceed(request, response, next);
  };
}

function checkPolicy(policy: RoutePolicy | undefined, principal: Principal): void {
  const refusal = policy && authorize(principal, policy);
  if (refusal !== undefined) throw refusal;
}

/** The user of a request whose token was verified before, by which requests that wait take turns. */
export function recognizeUser(verifier: TokenVerifier): (request: IncomingMessage) => string | undefined {
  return (request) => verifier.recognize(authorizationOf(request))?.owner.user;
}

/** The user of whom the token of a request speaks where it was not verified before. */
export function claimedUserOf(verifier: TokenVerifier): (request: IncomingMessage) => string | undefined {
  return (request) => verifier.claimedUser(authorizationOf(request));
}

export interface ProxyRoute {
  /** Default `user`. */
  readonly as?: ActsAs;
  readonly target: TargetRules;
  readonly api: DownstreamApiOptions;
  /** Reads the messages for a server of the Model Context Protocol, where one stands behind. */
  readonly gate?: McpGate | undefined;
}

export interface ProxyPorts {
  /** Application (client) id of the gateway. */
  readonly clientId: string;
  readonly exchange: TokenExchange;
  readonly forward: Forward;
  readonly forwardBatch: ForwardBatch;
  /** How callers reach the gateway; see `publicAddress`. */
  readonly publicUrl: string | undefined;
  readonly own: OwnFields;
  /** `WWW-Authenticate` of a 401 that passes through: the downstream's own would speak of a token that is not the caller's. */
  readonly challenge: string;
}

/** What a route decides about a request with, whichever process carries the request's bytes afterwards. */
export interface OpenRoute {
  readonly api: DownstreamApiOptions;
  readonly methods: readonly string[];
  /** For the field `Allow`. */
  readonly allowedMethods: string;
  /** Throws what the route refuses. */
  readonly targetOf: (method: string, rawTarget: string) => Target;
  readonly actor: Actor;
  readonly source: TokenSource;
}

/** The same for the gateway's proxy and for one in front of an API that asks the gateway. */
export function openRoute(
  route: ProxyRoute,
  { clientId, exchange }: Pick<ProxyPorts, "clientId" | "exchange">,
): OpenRoute {
  const api = route.as === "app" ? asApplication(route.api) : route.api;
  const methods = withHead(route.target.methods);
  const actor = actorOf(route.as, clientId);
  return {
    api,
    methods,
    allowedMethods: methods.join(", "),
    targetOf: compileTarget(api, { ...route.target, methods }),
    actor,
    source: { actor, scopes: api.scopes, exchange },
  };
}

type Challenged = Extract<ForwardOutcome, { readonly kind: "challenged" }>;

/** Exchanges the caller's token and forwards the request; answers a claims challenge of the API once. */
export function proxyTo(route: ProxyRoute, ports: ProxyPorts): RequestHandler {
  const { forward, forwardBatch, challenge } = ports;
  const { api, methods, allowedMethods, targetOf, actor, source } = openRoute(route, ports);
  const graph = isGraph(api);
  const tellsHop = api.headers?.sendForwarded === true;
  const rewriteFor = readsOData(api)
    ? linkRewrites(api, route.target.path, ports.publicUrl)
    : () => undefined;
  const { gate } = route;

  return (request, response) => {
    const record = recordOf(request);
    const { correlationId } = record;
    // RFC 9110 §15.5.6: a 405 names what would have been allowed.
    if (!methods.includes(request.method)) response.setHeader("allow", allowedMethods);
    const target = targetOf(request.method, targetBelowPrefix(request, record));
    const rewrite = rewriteFor(request);
    const forwarded = tellsHop ? hopOf(request) : undefined;

    if (graph && request.method === "POST" && isBatchTarget(target))
      return sendBatch(request, response, { target, rewrite, forwarded });

    const sendFirst = ({ accessToken: token }: DownstreamToken, passed?: PassedMessages) => {
      const first: ForwardRequest = {
        incoming: request,
        framing: framingOf(record),
        outgoing: response,
        target,
        token,
        correlationId,
        challenge,
        rewrite: passed === undefined ? rewrite : passed.rewrite,
        body: passed?.body,
        forwarded,
        record,
      };
      return forward(first).then((outcome) =>
        outcome.kind === "challenged" ? sendAgain(record, first, outcome) : undefined,
      );
    };
    const exchangeAndSend = (passed?: PassedMessages) => {
      const held = recallToken(record, source);
      if (held !== undefined) return sendFirst(held, passed);
      return obtainWith(record, source)({ recalled: true }).then((token) => sendFirst(token, passed));
    };
    if (gate === undefined) return exchangeAndSend();
    if (request.method !== "POST") return exchangeAndSend({ body: undefined, rewrite: gate.stream });
    return gate
      .read(request, response)
      .then((passed) => (passed === undefined ? undefined : exchangeAndSend(passed)));
  };

  async function sendBatch(
    request: Request,
    response: Response,
    parts: Pick<Parameters<ForwardBatch>[0], "target" | "rewrite" | "forwarded">,
  ): Promise<void> {
    const record = recordOf(request);
    const { correlationId } = record;
    sayOwnFields(response, ports.own, correlationId);
    try {
      const answered = await forwardBatch({
        incoming: request,
        framing: framingOf(record),
        outgoing: response,
        ...parts,
        record,
        route: route.target,
        check: targetOf,
        owner: callerOf(record).owner,
        obtainToken: obtainWith(record, source),
        correlationId,
        challenge,
      });
      record.downstreamStatus = answered?.status;
      record.cut = answered?.isWhole === false ? "downstream_failed" : undefined;
    } catch (error) {
      throw actor.rephrase(record, error);
    }
  }

  async function sendAgain(record: RequestRecord, first: ForwardRequest, outcome: Challenged): Promise<void> {
    const again = { claims: outcome.claims, refused: first.token };
    const { accessToken: token } = await obtainWith(record, source)(again);
    if (!outcome.replayable) throw repeatRequest();
    const second = await forward({ ...first, token });
    if (second.kind === "challenged")
      throw actor.rephrase(record, challengedAgain(callerOf(record).principal, second.claims));
  }
}

/** RFC 9110 §9.3.2: HEAD is GET without the content, so a route that lets GET pass gives nothing away by it. */
function withHead(methods: readonly string[]): readonly string[] {
  return methods.includes("GET") && !methods.includes("HEAD") ? [...methods, "HEAD"] : methods;
}

/** Links are rewritten to one address, or in development to that of a few loopback names: the last one is kept. */
function linkRewrites(api: DownstreamApiOptions, mount: string, publicUrl: string | undefined) {
  let known: string | undefined;
  let rewrite: RewriteAnswer | undefined;
  return (request: Request): RewriteAnswer | undefined => {
    const address = addressOf(request, publicUrl);
    if (address !== known) {
      known = address;
      rewrite = address === undefined ? undefined : createLinkRewrite(api, address + mount);
    }
    return rewrite;
  };
}

/** `http.publicUrl` is the whole address of the gateway; an address read from the request lacks the prefix of its mount. */
function addressOf(request: Request, publicUrl: string | undefined): string | undefined {
  const address = publicAddress(request, publicUrl);
  return address === undefined || publicUrl !== undefined ? address : address + recordOf(request).prefix;
}

/** The nearest caller that is no trusted proxy; Express looks at `X-Forwarded-*` of those alone. */
function hopOf(request: Request): ForwardedHop {
  const { ip = "", protocol, host } = request;
  return { for: ip, proto: protocol, host };
}

/** Every value of the `Authorization` field: Node keeps only the first of several, so the raw list is read. */
function authorizationOf(request: IncomingMessage): string[] {
  const values: string[] = [];
  const { rawHeaders } = request;
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = rawHeaders[index];
    if (name?.length === 13 && name.toLowerCase() === "authorization")
      values.push(rawHeaders[index + 1] ?? "");
  }
  return values;
}

/**
 * Whose permissions a route uses: the caller's, by exchange, or the gateway's own in the caller's tenant. The latter
 * only for callers whom the route's policy names.
 */
export type ActsAs = "user" | "app";

export interface Actor {
  assertionOf(record: RequestRecord): TokenSubject;
  /** The operator has to act on Entra's refusal of the gateway's token, never the caller. */
  rephrase(record: RequestRecord, error: unknown, claims?: string): unknown;
}

export function actorOf(as: ActsAs | undefined, clientId: string): Actor {
  if (as === "app")
    return {
      assertionOf: (record) => applicationSubject(callerOf(record).principal.tenantId, clientId),
      rephrase: (_record, error) => notTheUsers(error),
    };
  return {
    assertionOf: (record) => callerOf(record).assertion,
    rephrase(record, error, claims) {
      const phrased = inTermsOf(callerOf(record).principal, error, claims);
      return record.delegation === undefined ? phrased : record.delegation.demanded(phrased);
    },
  };
}

/** The gateway's own application in one tenant, for a request of no user. */
export function applicationActor(tenantId: string, clientId: string): Actor {
  return {
    assertionOf: () => applicationSubject(tenantId, clientId),
    rephrase: (_record, error) => notTheUsers(error),
  };
}

/** Where tokens for one API come from. */
export interface TokenSource {
  readonly actor: Actor;
  readonly scopes: readonly string[];
  readonly exchange: TokenExchange;
}

/** The token that is at hand, noting so in the record. */
export function recallToken(
  record: RequestRecord,
  { actor, scopes, exchange }: TokenSource,
): DownstreamToken | undefined {
  const began = performance.now();
  const { correlationId } = record;
  const held = exchange.recall({
    assertion: actor.assertionOf(record),
    scopes,
    correlationId,
    clientId: record.caller?.principal.clientId,
  });
  if (held === undefined) return undefined;
  record.trace?.room("exchange").granted(held.origin);
  record.tokenOrigin = held.origin;
  noteToken(record, held.token);
  record.exchangeMs = performance.now() - began;
  return held.token;
}

/** For the audit of a tool's call; of other requests the exchange alone is audited. */
function noteToken({ mcp }: RequestRecord, { accessToken }: DownstreamToken): void {
  if (mcp !== undefined && mcp.tools.length > 0) mcp.token = accessToken.fingerprint();
}

/**
 * Exchanges where no token is at hand, noting in the record where it came from and how long that took.
 *
 * Exchanges that began together are answered together, a hundred of one user's in one turn of the event loop. Where that has
 * no time left, what a request does with its new token waits for the turn of its user.
 */
export function obtainWith(record: RequestRecord, source: TokenSource): ObtainToken {
  const exchange = exchangeWith(record, source);
  return async (challenge) => {
    const token = await exchange(challenge);
    if (record.tokenOrigin !== "cache" && !loopTurns.isFree()) await loopTurns.pause(record.owner?.user);
    return token;
  };
}

function exchangeWith(record: RequestRecord, { actor, scopes, exchange }: TokenSource): ObtainToken {
  const assertion = actor.assertionOf(record);
  return async ({ recalled, claims, refused, signal } = {}) => {
    const span = record.trace?.room("exchange");
    const began = performance.now();
    if (claims !== undefined)
      exchange.forget({ assertion, scopes, ...(refused !== undefined && { refused }) });
    try {
      const { token, origin, tokenRequest } = await exchange.exchange({
        assertion,
        scopes,
        correlationId: record.correlationId,
        // A request for the application itself has no caller.
        ...(record.caller !== undefined && { clientId: record.caller.principal.clientId }),
        ...(record.via !== undefined && { via: record.via }),
        ...(recalled !== undefined && { recalled }),
        ...(claims !== undefined && { claims }),
        ...(signal !== undefined && { signal }),
        ...(span !== undefined && { trace: span }),
      });
      record.tokenOrigin = origin;
      noteToken(record, token);
      if (tokenRequest !== undefined) record.tokenRequest = tokenRequest;
      span?.granted(origin);
      return token;
    } catch (error) {
      span?.refused(error);
      throw actor.rephrase(record, error, claims);
    } finally {
      record.exchangeMs = (record.exchangeMs ?? 0) + performance.now() - began;
    }
  };
}

export function callerOf(record: RequestRecord): VerifiedCaller {
  if (record.caller === undefined) throw new Error("route without admit() in front of it");
  return record.caller;
}

/** The body has gone with the first attempt, so it cannot be sent again; the token that it lacked is here now. */
export function repeatRequest(): GatewayError {
  return new GatewayError("overloaded", {
    detail: "The downstream API asked for a new token while the body was under way. Send the request again.",
    reason: "body_not_replayable",
    retryAfterSeconds: 1,
  });
}
