/** The walk through the rooms, as Express middleware: authenticate, permit, then exchange and forward. */

import type { Request, RequestHandler } from "express";
import type {
  DownstreamApiOptions,
  Forward,
  ForwardedHop,
  ForwardOutcome,
  ForwardRequest,
  OwnFields,
  RewriteAnswer,
  TargetRules,
} from "../downstream/contract.ts";
import type { ForwardBatch } from "../downstream/graph/forward-batch.ts";
import { createLinkRewrite, isBatchTarget } from "../downstream/graph/links.ts";
import { compileTarget, isGraph, readsOData } from "../downstream/target/downstream-api.ts";
import type { DownstreamToken, TokenExchange } from "../exchange/contract.ts";
import type { Owner } from "../foundation/budget.ts";
import { authorize } from "../identity/claims-policy.ts";
import type { Principal, RoutePolicy, TokenVerifier, Verification } from "../identity/contract.ts";
import type { RequestRecord, RoomSpan } from "./contract.ts";
import { type ActsAs, actorOf, callerOf, obtainWith, recallToken, repeatRequest } from "./obtain-token.ts";
import { sayOwnFields } from "./own-fields.ts";
import { publicAddress } from "./public-address.ts";
import { recordOf, targetBelowPrefix } from "./request-record.ts";
import { challengedAgain } from "./user-challenge.ts";

export interface Admission {
  /** Names the route in logs and metrics. */
  readonly path: string;
  /** Without one, any verified caller is let through. */
  readonly policy: RoutePolicy | undefined;
  readonly verifier: TokenVerifier;
}

/**
 * Validates the bearer token of the `Authorization` header, and lets pass whom the route's policy admits.
 *
 * @param proceed Comes next, where nothing stands between: cheaper than as a handler of its own, for which Express
 * would compare the path and cut the URL once more.
 */
export function admit(
  { path, policy, verifier }: Admission,
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
    record.owner = ownerOf(verification.caller.principal);
    checkPolicy(policy, verification.caller.principal);
  };
  return (request, response, next) => {
    const record = recordOf(request);
    record.route = path;
    const span = record.trace?.room("verify");
    const began = performance.now();
    // A token that was verified before is known without a turn of the event loop. What that saves has not been measured
    // since; a caller of `admit` need not know which way it went.
    const verification = verifier.verify(authorizationOf(request));
    if (verification instanceof Promise)
      return verification.then((late) => {
        letPass(record, began, late, span);
        return proceed(request, response, next);
      });
    letPass(record, began, verification, span);
    return proceed(request, response, next);
  };
}

/** Lets pass whom the route's policy admits, where something stands between that and `admit`. */
export function permit(policy: RoutePolicy | undefined): RequestHandler {
  return (request, _response, next) => {
    checkPolicy(policy, callerOf(recordOf(request)).principal);
    next();
  };
}

function checkPolicy(policy: RoutePolicy | undefined, principal: Principal): void {
  const refusal = policy && authorize(principal, policy);
  if (refusal !== undefined) throw refusal;
}

/** For whom the rooms behind hold places, bytes and slots, so that one caller takes no more than a share of them. */
function ownerOf({ tenantId, objectId, clientId }: Principal): Owner {
  return { user: `${tenantId} ${objectId}`, client: `${tenantId} ${clientId}` };
}

export interface ProxyRoute {
  /** Default `user`. */
  readonly as?: ActsAs;
  readonly target: TargetRules;
  readonly api: DownstreamApiOptions;
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

type Challenged = Extract<ForwardOutcome, { readonly kind: "challenged" }>;

/** Exchanges the caller's token and forwards the request; answers a claims challenge of the API once. */
export function proxyTo(route: ProxyRoute, ports: ProxyPorts): RequestHandler {
  const { clientId, exchange, forward, forwardBatch, challenge } = ports;
  const api: DownstreamApiOptions = route.as === "app" ? { ...route.api, actsAs: "app" } : route.api;
  const methods = withHead(route.target.methods);
  const targetOf = compileTarget(api, { ...route.target, methods });
  const graph = isGraph(api);
  const tellsHop = api.headers?.sendForwarded === true;
  const rewriteFor = readsOData(api)
    ? linkRewrites(api, route.target.path, ports.publicUrl)
    : () => undefined;
  const allowedMethods = methods.join(", ");
  const actor = actorOf(route.as, clientId);
  const source = { actor, scopes: api.scopes, exchange };

  return (request, response) => {
    const record = recordOf(request);
    const { correlationId } = record;
    // RFC 9110 §15.5.6: a 405 names what would have been allowed.
    if (!methods.includes(request.method)) response.setHeader("allow", allowedMethods);
    const target = targetOf(request.method, targetBelowPrefix(request, record));
    const rewrite = rewriteFor(request);
    const forwarded = tellsHop ? hopOf(request) : undefined;

    if (graph && request.method === "POST" && isBatchTarget(target)) {
      sayOwnFields(response, ports.own, correlationId);
      return forwardBatch({
        incoming: request,
        outgoing: response,
        target,
        record,
        route: route.target,
        check: targetOf,
        owner: record.owner ?? ownerOf(callerOf(record).principal),
        obtainToken: obtainWith(record, source),
        correlationId,
        challenge,
        rewrite,
        forwarded,
      }).then(
        (answered) => {
          record.downstreamStatus = answered?.status;
          record.cut = answered?.isWhole === false ? "downstream_failed" : undefined;
        },
        (error: unknown) => {
          throw actor.rephrase(record, error);
        },
      );
    }

    const sendFirst = ({ accessToken: token }: DownstreamToken) => {
      const first: ForwardRequest = {
        incoming: request,
        outgoing: response,
        target,
        token,
        correlationId,
        challenge,
        rewrite,
        forwarded,
        record,
      };
      return forward(first).then((outcome) =>
        outcome.kind === "challenged" ? sendAgain(record, first, outcome) : undefined,
      );
    };
    const held = recallToken(record, source);
    return held === undefined
      ? obtainWith(record, source)({ recalled: true }).then(sendFirst)
      : sendFirst(held);
  };

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
function authorizationOf(request: Request): string[] {
  const values: string[] = [];
  const { rawHeaders } = request;
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = rawHeaders[index];
    if (name?.length === 13 && name.toLowerCase() === "authorization")
      values.push(rawHeaders[index + 1] ?? "");
  }
  return values;
}
