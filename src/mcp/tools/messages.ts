/** Reads the body of a POST to an MCP server: JSON-RPC messages, and of them only what policy has to know. */

import {
  beginsArray,
  beginsObject,
  beginsString,
  expectEnd,
  JsonTextError,
  MAX_JSON_DEPTH,
  type MemberStart,
  type Reading,
  readArray,
  readObject,
  readString,
  type Span,
  skipBlanks,
  skipValue,
  textOf,
} from "../../foundation/json-text.ts";
import type { Message, Messages } from "./contract.ts";
import { MessageError } from "./message-error.ts";

/** Messages of one batch. */
const MAX_MESSAGES = 64;
/** Longest id, method or version, bytes as written. */
const MAX_SHORT = 256;
/** Longest tool name or URI, bytes as written. */
const MAX_NAME = 8_192;
/** Members of one object that is looked into. */
const MAX_MEMBERS = 256;

/** Members by which a server decides what a message is and does. */
const MESSAGE_MEMBERS = ["jsonrpc", "id", "method", "params", "result", "error"] as const;
const PARAMETER_MEMBERS = ["name", "uri", "taskId", "arguments", "_meta"] as const;
const VERSION = "io.modelcontextprotocol/protocolVersion";

/** The parameter that `Mcp-Name` repeats (MCP 2026-07-28, Streamable HTTP, standard request headers). */
const NAMED_BY: ReadonlyMap<string, "name" | "uri" | "taskId"> = new Map([
  ["tools/call", "name"],
  ["prompts/get", "name"],
  ["resources/read", "uri"],
  ["tasks/get", "taskId"],
  ["tasks/update", "taskId"],
  ["tasks/cancel", "taskId"],
]);

/**
 * Reads the messages. The body is passed on as it came, so whatever two parsers could read differently is refused here:
 * a member that stands twice, and one that differs from a known one in its letters' case alone, which Go's parser takes
 * for that one.
 *
 * The reading throws a MessageError.
 */
export function* readMessages(bytes: Buffer): Reading<Messages> {
  try {
    const start = skipBlanks(bytes, 0);
    const all: Message[] = [];
    if (!beginsArray(bytes, start)) {
      const { message, end } = yield* readMessage(bytes, start);
      expectEnd(bytes, end);
      return { isBatch: false, all: [message] };
    }
    const end = yield* readArray(bytes, start, function* (at) {
      if (all.length === MAX_MESSAGES)
        throw invalid("batch_size", `A batch holds at most ${MAX_MESSAGES} messages.`);
      const { message, end } = yield* readMessage(bytes, at);
      all.push(message);
      return end;
    });
    expectEnd(bytes, end);
    if (all.length === 0) throw invalid("batch_empty", "A batch holds at least one message.");
    return { isBatch: true, all };
  } catch (error) {
    if (!(error instanceof JsonTextError)) throw error;
    if (error.kind === "depth")
      throw new MessageError("parse", "depth", `The message nests deeper than ${MAX_JSON_DEPTH} levels.`);
    throw new MessageError("parse", "json", "The body is not JSON.");
  }
}

interface Read<T> {
  readonly end: number;
  readonly message: T;
}

function* readMessage(bytes: Buffer, start: number): Reading<Read<Message>> {
  if (!beginsObject(bytes, start)) {
    yield* skipValue(bytes, start);
    throw invalid("message", "A JSON-RPC message is an object.");
  }
  const enter = eachOnce(MESSAGE_MEMBERS);
  const values = new Map<string, Span>();
  let parameters: Parameters | undefined;
  const end = yield* readObject(bytes, start, function* ({ name, valueAt }) {
    enter(name);
    if (name === "params" && beginsObject(bytes, valueAt)) {
      const read = yield* readParameters(bytes, valueAt);
      parameters = read.message;
      values.set(name, { start: valueAt, end: read.end });
      return read.end;
    }
    const valueEnd = yield* skipValue(bytes, valueAt);
    values.set(name, { start: valueAt, end: valueEnd });
    return valueEnd;
  });
  return { message: messageOf(bytes, values, parameters), end };
}

