/** A bounded amount of one resource, of which a user and a client may hold a share, so that one caller leaves room for the others. */

/** For whom something is held: a request's user, and the client that the user calls with. */
export interface Owner {
  /** Tenant and object id of the user, or of the application where no user is. */
  readonly user: string;
  /** Tenant and application id of the client. */
  readonly client: string;
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
  // An entry lives only while its owner holds something: the maps are bounded by the total.
  const users = new Map<string, number>();
  const clients = new Map<string, number>();
  let used = 0;

  return {
    take({ user, client }, units = 1) {
      const byUser = (users.get(user) ?? 0) + units;
      // Where a share is the whole, the process's bound is the one that is met.
      if (byUser > perUser && perUser < total) return "user";
      const byClient = (clients.get(client) ?? 0) + units;
      if (byClient > perClient && perClient < total) return "client";
      if (used + units > total) return "process";
      users.set(user, byUser);
      clients.set(client, byClient);
      used += units;
      return undefined;
    },
    give({ user, client }, units = 1) {
      lower(users, user, units);
      lower(clients, client, units);
      used -= units;
    },
    used: () => used,
    users: () => users.size,
  };
}

function lower(held: Map<string, number>, owner: string, units: number): void {
  const left = (held.get(owner) ?? 0) - units;
  if (left > 0) held.set(owner, left);
  else held.delete(owner);
}
