/** Which delegated permissions open a call, from a small table in the form of Graph's own (devx-content, `permissions.json`). */

import { readFileSync } from "node:fs";

interface PermissionTable {
  readonly permissions: Readonly<
    Record<
      string,
      {
        readonly schemes: Readonly<
          Record<string, { readonly userDisplayName: string; readonly requiresAdminConsent: boolean }>
        >;
        readonly pathSets: readonly {
          readonly schemeKeys: readonly string[];
          readonly methods: readonly string[];
          readonly paths: Readonly<Record<string, string>>;
        }[];
      }
    >
  >;
}

/** Work and school accounts; the emulator has no personal ones. */
const SCHEME = "DelegatedWork";

/** Path of the table, for tools that read tables of this form. */
export const PERMISSION_TABLE = new URL("./permissions.json", import.meta.url);

const table: PermissionTable = JSON.parse(readFileSync(PERMISSION_TABLE, "utf8"));

const entries = Object.entries(table.permissions).flatMap(([name, { pathSets }]) =>
  pathSets
    .filter(({ schemeKeys }) => schemeKeys.includes(SCHEME))
    .flatMap(({ methods, paths }) =>
      Object.keys(paths).map((path) => ({ name, methods, pattern: patternOf(path) })),
    ),
);

/** Any one of them is enough; undefined: the table does not know the call, as Graph's own does not know all of them. */
export function acceptedPermissions(method: string, path: string): readonly string[] | undefined {
  const asked = method.toUpperCase() === "HEAD" ? "GET" : method.toUpperCase();
  const names = entries
    .filter(({ methods, pattern }) => methods.includes(asked) && pattern.test(path))
    .map(({ name }) => name);
  return names.length === 0 ? undefined : [...new Set(names)];
}

export const DELEGATED_PERMISSIONS: readonly string[] = Object.keys(table.permissions);

/** Permissions that a user cannot grant for herself. */
export const ADMIN_PERMISSIONS: readonly string[] = Object.entries(table.permissions)
  .filter(([, { schemes }]) => schemes[SCHEME]?.requiresAdminConsent === true)
  .map(([name]) => name);

/** For the consent page; a permission of another API has no text here. */
export function permissionText(name: string): string | undefined {
  return table.permissions[name]?.schemes[SCHEME]?.userDisplayName;
}

/** Paths are lower case there, with `{id}` for one segment or for a name between colons. */
function patternOf(path: string): RegExp {
  const parts = path.split(/\{[^}]*\}/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${parts.join("[^/]+?")}$`, "i");
}
