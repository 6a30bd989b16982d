/** Path rules such as `/me/messages/*` and `/drives/**`, compiled once and matched in bounded time. */

/** Says whether decoded segments are allowed by any of the patterns. */
export type PathMatcher = (segments: readonly string[]) => boolean;

/** Why a pattern cannot be used, for a person who edits a configuration file. */
export class PathPatternError extends Error {
  override readonly name = "PathPatternError";
}

const ANY = "**";
const ONE = "*";

/**
 * Patterns are written as plain text, not percent-encoded. `*` stands for one segment that is not empty, `**` for
 * any number of them, none included; neither mixes with other characters of a segment. Comparison minds case:
 * paths are case-sensitive (RFC 3986 §6.2.2.1), and an API that is lenient about it is never opened by accident.
 *
 * @throws {PathPatternError} on the first pattern that cannot mean what it says.
 */
export function compilePathPatterns(patterns: readonly string[]): PathMatcher {
  const literals = new Set<string>();
  const globs: (readonly string[])[] = [];
  for (const pattern of patterns) {
    const segments = readPattern(pattern);
    if (segments.some((segment) => segment === ANY || segment === ONE)) globs.push(segments);
    // A decoded segment holds no slash, so joining is unambiguous.
    else literals.add(segments.join("/"));
  }
  return (segments) =>
    literals.has(segments.join("/")) || globs.some((pattern) => matches(pattern, segments));
}

function readPattern(pattern: string): readonly string[] {
  if (!pattern.startsWith("/")) throw new PathPatternError(`must begin with "/"`);
  if (/[%?#\\]/.test(pattern)) {
    throw new PathPatternError(`must be a plain, decoded path: "%", "?", "#" and "\\" have no place in it`);
  }
  const segments = pattern.slice(1).split("/");
  segments.forEach((segment, index) => {
    if (segment === "" && index < segments.length - 1) throw new PathPatternError(`holds an empty segment`);
    if (segment === "." || segment === "..") throw new PathPatternError(`holds a dot segment`);
    if (segment.includes("*") && segment !== ONE && segment !== ANY) {
      throw new PathPatternError(`"*" and "**" must stand for whole segments`);
    }
  });
  return segments;
}

/**
 * Glob matching with one remembered retry point: on a mismatch only the last `**` takes one more segment, which is
 * enough because an earlier one could gain nothing by it. At most pattern length × path length steps; no regular
 * expression, so no pattern can blow up.
 */
function matches(pattern: readonly string[], segments: readonly string[]): boolean {
  let patternAt = 0;
  let segmentAt = 0;
  let retryPattern = -1;
  let retrySegment = 0;
  while (segmentAt < segments.length) {
    const expected = pattern[patternAt];
    const segment = segments[segmentAt];
    if (expected === ANY) {
      retryPattern = patternAt++;
      retrySegment = segmentAt;
    } else if (expected === segment || (expected === ONE && segment !== "")) {
      patternAt++;
      segmentAt++;
    } else if (retryPattern >= 0) {
      patternAt = retryPattern + 1;
      segmentAt = ++retrySegment;
    } else {
      return false;
    }
  }
  while (pattern[patternAt] === ANY) patternAt++;
  return patternAt === pattern.length;
}
