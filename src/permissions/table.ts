/** Which delegated permissions open a call of Graph: read from Graph's own table or from the compact form of it. */

import { readFileSync } from "node:fs";
import { ConfigurationError } from "../errors.ts";

/**
 * The compact form: for each method and path, in lower case with `{id}` for parameters, the permissions of work accounts
 * that open it. A name that begins with `!` is marked as the least one.
 */
export interface CompactTable {
  readonly format: "obo-gateway-permissions-1";
  readonly calls: Readonly<Record<string, readonly string[]>>;
}

/** What the table knows of one call. */
export interface Opening {
  /** `GET /me/messages`, as the table spells it. */
  readonly call: string;
  /** Each of them opens the call. */
  readonly accepted: readonly string[];
  /** Those that the table marks as least; some calls have two marks, and others none. */
  readonly least: readonly string[];
}

export interface PermissionTable {
  /** `undefined`: the table does not know the call, which says nothing about what the call needs. */
  opening(method: string, path: string): Opening | undefined;
  /**
   * The call with `{id}` for each segment that is no fixed one of any call in the table, so that neither an id nor a name
   * of a person is left in it. For calls that the table does not know.
   */
  templated(method: string, path: string): string;
  /** Every call that a pattern of `allow` lets pass, and that the table knows. */
  range(method: string, pattern: string): readonly Opening[];
  readonly compact: CompactTable;
}

/** Personal accounts have marks of their own, which differ; the gateway serves work and school accounts. */
const SCHEME = "DelegatedWork";
const FORMAT = "obo-gateway-permissions-1";

/** @throws {ConfigurationError} naming `PERMISSIONS_TABLE`, when the file cannot be read as a table. */
export function loadPermissionTable(file: string): PermissionTable {
  try {
    return readPermissionTable(JSON.parse(readFileSync(file, "utf8").replace(/^\ufeff/, "")));
  } catch (cause) {
    const problem = `${file} cannot be read: ${cause instanceof Error ? cause.message : cause}`;
    throw new ConfigurationError([{ path: "PERMISSIONS_TABLE", problem }], { cause });
  }
}

/** @throws {SyntaxError} when the document has neither form. */
export function readPermissionTable(document: unknown): PermissionTable {
  const { format, calls, permissions } = members(document);
  if (format === FORMAT) return tableOf(compactCalls(calls));
  if (permissions !== undefined) return tableOf(callsOf(members(permissions)));
  throw new SyntaxError(`is neither Graph's permissions.json nor the compact form (${FORMAT})`);
}

function compactCalls(written: unknown): Map<string, Set<string>> {
  const calls = new Map<string, Set<string>>();
  for (const [call, names] of Object.entries(members(written))) calls.set(call, new Set(texts(names)));
  return calls;
}

function callsOf(permissions: Readonly<Record<string, unknown>>): Map<string, Set<string>> {
  const calls = new Map<string, Set<string>>();
  for (const [name, permission] of Object.entries(permissions))
    for (const pathSet of list(members(permission).pathSets)) {
      const { schemeKeys, methods, paths } = members(pathSet);
      if (!texts(schemeKeys).includes(SCHEME)) continue;
      for (const method of texts(methods))
        for (const [path, marks] of Object.entries(members(paths))) {
          const call = `${method.toUpperCase()} ${spelt(path)}`;
          const names = calls.get(call) ?? new Set();
          names.add(isLeast(marks) ? `!${name}` : name);
          calls.set(call, names);
        }
    }
  return calls;
}

/** `least=DelegatedWork,Application;AlsoRequires=…` */
function isLeast(marks: unknown): boolean {
  return String(marks)
    .split(";")
    .some((mark) => {
      const [key, value = ""] = mark.split("=");
      return (
        key?.trim().toLowerCase() === "least" && value.split(",").some((scheme) => scheme.trim() === SCHEME)
      );
    });
}

