/** Which calls of Graph are made, what Entra granted for them, and where the two do not fit: counted while requests run. */

import { createBoundedMap } from "../foundation/bounded-map.ts";
import { type PermissionReport, permissionsIn, type ReportedRoute, reportPermissions } from "./report.ts";
import type { PermissionTable } from "./table.ts";

/** For whom a token was granted, or a call made. */
export interface Holder {
  readonly tenantId: string;
  /** `oid`. */
  readonly objectId: string;
  /** Scopes that tokens for the API are asked for, which stand for the API's kind of token. */
  readonly scopes: readonly string[];
}

export interface AnsweredCall {
  readonly api: string;
  readonly method: string;
  /** Path below the API's base URL, without the query. */
  readonly path: string;
  readonly status: number;
  readonly holder: Holder;
}

/** A 403 that the table explains: the token holds no permission that opens the call. */
export interface ForbiddenCall {
  readonly api: string;
  /** `GET /me/manager`. */
  readonly call: string;
  /** Each of them opens the call. */
  readonly accepted: readonly string[];
  /** Undefined where no answer of Entra said. */
  readonly granted: readonly string[] | undefined;
}

export interface ObservedCall {
  readonly api: string;
  /** In the table's spelling, parameters as `{id}`: no id and no name of a person stands in it. */
  readonly call: string;
  readonly count: number;
  /** Of these, how many Graph answered 403. */
  readonly forbidden: number;
}

export interface PermissionDrift {
  /** Least permissions of single calls that the routes declare or open, and that no granted one opens. */
  readonly missing: readonly string[];
  /** Granted, and of no use to these routes; empty while a call is unknown. */
  readonly unused: readonly string[];
}

export interface PermissionWatch {
  /** From now on these routes are compared with what was granted. */
  compareWith(routes: readonly ReportedRoute[]): void;
  /** Entra said what a token holds. */
  granted(holder: Holder, names: readonly string[]): void;
  answered(call: AnsweredCall): void;
  drift(): PermissionDrift;
  /** What `obo-gateway permissions --observed` reads. */
  observed(): ObservedPermissions;
}

export interface ObservedPermissions {
  /** The latest list of Entra; absent until there was one. */
  readonly granted?: readonly string[];
  readonly calls: readonly ObservedCall[];
  /** Calls that found no room to be counted one by one. */
  readonly uncounted: number;
}

export interface PermissionWatchOptions {
  readonly table: PermissionTable;
  /** Routes and grants have come to differ in another way than last reported. */
  readonly onDrift: (drift: PermissionDrift) => void;
  readonly onForbidden: (call: ForbiddenCall) => void;
}

/** Calls that are counted one by one: most routes open a few dozen. */
const MOST_CALLS = 500;
/** Users whose granted permissions are remembered, a hundred bytes each: the lists themselves are shared. */
const MOST_HOLDERS = 10_000;
/** Drifts that are known to have been reported; tenants may differ. */
const MOST_DRIFTS = 64;

const NO_DRIFT: PermissionDrift = { missing: [], unused: [] };

export function createPermissionWatch(options: PermissionWatchOptions): PermissionWatch {
  const { table, onDrift, onForbidden } = options;
  const calls = new Map<string, { api: string; call: string; count: number; forbidden: number }>();
  const holders = createBoundedMap<readonly string[]>({ maxEntries: MOST_HOLDERS });
  const reported = createBoundedMap<true>({ maxEntries: MOST_DRIFTS });
  let routes: readonly ReportedRoute[] = [];
  let latest: readonly string[] | undefined;
  let current = NO_DRIFT;
  let uncounted = 0;

  function compare(): void {
    if (latest === undefined) return;
    const { missing, unused }: PermissionReport = reportPermissions(routes, table, latest);
    current = { missing, unused };
    const text = JSON.stringify(current);
    if ((missing.length === 0 && unused.length === 0) || reported.get(text, 0) !== undefined) return;
    reported.set(text, true);
    onDrift(current);
  }

  function count({ api, status }: AnsweredCall, call: string): void {
    const key = `${api} ${call}`;
    let counted = calls.get(key);
    if (counted === undefined) {
      if (calls.size >= MOST_CALLS) {
        uncounted += 1;
        return;
      }
      counted = { api, call, count: 0, forbidden: 0 };
      calls.set(key, counted);
    }
    counted.count += 1;
    if (status === 403) counted.forbidden += 1;
  }

  return {
    compareWith(next) {
      routes = next;
      compare();
    },
    granted(holder, names) {
      holders.set(keyOf(holder), names);
      if (latest === names) return;
      latest = names;
      compare();
    },
    answered(answered) {
      const { method, path, status, api, holder } = answered;
      const opening = table.opening(method, path);
      count(answered, opening?.call ?? table.templated(method, path));
      if (status !== 403 || opening === undefined) return;
      const scopes = holders.get(keyOf(holder), 0);
      const granted = scopes && permissionsIn(scopes);
      const held = new Set(granted?.map((name) => name.toLowerCase()));
      // A 403 for another reason, such as a mailbox that is not shared, is none of permissions.
      if (opening.accepted.some((name) => held.has(name.toLowerCase()))) return;
      onForbidden({ api, call: opening.call, accepted: opening.accepted, granted });
    },
    drift: () => current,
    observed: () => ({
      ...(latest !== undefined && { granted: permissionsIn(latest) }),
      calls: [...calls.values()].map((one) => ({ ...one })),
      uncounted,
    }),
  };
}

function keyOf({ tenantId, objectId, scopes }: Holder): string {
  return `${tenantId} ${objectId} ${scopes.join(" ")}`;
}
