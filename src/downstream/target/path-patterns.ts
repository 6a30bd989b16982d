/** Path rules such as `/me/messages/*` and `/drives/**`, compiled once and matched in bounded time. */

import { type Argument, type PathElement, plainElement, readODataSegment } from "./path-elements.ts";

/** How an API reads its paths. */
export type PathStyle = "plain" | "odata" | "graph";

/** Whether the elements of a path are allowed by any of the patterns. */
export type PathMatcher = (elements: readonly PathElement[]) => boolean;

/** Why a pattern cannot be used, for a person who edits a configuration file. */
export class PathPatternError extends Error {
  override readonly name = "PathPatternError";
}

type PatternElement =
  /** `**`: any number of elements of any kind. */
  | { readonly kind: "any" }
  /** `*`: one element that is not empty and not opaque. */
  | { readonly kind: "one" }
  /** `('*')` or `(*)`: one key, in parentheses or as a segment. */
  | { readonly kind: "key" }
  | { readonly kind: "segment"; readonly text: string; readonly ignoresCase: boolean }
  | { readonly kind: "arguments"; readonly list: readonly Argument[] };

const ANY = "**";
const ONE = "*";

/**
 * Patterns are written as plain text, not percent-encoded. `*` stands for one segment that is not empty, `**` for
 * any number of them, none included; neither mixes with other characters of a segment. Comparison minds case:
 * paths are case-sensitive (RFC 3986 §6.2.2.1), and an API that is lenient about it is never opened by accident.
 *
 * For OData, a segment with a key counts as two: `/users/*` names `/users/1` and `/users('1')` alike. `('*')` stands
 * for a key and nothing else, `(a='*',b='*')` for arguments of these names. Graph ignores case, and its delta links
 * come in lower case, so segments of letters match in any case there. `docs/path-patterns.md` has examples.
 *
 * @throws {PathPatternError} on the first pattern that cannot mean what it says.
 */
export function compilePathPatterns(patterns: readonly string[], style: PathStyle = "plain"): PathMatcher {
  const compiled = patterns.map((pattern) => readPattern(pattern, style));
  return (elements) => compiled.some((pattern) => matches(pattern, elements, style));
}

