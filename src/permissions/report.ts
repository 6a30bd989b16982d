/** Compares what routes need with what was granted: least, missing and unused delegated permissions. */

import type { Opening, PermissionTable } from "./table.ts";

/** A route as the report looks at it. */
export interface ReportedRoute {
  readonly path: string;
  readonly answeredBy: string;
  readonly api: string;
  /** Calls or ranges of calls, `GET /me` or `GET /me/**`; `undefined` where a handler does not declare them. */
  readonly needs: readonly string[] | undefined;
}

/**
 * `granted`: a granted permission opens the call. `missing`: none does. `unknown`: the table does not know the call,
 * which may need anything. `range`: the route opens many calls; see `calls`.
 */
export type NeedState = "granted" | "missing" | "unknown" | "range" | "not_compared";

export interface ReportedNeed {
  readonly need: string;
  readonly state: NeedState;
  /** Permissions that are marked as least; empty where the table marks none. */
  readonly least: readonly string[];
  /** Every permission that opens the call, the least ones first. */
  readonly accepted: readonly string[];
  /** For a range: how many calls of the table it opens, and how many of those no granted permission opens. */
  readonly calls?: { readonly known: number; readonly closed: number | undefined };
}

export interface PermissionReport {
  readonly routes: readonly (Omit<ReportedRoute, "needs"> & {
    readonly needs: readonly ReportedNeed[] | "undeclared";
  })[];
  /** `undefined`: not known, so nothing was compared. */
  readonly granted: readonly string[] | undefined;
  /** One permission for each single call that no granted one opens: least where the table marks one. */
  readonly missing: readonly string[];
  /** Granted, and accepted by no call that the table knows for these routes. Empty while a need is unknown. */
  readonly unused: readonly string[];
}

/** Scopes that open no call: those of a sign-in, and the one that asks for all that was consented to. */
const OPENING_NOTHING = ["openid", "profile", "email", "offline_access", ".default"];

export function reportPermissions(
  routes: readonly ReportedRoute[],
  table: PermissionTable,
  grantedNames: readonly string[] | undefined,
): PermissionReport {
  const granted = grantedNames && permissionsIn(grantedNames);
  const held = granted && new Set(granted.map((name) => name.toLowerCase()));
  const reported = routes.map(({ needs, ...route }) => ({
    ...route,
    needs: needs === undefined ? ("undeclared" as const) : needs.map((need) => reportNeed(need, table, held)),
  }));
  const all = reported.flatMap(({ needs }) => (needs === "undeclared" ? [] : needs));
  const isWhole =
    reported.every(({ needs }) => needs !== "undeclared") && all.every(({ state }) => state !== "unknown");
  const useful = new Set(all.flatMap(({ accepted }) => accepted).map((name) => name.toLowerCase()));
  return {
    routes: reported,
    granted,
    missing: [
      ...new Set(
        all
          .filter(({ state }) => state === "missing")
          .flatMap(({ least, accepted }) => least[0] ?? accepted[0] ?? []),
      ),
    ],
    // A call that the table does not know may be what the permission was granted for.
    unused: isWhole ? (granted ?? []).filter((name) => !useful.has(name.toLowerCase())) : [],
  };
}

function reportNeed(
  need: string,
  table: PermissionTable,
  held: ReadonlySet<string> | undefined,
): ReportedNeed {
  const [method = "", path = ""] = need.split(" ");
  const isOpen = ({ accepted }: Opening) => accepted.some((name) => held?.has(name.toLowerCase()));
  if (path.split("/").some((segment) => segment.includes("*"))) {
    const openings = table.range(method, path);
    if (openings.length === 0) return { need, state: "unknown", least: [], accepted: [] };
    const closed = held && openings.filter((opening) => !isOpen(opening)).length;
    return {
      need,
      state: "range",
      least: [...new Set(openings.flatMap(({ least }) => least))].toSorted(),
      accepted: [...new Set(openings.flatMap(({ accepted }) => accepted))].toSorted(),
      calls: { known: openings.length, closed },
    };
  }
  const opening = table.opening(method, path);
  if (opening === undefined) return { need, state: "unknown", least: [], accepted: [] };
  const { least, accepted } = opening;
  return {
    need,
    state: held === undefined ? "not_compared" : isOpen(opening) ? "granted" : "missing",
    least,
    accepted,
  };
}

/** Entra's answers name scopes with their resource in front: `https://graph.microsoft.com/User.Read`. */
export function permissionsIn(scopes: readonly string[]): readonly string[] {
  return scopes
    .map((scope) => scope.slice(scope.lastIndexOf("/") + 1))
    .filter((name) => !OPENING_NOTHING.includes(name));
}