function tableOf(calls: ReadonlyMap<string, ReadonlySet<string>>): PermissionTable {
  const openings = [...calls].map(([call, names]) => openingOf(call, [...names]));
  const root = createIndex(openings);
  const fixed = new Set(openings.flatMap(({ call }) => segmentsOf(call).filter((one) => !one.includes("{"))));
  return {
    opening: (method, path) => find(root, segmentsOf(callOf(method, path)), 0)?.opening,
    templated: (method, path) =>
      segmentsOf(callOf(method, path))
        .map((segment, index) => (index === 0 || fixed.has(segment) ? segment : "{id}"))
        .join("/"),
    range(method, pattern) {
      const asked = segmentsOf(callOf(method, pattern));
      return openings.filter(({ call }) => matches(asked, segmentsOf(call)));
    },
    compact: {
      format: FORMAT,
      calls: Object.fromEntries(
        [...calls]
          .toSorted(([one], [other]) => (one < other ? -1 : 1))
          .map(([call, names]) => [call, [...names].sort()]),
      ),
    },
  };
}

/** `GET /me/messages`, as the table spells it. */
function callOf(method: string, path: string): string {
  const asked = method.toUpperCase();
  return `${asked === "HEAD" ? "GET" : asked} ${spelt(path)}`;
}

/** One segment of all calls that begin alike. */
interface IndexNode {
  readonly fixed: Map<string, IndexNode>;
  /** Segments that hold a parameter, by their text. */
  readonly open: Map<string, IndexNode>;
  opening?: Opening;
}

const newNode = (): IndexNode => ({ fixed: new Map(), open: new Map() });

/** Ten thousand calls are found by their segments, not one by one: the gateway asks for each request. */
function createIndex(openings: readonly Opening[]): IndexNode {
  const root = newNode();
  for (const opening of openings) {
    let node = root;
    for (const segment of segmentsOf(opening.call)) {
      const branches = segment.includes("{id}") ? node.open : node.fixed;
      const next = branches.get(segment) ?? newNode();
      branches.set(segment, next);
      node = next;
    }
    node.opening = opening;
  }
  return root;
}

interface Found {
  readonly opening: Opening;
  readonly parameters: number;
}

/** Of several, the one with the most fixed segments names the call most closely. */
function find(node: IndexNode, segments: readonly string[], position: number): Found | undefined {
  const segment = segments[position];
  if (segment === undefined) return node.opening && { opening: node.opening, parameters: 0 };
  const same = node.fixed.get(segment) ?? node.open.get(segment);
  let best = same && find(same, segments, position + 1);
  for (const [text, next] of node.open) {
    if (next === same || !segmentMatches(text, segment)) continue;
    const found = find(next, segments, position + 1);
    if (found === undefined || (best !== undefined && best.parameters <= found.parameters + 1)) continue;
    best = { opening: found.opening, parameters: found.parameters + 1 };
  }
  return best;
}

function openingOf(call: string, names: readonly string[]): Opening {
  const least = names.filter((name) => name.startsWith("!")).map((name) => name.slice(1));
  const others = names.filter((name) => !name.startsWith("!"));
  return {
    call,
    accepted: [...least.toSorted(), ...others.filter((name) => !least.includes(name)).toSorted()],
    least: least.toSorted(),
  };
}

/** Lower case, and every parameter alike: the table names them in many ways. */
function spelt(path: string): string {
  return path
    .toLowerCase()
    .replace(/\{[^}]*\}/g, "{id}")
    .replace(/(.)\/+$/, "$1");
}

function segmentsOf(call: string): readonly string[] {
  return call.split("/");
}

function segmentMatches(known: string, asked: string): boolean {
  if (known === asked) return true;
  if (!known.includes("{id}")) return false;
  const [before = "", after = ""] = known.split("{id}");
  return asked.length > before.length + after.length && asked.startsWith(before) && asked.endsWith(after);
}

/** `*` in a pattern of `allow` is one segment, `**` any number. */
function matches(pattern: readonly string[], call: readonly string[]): boolean {
  const [first, ...rest] = pattern;
  if (first === undefined) return call.length === 0;
  if (first === "**") {
    for (let taken = 0; taken <= call.length; taken += 1) if (matches(rest, call.slice(taken))) return true;
    return false;
  }
  const [head, ...tail] = call;
  if (head === undefined) return false;
  return (first === "*" || segmentMatches(head, first) || segmentMatches(first, head)) && matches(rest, tail);
}

function members(value: unknown): Readonly<Record<string, unknown>> {
  return value !== null && typeof value === "object" && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : {};
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function texts(value: unknown): readonly string[] {
  return list(value).filter((text) => typeof text === "string");
}
