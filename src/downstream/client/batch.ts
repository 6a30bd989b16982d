/** Builds a `$batch` in code: each request added gives a typed handle, and the answers are looked up by it. */

import { GatewayError } from "../../errors.ts";
import { type BatchPart, MAX_PARTS } from "../graph/batch-request.ts";
import type { BatchResult, PartAnswer } from "../graph/batch-rounds.ts";
import { type DownstreamPath, type DownstreamQuery, readClientPath } from "./path.ts";

/** A request of a batch. `T` is what its body is expected to be; nothing checks it. */
export interface BatchHandle<T> {
  readonly id: string;
  /** Never there: it only carries the type. */
  readonly expects?: T;
}

export interface BatchPartOptions {
  readonly query?: DownstreamQuery;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as `application/json`. */
  readonly json?: unknown;
  /** Requests that must succeed first; when one fails, this one is answered 424. */
  readonly dependsOn?: readonly BatchHandle<unknown>[];
}

/** What the API said to one request of a batch. Bodies that are no JSON are base64 text. */
export interface BatchPartResponse<T> {
  readonly status: number;
  /** Whether the status is 2xx. */
  readonly ok: boolean;
  readonly headers: Headers;
  readonly body: T;
}

export interface BatchResponses {
  /** The answer to a request; rejects with `downstream_unreachable` when the API left it out. */
  of<T>(handle: BatchHandle<T>): BatchPartResponse<T>;
}

/**
 * Up to 20 requests in one. Throttled ones are repeated after the pause that the API asks for, within the API's
 * `timeoutMs`; a claims challenge is answered once.
 */
export interface DownstreamBatch {
  get<T = unknown>(path: DownstreamPath, options?: BatchPartOptions): BatchHandle<T>;
  post<T = unknown>(path: DownstreamPath, options?: BatchPartOptions): BatchHandle<T>;
  put<T = unknown>(path: DownstreamPath, options?: BatchPartOptions): BatchHandle<T>;
  patch<T = unknown>(path: DownstreamPath, options?: BatchPartOptions): BatchHandle<T>;
  delete<T = unknown>(path: DownstreamPath, options?: BatchPartOptions): BatchHandle<T>;
  /** Sends what was added. Rejects as the client's methods do, and when the API answers with no batch. */
  send(): Promise<BatchResponses>;
}

/** @throws {RangeError} from the methods that add, at the twenty-first request. */
export function createBatch(
  sendParts: (parts: readonly BatchPart[]) => Promise<BatchResult>,
): DownstreamBatch {
  const parts: BatchPart[] = [];

  const add = (method: string, path: DownstreamPath, options: BatchPartOptions = {}): BatchHandle<never> => {
    if (parts.length === MAX_PARTS) throw new RangeError(`a batch holds at most ${MAX_PARTS} requests`);
    const { json, dependsOn } = options;
    const below = readClientPath(path, options.query);
    const headers = { ...(json !== undefined && { "content-type": "application/json" }), ...options.headers };
    const id = String(parts.length + 1);
    parts.push({
      id,
      method,
      url: below.path + below.query,
      ...(Object.keys(headers).length > 0 && { headers }),
      ...(json !== undefined && { body: json }),
      ...(dependsOn !== undefined && { dependsOn: dependsOn.map((handle) => handle.id) }),
    });
    return { id };
  };

  return {
    get: (path, options) => add("GET", path, options),
    post: (path, options) => add("POST", path, options),
    put: (path, options) => add("PUT", path, options),
    patch: (path, options) => add("PATCH", path, options),
    delete: (path, options) => add("DELETE", path, options),
    async send() {
      const result = await sendParts(parts);
      if (result.kind === "unread") {
        result.head.body.destroy();
        throw unusable(`status_${result.head.status}`);
      }
      const answers = new Map(result.responses.map((answer) => [answer.id, answer]));
      return {
        of<T>({ id }: BatchHandle<T>) {
          const answer = answers.get(id);
          if (answer === undefined) throw unusable("part_unanswered");
          return partResponse<T>(answer);
        },
      };
    },
  };
}

function partResponse<T>({ status, headers, body }: PartAnswer): BatchPartResponse<T> {
  const ok = status >= 200 && status < 300;
  return { status, ok, headers: new Headers({ ...headers }), body: body as T };
}

function unusable(reason: string): GatewayError {
  return new GatewayError("downstream_unreachable", {
    detail: "The downstream API gave no usable answer to a batch.",
    reason,
  });
}
