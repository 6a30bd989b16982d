/** Types of the tool policy: rules of a route, messages as they are read, and refusals in the terms of JSON-RPC. */

/** A rate limit, as the counters take it. */
interface Limit {
  readonly requests: number;
  readonly perSeconds: number;
}

/** What a route lets its callers do with the tools of an MCP server. In patterns `*` stands for any run of characters. */
export interface ToolRules {
  /** Tools that may be called and are listed. Default: all. */
  readonly allow?: readonly string[] | undefined;
  /** Tools that may not be called and are not listed, `allow` notwithstanding. */
  readonly deny: readonly string[];
  /** By pattern: any one of these scopes must be in the caller's token. Every pattern that matches counts. */
  readonly scopes: Readonly<Record<string, readonly string[]>>;
  /** By pattern: how often its tools, taken together, may be called. Every pattern that matches counts. */
  readonly limits: Readonly<
    Record<string, { readonly perUser?: Limit | undefined; readonly perClient?: Limit | undefined }>
  >;
}

/** One JSON-RPC message, as far as policy looks at it. */
export interface Message {
  readonly kind: "request" | "notification" | "response";
  /** As JSON, the way the caller wrote it; an answer repeats it. `null` where there is none. */
  readonly id: string;
  /** Absent in a response. */
  readonly method: string | undefined;
  /** What `Mcp-Name` repeats of the parameters: a tool, a prompt, a resource or a task. */
  readonly name: string | undefined;
  /** Version that the message itself names, as those of the stateless era do. */
  readonly version: string | undefined;
}

/** The body of one POST. */
export interface Messages {
  /** An array, which only the oldest era of the protocol has. */
  readonly isBatch: boolean;
  readonly all: readonly Message[];
}

/** An answer of JSON-RPC in place of one from the server. */
export interface MessageRefusal {
  /** Of HTTP. */
  readonly status: number;
  /** JSON text. */
  readonly body: string;
  /** The codes of the gateway, for the log and the metrics. */
  readonly code: "request_malformed" | "target_forbidden";
  readonly reason: string;
}
