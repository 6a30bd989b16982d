/** Forward-auth: a proxy in front asks about each request of its caller, and is answered with the field for the API or with the refusal. */

import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { GatewayError } from "../errors.ts";
import type { DownstreamToken } from "../exchange/contract.ts";
import { writeCheckedHead } from "../foundation/checked-head.ts";
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

const NO_BODY: readonly string[] = Object.freeze(["content-length", "0"]);

type Asked = IncomingMessage & { originalUrl: string };

/** @param check Throws for a request that may not reach the local API. */
export function createForwardAuth(
  side: Pick<SecondSide, "serve" | "deciding">,
  options: ForwardAuthOptions,
  check: (request: IncomingMessage) => void,
): RequestListener {
  const decisions = side.deciding(createGrant(options));
  const { routes } = decisions;
  /** By what stands behind the endpoint's path: the routes that may decide. */
  const named = new Map<string, ReadonlySet<DecidingRoute>>();
  // A route's path wins over an API of the same name.
  for (const { api } of routes) named.set(`/${api}`, new Set(routes.filter((route) => route.api === api)));
  // A route below has its own rules, and decides for the one above as long as its API is the same:
  // a token for another API would be sent where this one stands.
  for (const { path, api } of routes) {
    const below = routes.filter((route) => route.api === api && `${route.path}/`.startsWith(`${path}/`));
    named.set(path, new Set(below));
  }
  const isNamed = (rest: string) => named.has(rest);

  return side.serve<OriginalRequest>(
    (request, response, _record, original) => {
      const route = decisions.routeOf(original.target);
      if (route === undefined)
        throw new GatewayError("route_unknown", { detail: "No route of this gateway matches the path." });
      if (original.named !== undefined && named.get(original.named)?.has(route) !== true)
        throw anotherRoute();
      return route.decide(request, response);
    },
    {
      viaOf: () => "forward-auth",
      prepare(request) {
        check(request);
        const original = readOriginalRequest(request, isNamed);
        // From here on the request is the one that the proxy in front holds.
        request.method = original.method;
        (request as Asked).originalUrl = original.target;
        return original;
      },
    },
  );
}

export function isForwardAuth(url: string): boolean {
  if (!url.startsWith(FORWARD_AUTH)) return false;
  const next = url[FORWARD_AUTH.length];
  return next === undefined || next === "/" || next === "?";
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
    let lines = `authorization: ${token.accessToken.authorization()}\r\nx-correlation-id: ${record.correlationId}\r\n`;
    const principal = record.caller?.principal;
    if (principal !== undefined)
      for (const [name, read] of fields) lines += `${name}: ${visible(read(principal))}\r\n`;
    const keepSeconds =
      // Who a job acts for stands in a field besides its token, and may be withdrawn at any time.
      cacheSeconds === 0 || principal === undefined || record.delegation !== undefined
        ? 0
        : Math.min(cacheSeconds, Math.floor((Math.min(token.expiresAt, principal.expiresAt) - now()) / 1000));
    // nginx keeps nothing that is private, unless the field that it alone reads comes before. A decision is for one caller,
    // even where the key of the proxy's cache forgets that.
    lines +=
      keepSeconds > 0
        ? `x-accel-expires: ${keepSeconds}\r\ncache-control: private, max-age=${keepSeconds}\r\nvary: authorization, delegation\r\n`
        : "cache-control: no-store\r\n";
    writeCheckedHead(response, 200, lines, NO_BODY);
    response.end();
  };
}

/** Roles may hold any text; a field holds visible ASCII, and the percent sign marks what was written otherwise. */
function visible(text: string): string {
  return /^[ -$&-~]*$/.test(text) ? text : text.replace(/[^ -$&-~]/gu, (one) => encodeURIComponent(one));
}
