/** Forward-auth: a proxy in front asks about each request of its caller, and is answered with the field for the API or with the refusal. */

import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { GatewayError } from "../errors.ts";
import type { DownstreamToken } from "../exchange/contract.ts";
import type { DecidingRoute, Problem, RequestRecord, SecondSide } from "../http/contract.ts";
import type { Principal } from "../identity/contract.ts";
import type { IdentityFields } from "./contract.ts";
import { FORWARD_AUTH, type OriginalRequest, readOriginalRequest } from "./original-request.ts";

export interface ForwardAuthOptions {
  /** Seconds for which a proxy may keep a decision that lets pass; 0 lets it keep none. */
  readonly cacheSeconds: number;
  readonly identityFields: IdentityFields;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

type Asked = IncomingMessage & { originalUrl: string };

/** @param check Throws for a request that may not reach the local API. */
export function createForwardAuth(
  side: Pick<SecondSide, "serve" | "deciding">,
  options: ForwardAuthOptions,
  check: (request: IncomingMessage) => void,
): RequestListener {
  const decisions = side.deciding(createGrant(options));
  const named = new Map<string, (route: DecidingRoute) => boolean>();
  // A route's path wins over an API of the same name.
  for (const { api } of decisions.routes) named.set(`/${api}`, (route) => route.api === api);
  // A route below has its own rules, and decides for the one above as long as its API is the same:
  // a token for another API would be sent where this one stands.
  for (const { path, api } of decisions.routes)
    named.set(path, (route) => route.api === api && `${route.path}/`.startsWith(`${path}/`));
  const isNamed = (rest: string) => named.has(rest);
  const asked = new WeakMap<IncomingMessage, OriginalRequest>();

  return side.serve(
    (request, response) => {
      const original = asked.get(request);
      const route = original && decisions.routeOf(original.target);
      if (original === undefined || route === undefined)
        throw new GatewayError("route_unknown", { detail: "No route of this gateway matches the path." });
      if (original.named !== undefined && named.get(original.named)?.(route) !== true) throw anotherRoute();
      return route.decide(request, response);
    },
    {
      viaOf: () => "forward-auth",
      prepare(request) {
        check(request);
        const original = readOriginalRequest(request, isNamed);
        asked.set(request, original);
        // From here on the request is the one that the proxy in front holds.
        request.method = original.method;
        (request as Asked).originalUrl = original.target;
      },
    },
  );
}

export function isForwardAuth(url: string): boolean {
  return (
    url.startsWith(FORWARD_AUTH) &&
    /^(?:[/?]|$)/.test(url.slice(FORWARD_AUTH.length, FORWARD_AUTH.length + 1))
  );
}

function anotherRoute(): GatewayError {
  return new GatewayError("target_forbidden", {
    detail: "The original path belongs to another route than the one that the proxy in front asks about.",
    reason: "other_route",
  });
}

/**
 * nginx passes a refusal's fields on and not its body, so the body stands in a field as well, where nginx can write it
 * from: JSON in ASCII alone.
 */
export function problemInField({ status, headers, body }: Problem): Problem {
  const text = JSON.stringify(body).replace(
    /[^ -~]/g,
    (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return { status, headers: { ...headers, "x-obo-problem": text }, body };
}

type Known = keyof IdentityFields;

const VALUE_OF: Readonly<Record<Known, (principal: Principal) => string>> = {
  user: ({ objectId }) => objectId,
  tenant: ({ tenantId }) => tenantId,
  client: ({ clientId }) => clientId,
  scopes: ({ scopes }) => scopes.join(" "),
  roles: ({ roles }) => roles.join(","),
};

/**
 * The answer holds nothing of the caller's own fields. Each configured field is in every answer, empty where the caller
 * has nothing of the kind: a proxy that copies fields by name would otherwise leave the caller's own in place.
 */
export function createGrant({
  cacheSeconds,
  identityFields,
  now,
}: Pick<ForwardAuthOptions, "cacheSeconds" | "identityFields" | "now">) {
  const fields = (Object.keys(VALUE_OF) as Known[]).flatMap((known) => {
    const name = identityFields[known];
    return name === undefined ? [] : [[name, VALUE_OF[known]] as const];
  });
  return (response: ServerResponse, record: RequestRecord, token: DownstreamToken): void => {
    const lines = [
      "authorization",
      `Bearer ${token.accessToken.reveal()}`,
      "x-correlation-id",
      record.correlationId,
      "content-length",
      "0",
    ];
    const principal = record.caller?.principal;
    if (principal !== undefined)
      for (const [name, read] of fields) lines.push(name, visible(read(principal)));
    const keepSeconds =
      // Who a job acts for stands in a field besides its token, and may be withdrawn at any time.
      cacheSeconds === 0 || principal === undefined || record.delegation !== undefined
        ? 0
        : Math.min(cacheSeconds, Math.floor((Math.min(token.expiresAt, principal.expiresAt) - now()) / 1000));
    if (keepSeconds > 0)
      lines.push(
        // nginx keeps nothing that is private, unless this field, which it alone reads, comes before.
        "x-accel-expires",
        String(keepSeconds),
        "cache-control",
        `private, max-age=${keepSeconds}`,
        // A decision is for one caller, even where the key of the proxy's cache forgets that.
        "vary",
        "authorization, delegation",
      );
    else lines.push("cache-control", "no-store");
    for (const [name, value] of Object.entries(response.getHeaders())) lines.push(name, String(value));
    response.writeHead(200, lines);
    response.end();
  };
}

/** Roles may hold any text; a field holds visible ASCII, and the percent sign marks what was written otherwise. */
function visible(text: string): string {
  return /^[ -$&-~]*$/.test(text) ? text : text.replace(/[^ -$&-~]/gu, (one) => encodeURIComponent(one));
}
