/** Rate limits per user and per client: a caller past one gets 429, with the time after which to come back. */

import type { RequestHandler } from "express";
import { GatewayError } from "../errors.ts";
import type { Principal } from "../identity/contract.ts";
import type { SharedCounters } from "../redis/contract.ts";
import type { RateLimit, RateLimitEvent, RateLimitRules } from "./contract.ts";
import { callerOf, recordOf } from "./pipeline.ts";
import { type CountRequest, createRequestCounter } from "./request-counter.ts";

export interface RateLimitsOptions {
  /** Client id of the gateway: others may count in the same Redis. */
  readonly clientId: string;
  /** Counts together with other processes; without it, each counts by itself. */
  readonly counters?: SharedCounters | undefined;
  readonly onEvent: (event: RateLimitEvent) => void;
}

/**
 * What stands behind `authenticate` in a route: nothing, where nothing is limited. Rules of the route are counted apart,
 * under its `scope`.
 */
export type LimitRoute = (
  scope: string,
  rules?: RateLimitRules,
  options?: {
    /** The rules count besides those of the route, so the limits for all routes do not stand in for them. */
    readonly besides: boolean;
  },
) => RequestHandler[];

export interface RateLimits {
  /**
   * The limits of one configuration. A limit that is the same in the configuration before it goes on with the counts of
   * that one.
   *
   * @param rules For all routes together, except those with a rule of their own.
   */
  under(rules: RateLimitRules): ConfiguredLimits;
}

export interface ConfiguredLimits {
  readonly limit: LimitRoute;
  /** From now on these limits are the ones before the next, and the counts of others are forgotten. */
  takeOver(): void;
}

type Subject = "user" | "client";

interface Counted {
  readonly subject: Subject;
  readonly limit: RateLimit;
  /** What precedes the caller in the name of a window: equal limits of equal scope share their windows. */
  readonly prefix: string;
  readonly count: CountRequest;
}

const ID_OF: Readonly<Record<Subject, (principal: Principal) => string>> = {
  user: ({ objectId }) => objectId,
  client: ({ clientId }) => clientId,
};

export function createRateLimits({ clientId, ...rest }: RateLimitsOptions): RateLimits {
  let before: ReadonlyMap<string, Counted> = new Map();

  return {
    under(rules) {
      const mine = new Map<string, Counted>();
      // One counter for each rule of the file, so that a route counts alike whichever side its requests come to.

      function counted(subject: Subject, limit: RateLimit | undefined, scope: string): Counted | undefined {
        if (limit === undefined) return undefined;
        const { requests, perSeconds } = limit;
        const prefix = JSON.stringify([clientId, subject, scope, requests, perSeconds]);
        const known = mine.get(prefix) ?? before.get(prefix);
        const one = known ?? { subject, limit, prefix, count: createRequestCounter(limit, rest) };
        mine.set(prefix, one);
        return one;
      }
      const everywhere = {
        user: counted("user", rules.perUser, ""),
        client: counted("client", rules.perClient, ""),
      };

      return {
        limit(scope, own = {}, { besides } = { besides: false }) {
          const others = besides ? { user: undefined, client: undefined } : everywhere;
          // The user first: a user past that limit uses up nothing of the client's, which is for others, too.
          const all = [
            counted("user", own.perUser, scope) ?? others.user,
            counted("client", own.perClient, scope) ?? others.client,
          ].filter((one) => one !== undefined);
          return all.length === 0 ? [] : [enforce(all)];
        },
        takeOver() {
          before = mine;
        },
      };
    },
  };
}

/** Says in each answer what is left (draft-ietf-httpapi-ratelimit-headers-10), so that a client can slow down in time. */
function enforce(all: readonly Counted[]): RequestHandler {
  const policy = all
    .map(({ subject, limit }) => `"${subject}";q=${limit.requests};w=${limit.perSeconds}`)
    .join(", ");

  return async (request, response, next) => {
    const { principal } = callerOf(recordOf(request));
    response.setHeader("ratelimit-policy", policy);
    let state = "";
    for (const { subject, limit, prefix, count } of all) {
      const window = await count(`${prefix} ${principal.tenantId} ${ID_OF[subject](principal)}`);
      const resetSeconds = Math.max(1, Math.ceil(window.resetMs / 1000));
      state += `${state === "" ? "" : ", "}"${subject}";r=${window.remaining};t=${resetSeconds}`;
      response.setHeader("ratelimit", state);
      if (window.exceeded) throw rateLimited(subject, limit, resetSeconds);
    }
    next();
  };
}

const WHO: Readonly<Record<Subject, string>> = {
  user: "This user or application",
  client: "This client, with all its users,",
};

function rateLimited(
  subject: Subject,
  { requests, perSeconds }: RateLimit,
  retryAfterSeconds: number,
): GatewayError {
  return new GatewayError("rate_limited", {
    detail: `${WHO[subject]} may send ${requests} requests in ${perSeconds} seconds, and has. Send the request again in ${retryAfterSeconds} seconds.`,
    reason: subject,
    retryAfterSeconds,
  });
}
