/** Builds a `$batch` in code: each request added gives a typed handle, and the answers are looked up by it. */

import { GatewayError } from "../../errors.ts";
import { textOf } from "../../foundation/json-text.ts";
import type {
  AssertAllowed,
  BatchHandle,
  BatchPartOptions,
  BatchPartResponse,
  DownstreamBatch,
  DownstreamPath,
} from "../contract.ts";
import type { PartAnswer } from "../graph/batch-answer.ts";
import { type BatchPart, idKey, MAX_PARTS, writePart } from "../graph/batch-parts.ts";
import type { BatchResult } from "../graph/batch-rounds.ts";
import { RESPONSE_RULES } from "../headers/header-rules.ts";
import { isDropped } from "../headers/headers.ts";
import { readClientPath } from "./path.ts";

/** @throws {RangeError} from the methods that add, at the twenty-first request. */
export function createBatch(
  sendParts: (parts: readonly BatchPart[]) => Promise<BatchResult>,
  assertAllowed: AssertAllowed,
): DownstreamBatch {
  const parts: BatchPart[] = [];

  const add = (method: string, path: DownstreamPath, options: BatchPartOptions = {}): BatchHandle<never> => {
    if (parts.length === MAX_PARTS) throw new RangeError(`a batch holds at most ${MAX_PARTS} requests`);
    const { json, dependsOn } = options;
    const below = readClientPath(path, options.query, "refuse");
    const headers = { ...(json !== undefined && { "content-type": "application/json" }), ...options.headers };
    const id = String(parts.length + 1);
    assertAllowed(method, below.path);
    parts.push(
      writePart({
        id,
        method,
        url: below.path + below.query,
        ...(Object.keys(headers).length > 0 && { headers }),
        ...(json !== undefined && { body: json }),
        ...(dependsOn !== undefined && { dependsOn: dependsOn.map((handle) => handle.id) }),
      }),
    );
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
      return {
        of<T>({ id }: BatchHandle<T>) {
          const answer = result.parts.get(idKey(id));
          if (answer === undefined) throw unusable("part_unanswered");
          return partResponse<T>(answer);
        },
      };
    },
  };
}

function partResponse<T>({ status, headers, body, source }: PartAnswer): BatchPartResponse<T> {
  const ok = status >= 200 && status < 300;
  const passed = [...headers].filter(([name]) => !isDropped(RESPONSE_RULES, name));
  const json = body === undefined ? undefined : JSON.parse(textOf(source, body));
  return { status, ok, headers: new Headers(passed), body: json as T };
}

function unusable(reason: string): GatewayError {
  return new GatewayError("downstream_unreachable", {
    detail: "The downstream API gave no usable answer to a batch.",
    reason,
  });
}
