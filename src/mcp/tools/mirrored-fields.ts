/** The header fields that repeat what the body of a message says must agree with it. */

import type { IncomingHttpHeaders } from "node:http";
import type { Messages } from "./contract.ts";
import { MessageError } from "./message-error.ts";

/** From this version on each request repeats method and name in fields. Versions are dates, so they compare as text. */
const STATELESS_SINCE = "2026-07-28";
const IS_VERSION = /^\d{4}-\d{2}-\d{2}$/;

/**
 * A hop in front may have acted on the fields and the server acts on the body, so they must say the same (MCP 2026-07-28,
 * Streamable HTTP). Fields that are sent are compared in every era, since the reason holds in each.
 *
 * @throws {MessageError} −32020
 */
export function checkMirroredFields(headers: IncomingHttpHeaders, { isBatch, all }: Messages): void {
  const sent = {
    method: single(headers["mcp-method"]),
    name: single(headers["mcp-name"]),
    version: single(headers["mcp-protocol-version"]),
  };
  const [message] = all;
  if (isBatch || message === undefined) {
    if (sent.method !== undefined || sent.name !== undefined)
      throw mismatch("batch", "A batch has no one method that Mcp-Method could repeat.");
    if (all.some(({ version }) => version !== undefined && version !== sent.version))
      throw mismatch("version", "MCP-Protocol-Version differs from the version that a message names.");
    return;
  }
  const { id } = message;
  const isStateless = [message.version, sent.version].some(
    (version) => version !== undefined && IS_VERSION.test(version) && version >= STATELESS_SINCE,
  );
  const isRequired = isStateless && message.kind === "request";
  const check = (field: string, said: string | undefined, written: string | undefined) => {
    if (said === written || (said === undefined && !isRequired)) return;
    throw said === undefined
      ? mismatch("missing", `${field} is missing; it repeats what the body says.`, id)
      : mismatch("field", `${field} differs from what the body says.`, id);
  };
  if (message.version !== undefined) check("MCP-Protocol-Version", sent.version, message.version);
  check("Mcp-Method", sent.method, message.method);
  // Of other methods the field says something that only their servers know.
  if (message.name !== undefined)
    check("Mcp-Name", sent.name === undefined ? undefined : decoded(sent.name, id), message.name);
}

/** Values that are no plain ASCII are written as `=?base64?…?=`, and the base64 is of UTF-8. */
function decoded(value: string, id: string): string {
  const { written } = /^=\?base64\?(?<written>.*)\?=$/.exec(value)?.groups ?? {};
  if (written === undefined) return value;
  const bytes = Buffer.from(written, "base64");
  const text = bytes.toString("utf8");
  // A second spelling of the same bytes could be read as another name.
  if (bytes.toString("base64") !== written || !Buffer.from(text).equals(bytes))
    throw mismatch("encoding", "Mcp-Name is no canonical base64 of UTF-8.", id);
  return text;
}

/** Node joins the lines of a repeated field with a comma, and what is joined equals nothing that a body says. */
function single(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === "string" ? value : value?.join(", ");
}

function mismatch(reason: string, detail: string, id?: string): MessageError {
  return new MessageError("mismatch", `mirror_${reason}`, detail, id);
}
