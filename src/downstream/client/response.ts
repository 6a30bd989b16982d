/** A downstream's answer as a route handler reads it: a stream, or the whole of it within bounds. */

import { pipeline } from "node:stream/promises";
import { GatewayError } from "../../errors.ts";
import type { DownstreamResponse } from "../contract.ts";
import type { Answer } from "../forward/answer.ts";
import { callerResponseHeaders, writeResponseHead } from "../headers/headers.ts";

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
