/** Types of the server that offers Graph as tools. */

/** What the table of permissions knows of one operation. */
export interface Operation {
  /** `GET /me/messages`. Where no table is known, a pattern of the route: `GET /me/**`. */
  readonly operation: string;
  /** Each of them opens the operation, the least ones first; undefined where no table is known. */
  readonly permissions: readonly string[] | undefined;
  /** Those that the table marks as least. */
  readonly least: readonly string[];
}

/** The operations that a route opens. */
export interface Operations {
  /** Whether a table names them; without one the route's patterns stand for them. */
  readonly isKnown: boolean;
  readonly all: readonly Operation[];
  /** The operation that a call would be, where the table knows it. */
  find(method: string, path: string): Operation | undefined;
}

/** Behaviour that a client may show its user before a call (MCP, Tools, annotations). */
export interface ToolAnnotations {
  readonly title: string;
  readonly readOnlyHint: boolean;
  readonly destructiveHint: boolean;
  readonly idempotentHint: boolean;
  readonly openWorldHint: boolean;
}

export interface ToolResult {
  readonly isError?: boolean;
  readonly content: { readonly type: "text"; readonly text: string }[];
}

/** A tool, apart from the library that offers it. */
export interface ToolDefinition {
  readonly name: string;
  readonly description: string;
  /** JSON Schema of the arguments, which are checked against it before each call. */
  readonly inputSchema: Readonly<Record<string, unknown>>;
  readonly annotations: ToolAnnotations;
  run(input: Readonly<Record<string, unknown>>): Promise<ToolResult>;
}
