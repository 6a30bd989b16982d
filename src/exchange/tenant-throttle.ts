/** Holds a tenant back only while a large share of its users is throttled, and lets a request through now and then to see whether it still is. */

import { createBoundedMap } from "../foundation/bounded-map.ts";

export interface TenantThrottle {
  /** When an exchange of this tenant may be tried, ms since the epoch; undefined for now. Lets a probe pass. */
  heldUntil(tenantId: string): number | undefined;
  /** Entra limited a request of this user. `wholeTenant` when it said that the tenant's limit was reached. */
  throttled(tenantId: string, user: string, holdMs: number, wholeTenant: boolean): void;
  /** Entra answered a request of this user that was sent at that time, and did not limit it. */
  answered(tenantId: string, user: string, sentAt: number): void;
}

interface Tenant {
  /** Users whom Entra limits, with the end of that; and users whom it answered, with the end of that memory. */
  readonly limited: Map<string, number>;
  readonly served: Map<string, number>;
  heldSince: number;
  heldUntil: number;
  nextProbe: number;
  probePauseMs: number;
}

/** Distinct users who must be limited at the same time before their number says anything about the tenant. */
const FEWEST_LIMITED = 3;
/** Share of the limited ones among the users who asked of late. */
const LIMITED_SHARE = 0.5;
/** How long a user who was answered counts as one. */
const SERVED_MS = 60_000;
/** Users who count, of each kind. */
const MOST_USERS = 64;
const FIRST_PROBE_MS = 1_000;
const LONGEST_PROBE_MS = 30_000;
const MOST_TENANTS = 1_000;

export function createTenantThrottle(now: () => number): TenantThrottle {
  const tenants = createBoundedMap<Tenant>({ maxEntries: MOST_TENANTS });

  function tenantOf(tenantId: string): Tenant {
    const known = tenants.get(tenantId, 0);
    if (known !== undefined) return known;
    const made: Tenant = {
      limited: new Map(),
      served: new Map(),
      heldSince: 0,
      heldUntil: 0,
      nextProbe: 0,
      probePauseMs: FIRST_PROBE_MS,
    };
    tenants.set(tenantId, made);
    return made;
  }

  return {
    heldUntil(tenantId) {
      const tenant = tenants.get(tenantId, 0);
      const time = now();
      if (tenant === undefined || time >= tenant.heldUntil) return undefined;
      if (time < tenant.nextProbe) return Math.min(tenant.nextProbe, tenant.heldUntil);
      tenant.nextProbe = time + tenant.probePauseMs;
      tenant.probePauseMs = Math.min(tenant.probePauseMs * 2, LONGEST_PROBE_MS);
      return undefined;
    },

    throttled(tenantId, user, holdMs, wholeTenant) {
      const tenant = tenantOf(tenantId);
      const time = now();
      note(tenant.limited, user, time + holdMs, time);
      tenant.served.delete(user);
      const limited = live(tenant.limited, time);
      const share = limited / (limited + live(tenant.served, time));
      if (!wholeTenant && (limited < FEWEST_LIMITED || share < LIMITED_SHARE)) return;
      if (time >= tenant.heldUntil) {
        tenant.heldSince = time;
        tenant.probePauseMs = FIRST_PROBE_MS * 2;
        tenant.nextProbe = time + FIRST_PROBE_MS;
      }
      tenant.heldUntil = Math.max(tenant.heldUntil, time + holdMs);
    },

    answered(tenantId, user, sentAt) {
      const time = now();
      const tenant = tenantOf(tenantId);
      note(tenant.served, user, time + SERVED_MS, time);
      tenant.limited.delete(user);
      // An answer to a request from before the hold says nothing about it.
      if (time >= tenant.heldUntil || sentAt < tenant.heldSince) return;
      tenant.heldUntil = 0;
      tenant.limited.clear();
    },
  };
}

/** Keeps a user as the latest one; those whose time is over, and past the bound the earliest, go. */
function note(users: Map<string, number>, user: string, until: number, time: number): void {
  users.delete(user);
  for (const [other, end] of users) if (end <= time) users.delete(other);
  for (const oldest of users.keys()) {
    if (users.size < MOST_USERS) break;
    users.delete(oldest);
  }
  users.set(user, until);
}

function live(users: ReadonlyMap<string, number>, time: number): number {
  let count = 0;
  for (const end of users.values()) if (end > time) count += 1;
  return count;
}
