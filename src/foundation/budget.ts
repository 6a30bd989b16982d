/** A bounded amount of one resource, of which a user and a client may hold a share, so that one caller leaves room for the others. */

/** For whom something is held: a request's user, and the client that the user calls with. */
export interface Owner {
  /** Tenant and object id of the user, or of the application where no user is. */
  readonly user: string;
  /** Tenant and application id of the client. */
  readonly client: string;
}

/** The owner of what a caller holds. */
export function ownerOf({
  tenantId,
  objectId,
  clientId,
}: {
  readonly tenantId: string;
  readonly objectId: string;
  readonly clientId: string;
}): Owner {
  return Object.freeze({ user: `${tenantId} ${objectId}`, client: `${tenantId} ${clientId}` });
}

export interface BudgetOptions {
  /** Units in all, for the process: places, requests or bytes. */
  readonly total: number;
  /** Part of the total that one user may hold, above 0 and at most 1. */
  readonly userShare: number;
  /** Part of the total that one client may hold with all its users, above 0 and at most 1. */
  readonly clientShare: number;
}

/** Which bound keeps the units from being taken: the user's, the client's, or the process's. */
export type Exhausted = "user" | "client" | "process";

export interface Budget {
  /** Takes the units, or says which bound forbids it and takes none. Units taken are given back exactly once. */
  take(owner: Owner, units?: number): Exhausted | undefined;
  /** Gives back units that the same owner took. */
  give(owner: Owner, units?: number): void;
  /** Units held now, by all. */
  used(): number;
  /** Users that hold units now. */
  users(): number;
}

/** A share is never less than one unit, so that a small budget still serves every owner. */
export function createBudget({ total, userShare, clientShare }: BudgetOptions): Budget {
  const perUser = Math.max(1, Math.floor(total * userShare));
  const perClient = Math.max(1, Math.floor(total * clientShare));
  const users = createHoldings();
  const clients = createHoldings();
  let used = 0;

  return {
    take(owner, units = 1) {
      const user = users.of(owner.user);
      // Where a share is the whole, the process's bound is the one that is met.
      if (user.units + units > perUser && perUser < total) return "user";
      const client = clients.of(owner.client);
      if (client.units + units > perClient && perClient < total) return "client";
      if (used + units > total) return "process";
      users.add(user, units);
      clients.add(client, units);
      used += units;
      return undefined;
    },
    give({ user, client }, units = 1) {
      users.add(users.of(user), -units);
      clients.add(clients.of(client), -units);
      used -= units;
    },
    used: () => used,
    users: users.size,
  };
}

interface Holding {
  units: number;
}

/** Names without units that stay: the next request of most owners comes soon. */
const MOST_EMPTY = 1_024;

/**
 * What each owner holds. An entry whose owner has given everything back is left for its next request, because a Map
 * that gains and loses an entry with each request keeps V8 busy with making new tables for it; see `createMembers`.
 * Entries with units are bounded by the budget's total, those without by `MOST_EMPTY`.
 */
function createHoldings() {
  const holdings = new Map<string, Holding>();
  let holders = 0;

  return {
    of(name: string): Holding {
      const known = holdings.get(name);
      if (known !== undefined) return known;
      if (holdings.size - holders >= MOST_EMPTY)
        for (const [idle, { units }] of holdings) if (units === 0) holdings.delete(idle);
      const holding = { units: 0 };
      holdings.set(name, holding);
      return holding;
    },
    add(holding: Holding, units: number): void {
      const before = holding.units;
      holding.units = Math.max(0, before + units);
      if (before === 0 && holding.units > 0) holders += 1;
      else if (before > 0 && holding.units === 0) holders -= 1;
    },
    /** Owners that hold units. */
    size: () => holders,
  };
}
