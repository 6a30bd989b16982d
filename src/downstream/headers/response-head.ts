/** Writes the head of a downstream's answer to the caller, beside what the gateway itself says. */

import type { ServerResponse } from "node:http";
import type { AnswerHeaders, OwnFields } from "../contract.ts";
import type { HeaderRules } from "./header-rules.ts";
import { addResponseHeaders } from "./headers.ts";

export interface ResponseHeadOptions {
  /** `WWW-Authenticate` of a 401, in place of the downstream's. Default: a bare `Bearer`. */
  readonly challenge?: string | undefined;
  /** The API's rules. Default: those of every API. */
  readonly rules?: HeaderRules;
  /** The body will not be the downstream's byte for byte, so nothing that measures those bytes is true of it. */
  readonly isRewritten?: boolean;
  /** Length of the body as the caller will see it, bytes, where all of it is at hand. */
  readonly bodyLength?: number | undefined;
  /** Written with the head, for an answer on which they have not been set. */
  readonly own?: OwnFields | undefined;
  /** Goes along with `own`. */
  readonly correlationId?: string;
}

/** Fields that state the length or a digest of the downstream's bytes (RFC 9110 §8.6, RFC 9530). */
const MEASURES: ReadonlySet<string> = new Set([
  "content-length",
  "content-md5",
  "digest",
  "content-digest",
  "repr-digest",
]);
const NONE: ReadonlySet<string> = new Set();
const CONTENT_LENGTH: ReadonlySet<string> = new Set(["content-length"]);

/** Fields that are set on the response already win over the downstream's; `vary` is joined. */
export function writeResponseHead(
  outgoing: ServerResponse,
  status: number,
  answer: AnswerHeaders,
  options: ResponseHeadOptions = {},
): void {
  const { challenge = "Bearer", isRewritten = false, rules, bodyLength, own, correlationId = "" } = options;
  const lines = own === undefined ? [] : [...own.lines, "x-correlation-id", correlationId];
  const measured = bodyLength === undefined ? NONE : CONTENT_LENGTH;
  addResponseHeaders(lines, status, answer, {
    rules,
    unlike: isRewritten ? MEASURES : measured,
    own: own?.names,
  });
  if (bodyLength !== undefined) lines.push("content-length", String(bodyLength));
  // RFC 9110 §11.6.1: a 401 names a challenge, and the downstream's is for another audience.
  if (status === 401) lines.push("www-authenticate", challenge);
  const names = outgoing.getHeaderNames();
  if (names.length === 0) {
    outgoing.writeHead(status, lines);
    return;
  }
  // What was set on the response stands: CORS, a connection that closes. Not left to `writeHead`, which would let
  // these lines win and, before Node 24, keep one line only of a field that has several.
  const set = new Set(names);
  for (let index = 0; index + 1 < lines.length; index += 2) {
    const name = lines[index] as string;
    // Each side's `vary` is true for its part of the answer.
    if (name === "vary" || !set.has(name)) outgoing.appendHeader(name, lines[index + 1] as string);
  }
  outgoing.writeHead(status);
}