function messageOf(
  bytes: Buffer,
  values: ReadonlyMap<string, Span>,
  parameters: Parameters | undefined,
): Message {
  const id = idOf(bytes, values.get("id"));
  const wrong = (reason: string, detail: string) => invalid(reason, detail, id);
  if (shortText(bytes, values.get("jsonrpc")) !== "2.0")
    throw wrong("version", 'A JSON-RPC message says jsonrpc: "2.0".');
  const outcomes = Number(values.has("result")) + Number(values.has("error"));
  if (!values.has("method")) {
    if (outcomes !== 1 || !values.has("id"))
      throw wrong("message", "The message is neither a request, nor a notification, nor a response.");
    return { kind: "response", id, method: undefined, name: undefined, version: undefined };
  }
  const method = shortText(bytes, values.get("method"));
  if (method === undefined || method === "") throw wrong("method", "The message has no usable method.");
  if (outcomes > 0) throw wrong("message", "The message is a request and a response at once.");
  if (values.has("params") && parameters === undefined)
    throw wrong("params", "The parameters of a message are an object.");
  const named = NAMED_BY.get(method);
  const name = named === undefined ? undefined : parameters?.[named];
  if (method === "tools/call" && name === undefined)
    throw new MessageError("parameters", "tool_name", "The call names no tool.", id);
  return {
    kind: values.has("id") ? "request" : "notification",
    id,
    method,
    name,
    version: parameters?.version,
  };
}

/** MCP (Basic, Requests): an id is a string or a number, and never null. */
function idOf(bytes: Buffer, value: Span | undefined): string {
  if (value === undefined) return "null";
  const isUsable =
    value.end - value.start <= MAX_SHORT &&
    (beginsString(bytes, value.start) || /^-?\d/.test(textOf(bytes, value)));
  if (!isUsable) throw invalid("id", "The id of a message is a string or a number.");
  return textOf(bytes, value);
}

interface Parameters {
  readonly name: string | undefined;
  readonly uri: string | undefined;
  readonly taskId: string | undefined;
  readonly version: string | undefined;
}

function* readParameters(bytes: Buffer, start: number): Reading<Read<Parameters>> {
  const enter = eachOnce(PARAMETER_MEMBERS);
  const found: { name?: string; uri?: string; taskId?: string; version?: string } = {};
  const end = yield* readObject(bytes, start, function* (member) {
    const { name, valueAt } = member;
    enter(name);
    if (name === "_meta" && beginsObject(bytes, valueAt)) {
      return yield* readMeta(bytes, valueAt, (version) => {
        found.version = version;
      });
    }
    const valueEnd = yield* skipValue(bytes, valueAt);
    if (name === "name" || name === "uri" || name === "taskId") {
      const text = textBelow(bytes, { start: valueAt, end: valueEnd }, MAX_NAME);
      if (text !== undefined) found[name] = text;
    }
    return valueEnd;
  });
  const { name, uri, taskId, version } = found;
  return { message: { name, uri, taskId, version }, end };
}

function* readMeta(bytes: Buffer, start: number, onVersion: (version: string) => void): Reading<number> {
  const enter = eachOnce([VERSION]);
  return yield* readObject(bytes, start, function* ({ name, valueAt }: MemberStart) {
    enter(name);
    const end = yield* skipValue(bytes, valueAt);
    if (name === VERSION) {
      const version = shortText(bytes, { start: valueAt, end });
      if (version === undefined) throw invalid("version", "The message names no usable version.");
      onVersion(version);
    }
    return end;
  });
}

/** Takes the name of each member, and throws for the second of one name and for a known name in other letters. */
function eachOnce(known: readonly string[]): (name: string) => void {
  const seen = new Set<string>();
  const folded = new Map(known.map((name) => [fold(name), name]));
  return (name) => {
    const meant = folded.get(fold(name));
    if (meant !== undefined && meant !== name)
      throw invalid("member", `A member of the message is spelt in other letters than "${meant}".`);
    if (seen.has(name)) throw invalid("member", "A member of the message stands twice.");
    if (seen.size === MAX_MEMBERS) throw invalid("member", "An object of the message has too many members.");
    seen.add(name);
  };
}

/** As lenient parsers compare names: `ſ` is an `s` for them, and the sign for kelvin a `k`. */
const fold = (name: string) => name.toUpperCase().toLowerCase();

const shortText = (bytes: Buffer, value: Span | undefined) => textBelow(bytes, value, MAX_SHORT);

/** Half a surrogate pair and U+0000 are characters for some parsers, and something else or the end for others. */
function textBelow(bytes: Buffer, value: Span | undefined, limit: number): string | undefined {
  if (value === undefined || !beginsString(bytes, value.start) || value.end - value.start > limit)
    return undefined;
  const text = readString(bytes, value);
  if (/[\p{Surrogate}\p{Cc}\ufffd]/u.test(text))
    throw invalid("text", "A name in the message holds characters that a name cannot hold.");
  return text;
}

function invalid(reason: string, detail: string, id?: string): MessageError {
  return new MessageError("invalid", reason, detail, id);
}
