/** Bodies of requests to the local API: small, whole, and of a type that is known. */

import type { IncomingMessage } from "node:http";
import { GatewayError } from "../errors.ts";
import { parseJsonObject } from "../foundation/json.ts";

/** @throws {GatewayError} `body_too_large`, or `request_malformed` where the body broke off. */
export function readBody(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    const take = (chunk: Buffer) => {
      length += chunk.length;
      if (length > maxBytes) refuse();
      else chunks.push(chunk);
    };
    // The rest of the body is taken off the wire, so that the caller gets to read the refusal; the listener bounds for how long.
    const refuse = () => {
      request.off("data", take).resume();
      chunks.length = 0;
      reject(tooLarge(maxBytes));
    };
    if (Number(request.headers["content-length"] ?? 0) > maxBytes) return refuse();
    request.on("data", take);
    request.once("end", () => resolve(Buffer.concat(chunks)));
    request.once("error", (cause) => reject(malformed("body", "The body broke off.", cause)));
    request.once("close", () => {
      if (!request.complete) reject(malformed("body", "The body broke off."));
    });
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

function malformed(reason: string, detail: string, cause?: unknown): GatewayError {
  return new GatewayError("request_malformed", { detail, reason, cause });
}
