/** The operations of Graph that a route opens: from the table of permissions, or from the route's patterns where there is none. */

import type { PermissionTable } from "../../permissions/table.ts";
import type { Operation, Operations } from "./contract.ts";

export function operationsOf(
  table: PermissionTable | undefined,
  { allow, methods }: { readonly allow: readonly string[]; readonly methods: readonly string[] },
): Operations {
  const ranges = methods.flatMap((method) => allow.map((pattern) => ({ method, pattern })));
  if (table === undefined)
    return {
      isKnown: false,
      all: ranges.map(({ method, pattern }) => ({
        operation: `${method} ${pattern}`,
        permissions: undefined,
        least: [],
      })),
      find: () => undefined,
    };
  const openings = ranges.flatMap(({ method, pattern }) => table.range(method, pattern));
  const operation = ({ call, accepted, least }: (typeof openings)[number]): Operation => ({
    operation: call,
    permissions: accepted,
    least,
  });
  const all = new Map(openings.map((opening) => [opening.call, operation(opening)]));
  return {
    isKnown: true,
    all: [...all.values()].toSorted((one, other) => (pathOf(one) < pathOf(other) ? -1 : 1)),
    find(method, path) {
      const opening = table.opening(method, path);
      return opening === undefined ? undefined : operation(opening);
    },
  };
}

const pathOf = ({ operation }: Operation) => operation.slice(operation.indexOf(" ") + 1);

/**
 * Whether the caller's delegated token opens the operation; undefined where that is not known, since Entra did not say
 * what it granted, or no table says what is needed.
 */
export function isGranted(
  { permissions }: Operation,
  granted: readonly string[] | undefined,
): boolean | undefined {
  if (permissions === undefined || granted === undefined) return undefined;
  // Entra writes scopes with their resource, or without, and in any case.
  const held = new Set(granted.map((scope) => scope.slice(scope.lastIndexOf("/") + 1).toLowerCase()));
  return permissions.some((name) => held.has(name.toLowerCase()));
}

/** Operations in which words of the query are found, the most words first, then the shortest path; without words all. */
export function searchOperations(all: readonly Operation[], query: string): readonly Operation[] {
  const words = query
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter((word) => word !== "");
  if (words.length === 0) return all;
  const scored = all.flatMap((one) => {
    const path = one.operation.toLowerCase();
    const permissions = (one.permissions ?? []).join(" ").toLowerCase();
    let score = 0;
    for (const word of words) {
      // `message` and `messages` are one word to people.
      const stem = word.length > 3 ? word.replace(/s$/, "") : word;
      if (path.includes(stem)) score += 2;
      else if (permissions.includes(stem)) score += 1;
    }
    return score === 0 ? [] : [{ one, score: score * 1_000 - path.length }];
  });
  return scored.toSorted((one, other) => other.score - one.score).map(({ one }) => one);
}
