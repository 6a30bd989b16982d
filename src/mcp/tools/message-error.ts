/** The refusal of a message in the terms of JSON-RPC 2.0 (§5.1) and of the Model Context Protocol. */

/** JSON-RPC's codes, and `HeaderMismatch` of MCP 2026-07-28. */
export const CODES = {
  parse: -32700,
  invalid: -32600,
  parameters: -32602,
  mismatch: -32020,
} as const;

/** Body or header fields cannot be read in one way alone, so nothing of the request is passed on. */
export class MessageError extends Error {
  override readonly name = "MessageError";
  readonly code: number;
  /** Short stable label, for the log and for the caller. */
  readonly reason: string;
  /** The message at fault, as JSON. */
  readonly id: string;

  constructor(kind: keyof typeof CODES, reason: string, message: string, id = "null") {
    super(message);
    this.code = CODES[kind];
    this.reason = reason;
    this.id = id;
  }
}
