/** Bodies of requests to the local API: small, whole, and of a type that is known. */

import type { IncomingMessage } from "node:http";
import { GatewayError } from "../errors.ts";
import { readBoundedBody } from "../foundation/bounded-body.ts";
import { parseJsonObject } from "../foundation/json.ts";
import type { RequestRecord } from "../http/contract.ts";

/**
 * Rejects with `body_too_large`, or `request_malformed` where the body broke off. The listener bounds how long it takes.
 */
export async function readBody(
  request: IncomingMessage,
  { framing }: Pick<RequestRecord, "framing">,
  maxBytes: number,
): Promise<Buffer> {
  if (framing?.kind === "length" && framing.bytes > maxBytes) {
    // Taken off the wire, so that the caller gets to read the refusal.
    request.resume();
    throw tooLarge(maxBytes);
  }
  return readBoundedBody(request, {
    maxBytes,
    failed: (failure) =>
      failure === "too_large" ? tooLarge(maxBytes) : malformed("body", "The body broke off."),
  });
}

/** The members of a JSON object or of a form; those of a form are text. */
export function readMembers(contentType: string | undefined, body: Buffer): ReadonlyMap<string, unknown> {
  const type = (contentType ?? "").split(";")[0]?.trim().toLowerCase();
  if (type === "application/json") {
    const value = parseJsonObject(body.toString("utf8"));
    if (value === undefined) throw malformed("body", "The body is no JSON object.");
    return new Map(Object.entries(value));
  }
  if (type === "application/x-www-form-urlencoded") {
    const form = new URLSearchParams(body.toString("utf8"));
    const members = new Map<string, unknown>(form);
    // RFC 6749 §3.2: a parameter is there once. Of two, servers take the first or the last.
    if (members.size !== [...form].length) throw malformed("body", "The form names a parameter twice.");
    return members;
  }
  throw malformed("content_type", "The body is application/json or application/x-www-form-urlencoded.");
}

function tooLarge(maxBytes: number): GatewayError {
  return new GatewayError("body_too_large", { detail: `The body may be of ${maxBytes} bytes at most.` });
}

function malformed(reason: string, detail: string): GatewayError {
  return new GatewayError("request_malformed", { detail, reason });
}
