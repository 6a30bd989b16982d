/** Who passes a route: verification, limits and policy in one order, whichever side a request comes to. */

import type { Request, RequestHandler } from "express";
import type { RoutePolicy, TokenVerifier } from "../identity/contract.ts";
import type { CodeRoute } from "./code-route.ts";
import type { RateLimitRules } from "./contract.ts";
import { actForAt, type DelegationRoutes } from "./delegations.ts";
import { admit, type ProxyRoute, permit } from "./pipeline.ts";
import type { LimitRoute } from "./rate-limits.ts";
import { staticPart } from "./route-table.ts";

/** A route as far as admission goes. */
export interface Admitted {
  readonly path: string;
  /** Without one, any verified caller is let through. */
  readonly policy?: RoutePolicy;
  readonly limits?: RateLimitRules | undefined;
  /** What limits of its own are counted under. Default: the path. */
  readonly counted?: string;
  /** Whether jobs that hold a delegation may use it. */
  readonly takesDelegations?: boolean | undefined;
  /** See `Admission` of the pipeline. */
  readonly credentials?: (request: Request) => readonly string[];
}

/** The handlers that stand in front of `proceed`, which is the last of them. */
export type Admit = (route: Admitted, proceed: RequestHandler) => readonly RequestHandler[];

/** Limits count verified callers, before the route's policy decides what a caller may do. */
export function createAdmission({
  verifier,
  limit,
  delegations,
}: {
  readonly verifier: TokenVerifier;
  readonly limit: LimitRoute;
  readonly delegations: DelegationRoutes | undefined;
}): Admit {
  return ({ path, policy, limits: rules, counted = path, takesDelegations, credentials }, proceed) => {
    const limits = limit(counted, rules);
    const actFor = actForAt(delegations?.delegations, { takesDelegations });
    if (limits.length === 0) return [admit({ path, policy, verifier, actFor, credentials }, proceed)];
    return [
      admit({ path, policy: undefined, verifier, actFor: undefined, credentials }),
      ...limits,
      permit({ policy, actFor }, proceed),
    ];
  };
}

/**
 * Where other routes are mounted below a mount. Express compares mounts with the path as it is spelt, so
 * `/graph/%61dmin` passes by a route at `/graph/admin`; the route at `/graph` has to refuse it.
 */
export function createMounts(routes: {
  readonly proxyRoutes: readonly Pick<ProxyRoute, "target">[];
  readonly codeRoutes: readonly CodeRoute[];
}): (mount: string) => readonly string[] {
  const paths = [
    ...routes.proxyRoutes.map(({ target }) => target.path),
    ...routes.codeRoutes.map(staticPart),
  ];
  return (mount) => paths.filter((path) => path.startsWith(`${mount}/`));
}