function readPattern(pattern: string, style: PathStyle): readonly PatternElement[] {
  if (!pattern.startsWith("/")) throw new PathPatternError(`must begin with "/"`);
  if (/[%?#\\]/.test(pattern)) {
    throw new PathPatternError(`must be a plain, decoded path: "%", "?", "#" and "\\" have no place in it`);
  }
  const segments = pattern.slice(1).split("/");
  let isFilePath = false;
  return segments.flatMap((segment, index) => {
    if (segment === "" && index < segments.length - 1) throw new PathPatternError(`holds an empty segment`);
    if (segment === "." || segment === "..") throw new PathPatternError(`holds a dot segment`);
    if (segment === ANY) return { kind: "any" } as const;
    if (segment === ONE) return { kind: "one" } as const;
    const isFileName = isFilePath;
    if (style === "graph" && segment.endsWith(":")) isFilePath = !isFilePath;
    const elements = style === "plain" || isFileName ? [plainElement(segment)] : readODataSegment(segment);
    return elements.map((element) => readElement(element, style));
  });
}

function readElement(element: PathElement, style: PathStyle): PatternElement {
  if (element.kind === "opaque")
    throw new PathPatternError(`holds parentheses that are no key and no arguments`);
  if (element.kind === "arguments") return readPatternArguments(element.list);
  const { text } = element;
  if (!text.includes(ONE)) return { kind: "segment", text, ignoresCase: style === "graph" && isName(text) };
  throw new PathPatternError(
    style === "plain"
      ? `"*" and "**" must stand for whole segments; keys such as ('*') need kind: graph or odata`
      : `"*" and "**" must stand for whole segments, or for whole values in parentheses`,
  );
}

function readPatternArguments(list: readonly Argument[]): PatternElement {
  const partial = list.some(({ value }) => value !== ONE && value.includes(ONE));
  if (partial) throw new PathPatternError(`"*" in parentheses must stand for a whole value`);
  const [first, ...others] = list;
  if (others.length === 0 && first?.name === undefined && first?.value === ONE) {
    return { kind: "key" };
  }
  return { kind: "arguments", list };
}

/** A literal that reads like a name, not like an id: ids differ by case alone, names in Graph do not. */
function isName(text: string): boolean {
  return /^\$?[A-Za-z]+(?:\d?[A-Za-z.]+)?$/.test(text);
}

/**
 * Glob matching with one remembered retry point: on a mismatch only the last `**` takes one more element, which is
 * enough because an earlier one could gain nothing by it. At most pattern length × path length steps; no regular
 * expression, so no pattern can blow up.
 */
function matches(
  pattern: readonly PatternElement[],
  elements: readonly PathElement[],
  style: PathStyle,
): boolean {
  let patternAt = 0;
  let elementAt = 0;
  let retryPattern = -1;
  let retryElement = 0;
  while (elementAt < elements.length) {
    const expected = pattern[patternAt];
    if (expected?.kind === "any") {
      retryPattern = patternAt++;
      retryElement = elementAt;
    } else if (expected !== undefined && isNamed(expected, elements[elementAt] as PathElement, style)) {
      patternAt++;
      elementAt++;
    } else if (retryPattern >= 0) {
      patternAt = retryPattern + 1;
      elementAt = ++retryElement;
    } else {
      return false;
    }
  }
  while (pattern[patternAt]?.kind === "any") patternAt++;
  return patternAt === pattern.length;
}

function isNamed(expected: PatternElement, element: PathElement, style: PathStyle): boolean {
  if (element.kind === "opaque") return false;
  switch (expected.kind) {
    case "any":
      return true;
    case "one":
      return element.kind === "arguments" || element.text !== "";
    case "key":
      return element.kind === "arguments" ? isKey(element.list) : isKeySegment(element, style);
    case "segment":
      if (element.kind === "arguments") return keyOf(element.list) === expected.text;
      return (
        element.text === expected.text ||
        (expected.ignoresCase && lowerAscii(element.text) === lowerAscii(expected.text))
      );
    case "arguments": {
      if (element.kind === "arguments") return areNamed(expected.list, element.list);
      return !element.isCall && keyOf(expected.list) === element.text;
    }
  }
}

/** The value of a key without a name; undefined for other arguments. */
function keyOf(list: readonly Argument[]): string | undefined {
  const [first, ...others] = list;
  return others.length === 0 && first?.name === undefined ? first?.value : undefined;
}

const isKey = (list: readonly Argument[]) => keyOf(list) !== undefined;

/**
 * Whether a segment can be a key (OData 4.01 part 2 §4.3.6). System segments (`$count`), type names and calls are none.
 * A function's name without parentheses cannot be distinguished from a key.
 */
function isKeySegment({ text, isCall }: { text: string; isCall: boolean }, style: PathStyle): boolean {
  if (text === "" || isCall || text.startsWith("$")) return false;
  // Graph's own keys may hold dots (`contoso.sharepoint.com`), so its types are known by their namespace alone.
  const typeName = style === "graph" ? /^(?:microsoft\.)?graph\.\w/i : /^[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+$/;
  return !typeName.test(text);
}

/** The same names with the same values, in any order; `*` is any value. */
function areNamed(expected: readonly Argument[], list: readonly Argument[]): boolean {
  if (expected.length !== list.length) return false;
  const names = new Set(list.map(({ name }) => name));
  if (names.size !== list.length) return false;
  return expected.every(({ name, value }) =>
    list.some((argument) => argument.name === name && (value === ONE || argument.value === value)),
  );
}

/** Letters of ASCII alone: beyond it, letters that look alike fold into each other (U+212A is no `k`). */
function lowerAscii(text: string): string {
  return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}
