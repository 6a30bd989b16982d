/** `/delegations`: users give jobs leave to act for them, look at what they gave, and end it; and the field by which jobs do. */

import type { RequestHandler, Router } from "express";
import type { Delegations, ListedDelegation } from "../delegations/contract.ts";
import { GatewayError } from "../errors.ts";
import type { RoutePolicy } from "../identity/contract.ts";
import { type ActFor, actAs, callerOf, recordOf, refuseMethod } from "./pipeline.ts";
import { inTermsOf } from "./user-challenge.ts";

export interface DelegationRoutes {
  readonly delegations: Delegations;
  /** Scopes of which the token of a user who delegates needs any one. */
  readonly requiredScopes: readonly string[];
}

export const DELEGATIONS_PATH = "/delegations";

/** What a `Delegation` field does on a route: it is never ignored, since the job would act for itself unawares. */
export function actForAt(
  delegations: Delegations | undefined,
  { takesDelegations = false }: { readonly takesDelegations?: boolean | undefined },
): ActFor {
  if (delegations === undefined) return refuseJobs;
  if (!takesDelegations) return () => Promise.reject(notHere());
  return async (record, handle) => {
    const { principal: job } = callerOf(record);
    const { correlationId, route } = record;
    actAs(record, await delegations.resume({ handle, job, correlationId, route }));
  };
}

/**
 * For where no delegations are. An application that sends the field means to act for a user, and takes this for a gateway
 * that has them: a replica whose file names them already waits for its restart. For a user the field means nothing.
 */
export const refuseJobs: ActFor = async (record) => {
  if (callerOf(record).principal.kind === "app") throw notHere();
};

function notHere(): GatewayError<"target_forbidden"> {
  return new GatewayError("target_forbidden", {
    detail: "This route takes no Delegation field.",
    reason: "delegation_not_here",
  });
}

/** Puts `limited` handlers of the three requests into the router; each comes with its policy, undefined for any caller. */
export function mountDelegations(
  router: Router,
  { delegations, requiredScopes }: DelegationRoutes,
  limited: (
    path: string,
    policy: RoutePolicy | undefined,
    handler: RequestHandler,
  ) => readonly RequestHandler[],
): void {
  const policy: RoutePolicy = {
    callers: "user",
    requiredScopes,
    requiredRoles: [],
    allowedClients: [],
  };

  const keep: RequestHandler = async (request, response) => {
    const record = recordOf(request);
    const caller = callerOf(record);
    const left = new AbortController();
    response.once("close", () => left.abort());
    try {
      const { handle, ...kept } = await delegations.keep({
        caller,
        correlationId: record.correlationId,
        signal: left.signal,
      });
      response.status(201).json({ handle, ...shown(kept) });
    } catch (error) {
      // The caller has left, and its answer would reach no one.
      if (left.signal.aborted) return;
      throw inTermsOf(caller.principal, error);
    }
  };

  const list: RequestHandler = async (request, response) => {
    const listed = await delegations.list(callerOf(recordOf(request)).principal);
    response.json({ delegations: listed.map(shown) });
  };

  const end: RequestHandler = async (request, response) => {
    const record = recordOf(request);
    const { id } = request.params;
    const by = callerOf(record).principal;
    const { correlationId } = record;
    if (typeof id !== "string" || !(await delegations.end({ id, by, correlationId }))) throw notFound();
    response.status(204).end();
  };

  router.post(DELEGATIONS_PATH, uncached, ...limited(DELEGATIONS_PATH, policy, keep));
  router.get(DELEGATIONS_PATH, uncached, ...limited(DELEGATIONS_PATH, policy, list));
  router.all(DELEGATIONS_PATH, ...limited(DELEGATIONS_PATH, policy, refuseMethod("POST, GET, HEAD")));
  const one = `${DELEGATIONS_PATH}/:id`;
  // Administrators may be applications, and the room decides who may end what.
  router.delete(one, uncached, ...limited(one, undefined, end));
  router.all(one, ...limited(one, undefined, refuseMethod("DELETE")));
}

const uncached: RequestHandler = (_request, response, next) => {
  response.setHeader("cache-control", "no-store");
  next();
};

function shown({ id, createdAt, expiresAt, clients }: ListedDelegation): object {
  return {
    id,
    createdAt: new Date(createdAt).toISOString(),
    expiresAt: new Date(expiresAt).toISOString(),
    clients,
  };
}

/** The same for an id that there is not and for one of another user: who asks learns nothing of others. */
function notFound(): GatewayError<"route_unknown"> {
  return new GatewayError("route_unknown", {
    detail: "The caller has no delegation with this id.",
    reason: "delegation",
  });
}
