/** Writes the head of a downstream's answer to the caller, beside what the gateway has said already. */

import type { ServerResponse } from "node:http";
import type { HeaderRules } from "./header-rules.ts";
import { type AnswerHeaders, callerResponseHeaders } from "./headers.ts";

export interface ResponseHeadOptions {
  /** `WWW-Authenticate` of a 401, in place of the downstream's. Default: a bare `Bearer`. */
  readonly challenge?: string | undefined;
  /** The API's rules. Default: those of every API. */
  readonly rules?: HeaderRules;
  /** The body will not be the downstream's byte for byte, so nothing that measures those bytes is true of it. */
  readonly isRewritten?: boolean;
}

/** Fields that state the length or a digest of the downstream's bytes (RFC 9110 §8.6, RFC 9530). */
const MEASURES = new Set(["content-length", "content-md5", "digest", "content-digest", "repr-digest"]);

export function writeResponseHead(
  outgoing: ServerResponse,
  status: number,
  answer: AnswerHeaders,
  { challenge = "Bearer", isRewritten = false, rules }: ResponseHeadOptions = {},
): void {
  const all = callerResponseHeaders(status, answer, rules);
  const lines = isRewritten ? all.filter((_, index) => !MEASURES.has(all[index - (index % 2)] ?? "")) : all;
  // RFC 9110 §11.6.1: a 401 names a challenge, and the downstream's is for another audience.
  if (status === 401) lines.push("www-authenticate", challenge);
  const ours = new Set(outgoing.getHeaderNames());
  if (ours.size === 0) {
    outgoing.writeHead(status, lines);
    return;
  }
  // What the gateway has said already stands: security fields, CORS, the correlation id. Not left to `writeHead`,
  // which would let the downstream's win and, before Node 24, keep one line only of a field that has several.
  for (let index = 0; index + 1 < lines.length; index += 2) {
    const name = lines[index] as string;
    // Each side's `vary` is true for its part of the answer.
    if (name === "vary" || !ours.has(name)) outgoing.appendHeader(name, lines[index + 1] as string);
  }
  outgoing.writeHead(status);
}
