/** The room over a Redis that is there: a user, a job, and a Redis in which the tests may look. */

import type { DelegationEvent, Delegations, DelegationsOptions } from "../../src/delegations/contract.ts";
import { createDelegations } from "../../src/delegations/delegations.ts";
import type { DelegatedSubject } from "../../src/exchange/contract.ts";
import { ownerOf } from "../../src/foundation/budget.ts";
import { Secret } from "../../src/foundation/secret.ts";
import type { Principal } from "../../src/identity/contract.ts";
import type { OpenRedis } from "../../src/redis/contract.ts";
import { openRedis } from "../../src/redis/redis.ts";
import { assertionOf, CLIENT, GRAPH, HOME, HOST, START } from "../exchange/fake-entra.ts";

export const JOB = "44444444-4444-4444-8444-444444444444";
export const DAY_MS = 24 * 3_600_000;
export const RULES = {
  clients: [JOB.toUpperCase()],
  maxDays: 30,
  maxPerUser: 3,
  maxPerClient: 1_000,
  adminRole: "Admin",
};

export const principal = (over: Partial<Principal> = {}): Principal => ({
  kind: "user",
  tenantId: HOME,
  objectId: "ada",
  subject: "ada",
  clientId: "front-end",
  tokenVersion: "2.0",
  scopes: ["access_as_user"],
  roles: [],
  groups: { kind: "absent" },
  authContexts: [],
  acceptsClaimsChallenge: true,
  expiresAt: START + 3_600_000,
  ...over,
});

export const jobOf = (over: Partial<Principal> = {}) =>
  principal({ kind: "app", clientId: JOB, scopes: [], ...over });

export async function connect(url: string, ...keys: readonly Secret[]): Promise<OpenRedis> {
  const opened = await openRedis({ url: new Secret(url), keys, timeoutMs: 2_000 });
  if (opened === undefined) throw new Error("no Redis");
  while (!opened.available()) await new Promise((resolve) => setTimeout(resolve, 10));
  return opened;
}

export interface Clock {
  time: number;
}

export interface DelegationRoom {
  readonly events: DelegationEvent[];
  readonly clock: Clock;
  open(options?: Partial<DelegationsOptions>): Delegations;
  keep(delegations: Delegations, over?: Partial<Principal>): ReturnType<Delegations["keep"]>;
  /** The user of this room, like no other's. */
  readonly user: string;
  subject(delegations: Delegations, handle: string): Promise<DelegatedSubject>;
}

let rooms = 0;

/** A room with a user of its own. */
export function delegationRoom(redis: OpenRedis): DelegationRoom {
  rooms += 1;
  const user = `ada-${rooms}`;
  const events: DelegationEvent[] = [];
  const clock = { time: START };
  return {
    events,
    clock,
    user,
    open: (options = {}) =>
      createDelegations({
        rules: RULES,
        authorityHost: HOST,
        clientId: CLIENT,
        scopes: GRAPH,
        redis,
        exchange: { grantOffline: async () => new Secret("first") },
        now: () => clock.time,
        onEvent: (event) => events.push(event),
        ...options,
      }),
    keep(delegations, over = {}) {
      const who = principal({ objectId: user, subject: user, ...over });
      const caller = { principal: who, assertion: assertionOf(user), owner: ownerOf(who) };
      return delegations.keep({ caller, correlationId: "keep" });
    },
    async subject(delegations, handle) {
      const asked = { handle, job: jobOf(), correlationId: "use", route: "/graph" };
      const { caller } = await delegations.resume(asked);
      if (!("renewal" in caller.assertion)) throw new Error("no delegated subject");
      return caller.assertion as DelegatedSubject;
    },
  };
}
