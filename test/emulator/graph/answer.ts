/** What Graph's resources take and give, independent of the connection: a `$batch` part has none. */

import type { IncomingHttpHeaders } from "node:http";
import type { Readable } from "node:stream";
import type { User } from "../handle.ts";

export interface GraphCall {
  readonly method: string;
  /** Below the version root, as sent. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  /** Origin for absolute links, the one that the client addressed. */
  readonly origin: string;
  readonly user: User;
  readonly scopes: readonly string[];
  readonly body: AsyncIterable<Buffer>;
}

export interface GraphAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** An object is sent as JSON. */
  readonly body?: object | Buffer | Readable;
}

/** Thrown by a resource; `graphErrorBody` phrases it. */
export class GraphProblem extends Error {
  override readonly name = "GraphProblem";
  readonly status: number;
  readonly code: string;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, code: string, message: string, headers: GraphProblem["headers"] = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.headers = headers;
  }
}

export function graphErrorBody(
  problem: GraphProblem,
  ids: { readonly at: number; readonly requestId: string; readonly clientRequestId: string },
): object {
  return {
    error: {
      code: problem.code,
      message: problem.message,
      innerError: {
        date: new Date(ids.at).toISOString().slice(0, 19),
        "request-id": ids.requestId,
        "client-request-id": ids.clientRequestId,
      },
    },
  };
}

export async function readAll(body: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** @throws {GraphProblem} 400 */
export async function readJson(body: AsyncIterable<Buffer>): Promise<unknown> {
  try {
    return JSON.parse((await readAll(body)).toString("utf8"));
  } catch {
    throw new GraphProblem(400, "BadRequest", "Unable to read JSON request payload.");
  }
}
