/** A downstream's answer as a route handler reads it: a stream, or the whole of it within bounds. */

import type { ServerResponse } from "node:http";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { GatewayError } from "../../errors.ts";
import type { Answer } from "../forward/answer.ts";
import { callerResponseHeaders } from "../headers/headers.ts";
import { writeResponseHead } from "../headers/response-head.ts";

/**
 * An answer, whatever its status. Read the body once, in one of the five ways. Left unread, a small one costs
 * nothing and a large one holds its connection until the API's `idleTimeoutMs` has passed or `discard` is called.
 */
export interface DownstreamResponse {
  readonly status: number;
  /** Whether the status is 2xx. */
  readonly ok: boolean;
  /** The fields that a caller may see; cookies and challenges of the downstream are not among them. */
  readonly headers: Headers;
  /** As it was sent, still encoded if `content-encoding` says so. Errors are GatewayErrors. */
  readonly body: Readable;
  /** The body as JSON. `T` is the handler's expectation; nothing checks it. */
  json<T = unknown>(): Promise<T>;
  /** The body as UTF-8 text. */
  text(): Promise<string>;
  /** The body's bytes. */
  bytes(): Promise<Uint8Array>;
  /**
   * Hands status, fields and body on to the caller, at the caller's pace. Resolves when all is written; a body that
   * breaks off destroys the caller's connection, and a caller who leaves ends the answer.
   */
  stream(outgoing: ServerResponse): Promise<void>;
  /** Ends the answer unread. */
  discard(): void;
}

/** Rejections of the reading methods are `downstream_unreachable` (cut short, too large, not JSON) or `downstream_timeout`. */
export function createResponse(answer: Answer, maxBytes: number): DownstreamResponse {
  const { status, body } = answer;
  const headers = new Headers();
  const lines = callerResponseHeaders(status, answer.headers);
  for (let index = 0; index + 1 < lines.length; index += 2) {
    headers.append(lines[index] ?? "", lines[index + 1] ?? "");
  }

  const bytes = async () => {
    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of body as AsyncIterable<Buffer>) {
      length += chunk.length;
      // Leaving the loop destroys the stream, so the rest is never received.
      if (length > maxBytes) throw unusable("answer_too_large");
      chunks.push(chunk);
    }
    return Buffer.concat(chunks, length);
  };
  const text = async () => new TextDecoder().decode(await bytes());

  return {
    status,
    ok: status >= 200 && status < 300,
    headers,
    body,
    bytes,
    text,
    async json<T>() {
      const read = await text();
      try {
        return JSON.parse(read) as T;
      } catch (cause) {
        throw unusable("answer_not_json", cause);
      }
    },
    async stream(outgoing) {
      writeResponseHead(outgoing, status, answer.headers);
      await pipeline(body, outgoing);
    },
    discard: () => {
      body.destroy();
    },
  };
}

function unusable(reason: string, cause?: unknown): GatewayError {
  return new GatewayError("downstream_unreachable", {
    detail: "The downstream API gave no usable answer.",
    reason,
    cause,
  });
}
