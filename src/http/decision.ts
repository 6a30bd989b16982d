/** The decision on a request whose bytes another proxy carries: the same admission, path rules and token as the gateway's own proxy. */

import type { RequestHandler } from "express";
import { isBatchTarget } from "../downstream/graph/links.ts";
import { isGraph } from "../downstream/target/downstream-api.ts";
import { GatewayError } from "../errors.ts";
import type { TokenExchange } from "../exchange/contract.ts";
import type { RoutePolicy, TokenVerifier } from "../identity/contract.ts";
import type { ToolRules } from "../mcp/tools/contract.ts";
import { createAdmission, createMounts } from "./admission.ts";
import type { CodeRoute } from "./code-route.ts";
import type { DecidingRoute, Decisions, Grant, RateLimitRules } from "./contract.ts";
import type { DelegationRoutes } from "./delegations.ts";
import { obtainWith, openRoute, type ProxyRoute, recallToken, recordOf } from "./pipeline.ts";
import { inOrder } from "./plain-side.ts";
import type { LimitRoute } from "./rate-limits.ts";

export interface DecisionOptions {
  readonly proxyRoutes: readonly (ProxyRoute & {
    readonly policy: RoutePolicy;
    readonly limits?: RateLimitRules;
    /** Rules for the tools of an MCP server. */
    readonly tools?: ToolRules | undefined;
  })[];
  readonly codeRoutes: readonly CodeRoute[];
  readonly verifier: TokenVerifier;
  readonly exchange: TokenExchange;
  readonly clientId: string;
  readonly limit: LimitRoute;
  readonly delegations: DelegationRoutes | undefined;
}

export function createDecisions(options: DecisionOptions, grant: Grant): Decisions {
  const { clientId, exchange } = options;
  const admitted = createAdmission(options);
  const mountsBelow = createMounts(options);
  const routes = options.proxyRoutes.map((route): DecidingRoute => {
    const { path } = route.target;
    const target = { ...route.target, reserved: mountsBelow(path) };
    return {
      path,
      api: route.api.name,
      decide: inOrder(
        admitted({ ...route, path }, decideBy({ ...route, target }, { clientId, exchange }, grant)),
      ),
    };
  });
  return {
    routes,
    routeOf(target) {
      const end = target.indexOf("?");
      const path = end === -1 ? target : target.slice(0, end);
      // Spelt as it came, and the longest first: as Express compares mounts.
      return routes.find((route) => path.startsWith(route.path) && isBorder(path, route.path.length));
    },
  };
}

function isBorder(path: string, index: number): boolean {
  return path.length === index || path.charCodeAt(index) === 0x2f;
}

/** Stands where `proxyTo` stands in the proxy. */
function decideBy(
  route: ProxyRoute & { readonly tools?: ToolRules | undefined },
  ports: { readonly clientId: string; readonly exchange: TokenExchange },
  grant: Grant,
): RequestHandler {
  const { api, methods, allowedMethods, targetOf, source } = openRoute(route, ports);
  const graph = isGraph(api);
  return (request, response) => {
    const record = recordOf(request);
    if (!methods.includes(request.method)) response.setHeader("allow", allowedMethods);
    const target = targetOf(request.method, request.originalUrl);
    // The gateway's proxy looks at each part of a batch; here its body is out of sight.
    if (graph && request.method === "POST" && isBatchTarget(target)) throw batchUnseen();
    if (route.tools !== undefined && request.method === "POST") throw messagesUnseen();
    const held = recallToken(record, source);
    if (held !== undefined) return grant(response, record, held);
    return obtainWith(record, source)({ recalled: true }).then((token) => grant(response, record, token));
  };
}

function messagesUnseen(): GatewayError {
  return new GatewayError("target_forbidden", {
    detail: "The tools that a message names cannot be checked here. Send it to the gateway itself.",
    reason: "messages_unseen",
  });
}

function batchUnseen(): GatewayError {
  return new GatewayError("target_forbidden", {
    detail: "The parts of a batch cannot be checked here. Send it to the gateway itself.",
    reason: "batch_unseen",
  });
}
