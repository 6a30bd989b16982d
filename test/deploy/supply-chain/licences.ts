/** Which licences may reach production, and what else a locked package must not bring. */

/** The parts of package-lock.json that are looked at. */
export interface Lockfile {
  readonly packages: Readonly<Record<string, LockedPackage>>;
}

export interface LockedPackage {
  readonly version?: string;
  readonly license?: string;
  readonly dev?: boolean;
  readonly hasInstallScript?: boolean;
  readonly integrity?: string;
}

/** SPDX identifiers (https://spdx.org/licenses/) that ask for no more than a notice. */
const ALLOWED = new Set([
  "0BSD",
  "Apache-2.0",
  "BlueOak-1.0.0",
  "BSD-2-Clause",
  "BSD-3-Clause",
  "CC0-1.0",
  "ISC",
  "MIT",
  "Unlicense",
  "Zlib",
]);

/** Packages older than the field `license`, by the text that they carry. A new version has to be read again. */
export const READ_BY_HAND: Readonly<Record<string, string>> = {
  "passport-strategy@1.0.0": "MIT",
  "pause@0.0.1": "MIT",
  "valid-url@1.0.9": "MIT",
};

/** Packages whose install script need not run. */
const SCRIPT_NOT_NEEDED = new Set([
  // Optional: bunyan loads it inside a try block, and without its native part nothing is missed.
  "dtrace-provider",
]);

export interface ProductionPackage extends LockedPackage {
  /** `name@version`. */
  readonly id: string;
}

/** Packages that an installation without development dependencies holds. */
export function productionPackages({ packages }: Lockfile): ProductionPackage[] {
  return Object.entries(packages)
    .filter(([path, { dev }]) => path !== "" && dev !== true)
    .map(([path, entry]) => ({ ...entry, id: `${nameOf(path)}@${entry.version}` }));
}

/** One sentence for each package that may not be shipped, or not as it is locked. */
export function supplyChainFaults(lockfile: Lockfile): string[] {
  return productionPackages(lockfile).flatMap(({ id, license, hasInstallScript, integrity }) => {
    const faults: string[] = [];
    const licence = license ?? READ_BY_HAND[id];
    if (licence === undefined) faults.push(`${id}: names no licence`);
    else if (!isAllowed(licence)) faults.push(`${id}: the licence ${licence} is not on the list`);
    if (hasInstallScript === true && !SCRIPT_NOT_NEEDED.has(id.replace(/@[^@]*$/, "")))
      faults.push(`${id}: needs an install script, and none may run`);
    if (integrity?.startsWith("sha512-") !== true) faults.push(`${id}: is not pinned by a SHA-512`);
    return faults;
  });
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length);
}

/**
 * An SPDX expression (specification 2.3, annex D) whose terms are on the list: all of an AND, one of an OR, which binds
 * less. Whatever else it holds, an exception (WITH) or `SEE LICENSE IN …`, is for a person to read.
 */
export function isAllowed(expression: string): boolean {
  const tokens = expression.match(/[()]|[^\s()]+/g) ?? [];
  let next = 0;
  const all = (operator: string, term: () => boolean, combine: (one: boolean, other: boolean) => boolean) => {
    let result = term();
    while (tokens[next] === operator) {
      next++;
      result = combine(term(), result);
    }
    return result;
  };
  const either = (): boolean => all("OR", both, (one, other) => one || other);
  const both = (): boolean => all("AND", term, (one, other) => one && other);
  const term = (): boolean => {
    const token = tokens[next++] ?? "";
    if (token !== "(") return ALLOWED.has(token);
    const result = either();
    return tokens[next++] === ")" && result;
  };
  const result = either();
  return result && next === tokens.length;
}
