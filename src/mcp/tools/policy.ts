/** Which tools a caller may call, which it sees, and how often: the rules of a route, compiled once. */

import type { ToolRules } from "./contract.ts";

export interface ToolPolicy {
  /** Whether the tool may be called at all, and is listed. */
  isOpen(tool: string): boolean;
  /** Scopes of which the caller holds none although one is needed; empty where the call may go on. */
  missingScopes(tool: string, held: readonly string[]): readonly string[];
  /** Patterns under which a call counts. */
  countedAs(tool: string): readonly string[];
  /** Whether any tool is closed, so that lists have to be filtered. */
  readonly closesSome: boolean;
  /** Tools that the rules name in full. */
  readonly named: readonly string[];
}

type Matcher = (tool: string) => boolean;

/** `*` stands for any run of characters, an empty one included; every other character for itself. */
export function toolMatcher(pattern: string): Matcher {
  if (!pattern.includes("*")) return (tool) => tool === pattern;
  const [first = "", ...rest] = pattern.split("*");
  const last = rest.pop() ?? "";
  return (tool) => {
    if (!tool.startsWith(first) || !tool.endsWith(last) || tool.length < first.length + last.length)
      return false;
    // Leftmost places are enough, and linear: a regular expression with several `.*` can take its time.
    let at = first.length;
    const end = tool.length - last.length;
    for (const part of rest) {
      const found = tool.indexOf(part, at);
      if (found === -1 || found + part.length > end) return false;
      at = found + part.length;
    }
    return true;
  };
}

const NO_RULES: ToolRules = { deny: [], scopes: {}, limits: {} };

export function compileToolPolicy(rules: ToolRules = NO_RULES): ToolPolicy {
  const allow = rules.allow?.map(toolMatcher);
  const deny = rules.deny.map(toolMatcher);
  const scopes = compiled(rules.scopes);
  const limits = compiled(rules.limits);
  const patterns = [...(rules.allow ?? []), ...Object.keys(rules.scopes), ...Object.keys(rules.limits)];
  return {
    isOpen: (tool) =>
      (allow === undefined || allow.some((matches) => matches(tool))) &&
      !deny.some((matches) => matches(tool)),
    missingScopes: (tool, held) =>
      scopes.find(({ matches, value }) => matches(tool) && !value.some((scope) => held.includes(scope)))
        ?.value ?? [],
    countedAs: (tool) => limits.filter(({ matches }) => matches(tool)).map(({ pattern }) => pattern),
    closesSome: allow !== undefined || deny.length > 0,
    named: [...new Set(patterns.filter((pattern) => !pattern.includes("*")))],
  };
}

function compiled<T>(byPattern: Readonly<Record<string, T>>) {
  return Object.entries(byPattern).map(([pattern, value]) => ({
    pattern,
    value,
    matches: toolMatcher(pattern),
  }));
}
