/** The parts of a path that a pattern names: its segments, and for OData also the keys and arguments in parentheses. */

import type { RequestTarget } from "./request-target.ts";

/** One argument of a key or a function: `id='x'`, or `'x'` without a name. */
export interface Argument {
  readonly name: string | undefined;
  /** Without quotes where the whole value stood in quotes. */
  readonly value: string;
}

export type PathElement =
  | {
      readonly kind: "segment";
      readonly text: string;
      /** Written with empty parentheses: `delta()`. */
      readonly isCall: boolean;
    }
  /** What stands in a segment's parentheses: a key, or the arguments of a function. The name before it is a segment. */
  | { readonly kind: "arguments"; readonly list: readonly Argument[] }
  /** A segment that servers could read in two ways. */
  | { readonly kind: "opaque" };

/** A segment as it stands. */
export const plainElement = (text: string): PathElement => ({ kind: "segment", text, isCall: false });

/** The elements of a path whose parentheses mean nothing. */
export function plainElements({ segments, opaque }: RequestTarget): readonly PathElement[] {
  return segments.map((text, index) => (opaque.has(index) ? OPAQUE : plainElement(text)));
}

/**
 * The elements of an OData path (OData 4.01 part 2 §4): `users('1')` and `users/1` are the same two, `delta()` and
 * `delta` the same one. Segments whose parentheses cannot be read are opaque: a lenient server might find a key in
 * them.
 *
 * In Graph, a colon opens and closes a path of file names (`root:/Report (1).pdf:/content`), which hold no keys.
 */
export function odataElements({ segments, opaque }: RequestTarget, graph: boolean): readonly PathElement[] {
  let isFilePath = false;
  return segments.flatMap((text, index) => {
    if (opaque.has(index)) return OPAQUE;
    const isFileName = isFilePath;
    if (graph && text.endsWith(":")) isFilePath = !isFilePath;
    return isFileName ? plainElement(text) : readODataSegment(text);
  });
}

const OPAQUE: PathElement = { kind: "opaque" };
const PARENTHESES = /[()]/;
const NAME_AND_ARGUMENTS = /^([A-Za-z_][\w.-]*)\((.*)\)$/s;

export function readODataSegment(text: string): readonly PathElement[] {
  if (!PARENTHESES.test(text)) {
    // Full-width parentheses become plain ones where names are normalised.
    return [PARENTHESES.test(text.normalize("NFKC")) ? OPAQUE : plainElement(text)];
  }
  const [, name, inside] = NAME_AND_ARGUMENTS.exec(text) ?? [];
  const list = inside === undefined ? undefined : readArguments(inside);
  if (name === undefined || list === undefined) return [OPAQUE];
  if (list.length === 0) return [{ kind: "segment", text: name, isCall: true }];
  return [plainElement(name), { kind: "arguments", list }];
}

/** Undefined for a list that is none. */
function readArguments(inside: string): readonly Argument[] | undefined {
  if (inside.trim() === "") return [];
  const pieces = splitAtCommas(inside);
  const list = pieces?.map(readArgument);
  return list?.some((argument) => argument === undefined) === false ? (list as Argument[]) : undefined;
}

/** Splits outside quotes, brackets and braces; undefined where these do not match or parentheses stand inside. */
function splitAtCommas(text: string): readonly string[] | undefined {
  const pieces: string[] = [];
  let isQuoted = false;
  let depth = 0;
  let start = 0;
  for (let at = 0; at < text.length; at++) {
    const character = text.charAt(at);
    if (character === "'") isQuoted = !isQuoted;
    else if (isQuoted) continue;
    else if (character === "[" || character === "{") depth++;
    else if (character === "]" || character === "}") depth--;
    else if (character === "(" || character === ")" || depth < 0) return undefined;
    else if (character === "," && depth === 0) {
      pieces.push(text.slice(start, at));
      start = at + 1;
    }
  }
  if (isQuoted || depth !== 0) return undefined;
  return [...pieces, text.slice(start)];
}

const NAMED = /^([A-Za-z_@][\w.]*)\s*=\s*(.+)$/s;
const QUOTED = /^'(?:[^']|'')*'$/;
/** A quoted value may have a type in front, as in `guid'…'` of older versions, or stand in a collection. */
const TYPED = /^(?:[A-Za-z]+'(?:[^']|'')*'|[[{].*[\]}]|[^'[\]{}]+)$/s;

function readArgument(piece: string): Argument | undefined {
  const text = piece.trim();
  const [, name, given = text] = NAMED.exec(text) ?? [];
  if (QUOTED.test(given)) return { name, value: given.slice(1, -1).replaceAll("''", "'") };
  return TYPED.test(given) ? { name, value: given } : undefined;
}
