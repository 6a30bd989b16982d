/** Names of tools in logs, traces and metrics: what callers may write is checked, and what metrics count is bounded. */

/** MCP (Tools, names): letters, digits, `_`, `-`, `.` and `/`, up to 128 of them. */
const PLAIN = /^[\w./-]{1,128}$/;
/** The beginning of a JWT. */
const TOKEN = /eyJ[\w-]{8,}/;

/** Stands for a name that is not written out. */
const UNNAMED = "other";

/** The name as a log line may hold it. */
export function shownName(name: string): string {
  return PLAIN.test(name) && !TOKEN.test(name) ? name : UNNAMED;
}

/** Most names of one route that have a series of their own in metrics. */
const MAX_LABELS = 256;

export interface ToolLabels {
  /** The server lists the tool, so its name is none that a caller has made up. */
  learn(name: string): void;
  labelOf(name: string): string;
}

/** @param named Tools that the route's rules name. */
export function createToolLabels(named: readonly string[]): ToolLabels {
  const known = new Set(named.slice(0, MAX_LABELS));
  return {
    learn(name) {
      if (known.size < MAX_LABELS) known.add(name);
    },
    labelOf: (name) => (known.has(name) ? shownName(name) : UNNAMED),
  };
}
