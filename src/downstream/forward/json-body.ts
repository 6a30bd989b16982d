/** Receives a body that the gateway has to read: whole, as JSON in UTF-8, within its deadline, and on its caller's account. */

import { isUtf8 } from "node:buffer";
import type { IncomingMessage } from "node:http";
import { GatewayError } from "../../errors.ts";
import { readBoundedBody } from "../../foundation/bounded-body.ts";
import type { Framing } from "../contract.ts";
import { bodyTooLarge } from "./request-body.ts";

export interface JsonBodyOptions {
  /** What the body is, for refusals: a batch or a message. */
  readonly what: "batch" | "message";
  readonly framing: Framing;
  /** Takes memory for more of the body. Throws when none is left. */
  readonly take: (bytes: number) => void;
  readonly maxBytes: number;
  /** Longest pause within the body, ms. */
  readonly idleMs: number;
  /** Time for the whole body, ms. */
  readonly timeoutMs: number;
  /** For whom it is read; see `Turns`. */
  readonly owner: string;
}

/**
 * Reads the body. Memory is taken before it is needed: for a body that names its length at once, so that a caller who
 * holds back the last byte of many bodies holds no more than a share; for a chunked one as it comes.
 *
 * Rejects with `request_malformed`, `body_too_large`, or what `take` throws.
 */
export async function readJsonBody(
  incoming: IncomingMessage,
  { what, framing, take, maxBytes, idleMs, timeoutMs, owner }: JsonBodyOptions,
): Promise<Buffer> {
  checkForm(incoming, what);
  if (framing.kind === "length" && framing.bytes > maxBytes) throw bodyTooLarge();
  if (framing.kind === "length") take(framing.bytes);
  const bytes = await readBoundedBody(incoming, {
    maxBytes,
    idleMs,
    timeoutMs,
    owner,
    take: framing.kind === "chunked" ? take : undefined,
    failed: (failure) => (failure === "too_large" ? bodyTooLarge() : unread(what, `body_${failure}`)),
  });
  // Bytes that are no UTF-8 are refused: replaced ones could make two ids or URLs of the same text.
  if (!isUtf8(bytes)) throw unread(what, `${what}_utf8`);
  // RFC 8259 §8.1: a byte order mark may be ignored.
  return bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes;
}

/** A media type for JSON with parameters, none of which holds a blank or a semicolon. */
const JSON_TYPE = /^\s*application\/(?:[\w.+-]+\+)?json\s*(?:;\s*[\w.-]+="?[\w.-]*"?\s*)*;?\s*$/i;

/**
 * The rules are applied to the body as JSON in UTF-8, so the API must read it as that: under another charset the same
 * bytes could be another text, and under another type another kind of message.
 */
function checkForm({ headers }: IncomingMessage, what: JsonBodyOptions["what"]): void {
  const coding = headers["content-encoding"];
  if (coding !== undefined && coding.toLowerCase() !== "identity") {
    throw malformed(`${what}_coding`, `The ${what} is in a content coding, which hides what it asks for.`);
  }
  const type = headers["content-type"];
  if (type === undefined) return;
  if (!JSON_TYPE.test(type))
    throw malformed(`${what}_type`, `The ${what} is not of the type application/json.`);
  for (const [, charset = ""] of type.matchAll(/charset\s*=\s*"?([^";\s]*)/gi)) {
    if (!/^utf-?8$/i.test(charset)) {
      throw malformed(`${what}_charset`, `The ${what} is in another charset than UTF-8.`);
    }
  }
}

function unread(what: JsonBodyOptions["what"], reason: string): GatewayError {
  return malformed(reason, `The ${what} could not be read whole as JSON in UTF-8.`);
}

function malformed(reason: string, detail: string): GatewayError {
  return new GatewayError("request_malformed", { detail, reason });
}
