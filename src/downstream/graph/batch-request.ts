/** Opens a `$batch` request: every part is judged like a request of its own, and nothing unread is sent on. */

import { GatewayError } from "../../errors.ts";
import type { TargetRules } from "../contract.ts";
import { type HeaderRules, REQUEST_RULES } from "../headers/header-rules.ts";
import { isDropped } from "../headers/headers.ts";
import { readRequestTarget } from "../target/request-target.ts";

/** One request inside a batch (Graph, "Combine multiple HTTP requests using JSON batching"). */
export interface BatchPart {
  readonly id: string;
  readonly method: string;
  /** Relative to the API's base. */
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** Ids of parts that must succeed first. */
  readonly dependsOn?: readonly string[];
}

/** Throws what a route would throw for this method and request-target. */
export type JudgeTarget = (method: string, rawTarget: string) => unknown;

export const MAX_PARTS = 20;

const FIELD_NAME = /^[!#$%&'*+.^`|~0-9A-Za-z-]+$/;
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

/**
 * Reads and judges a batch. The parts that come back hold what was judged and nothing else: where a member stands
 * twice, or under a name in other letters, the API might believe the one that was not looked at.
 *
 * @throws {GatewayError} `request_malformed`, or `target_forbidden` for a part that the route would not let through.
 */
export function readBatch(
  text: string,
  judge: JudgeTarget,
  route: TargetRules,
  rules: HeaderRules = REQUEST_RULES,
): readonly BatchPart[] {
  const requests = members(parseJson(text)).requests;
  if (!Array.isArray(requests) || requests.length === 0) throw malformed("A batch needs requests.");
  if (requests.length > MAX_PARTS) throw malformed(`A batch holds at most ${MAX_PARTS} requests.`);
  const ids = new Set<string>();
  return requests.map((request: unknown, index) => {
    const part = readPart(request, index, rules);
    // Graph compares ids without regard to case.
    const id = part.id.toLowerCase();
    if (ids.has(id)) throw malformed(`Request ${index + 1} of the batch repeats an id.`);
    ids.add(id);
    judgePart(part, index, judge, route);
    return part;
  });
}

/** Whether decoded segments lead to `$batch`, or to what a lenient server would take for it: `$Batch;v=1`. */
export function namesBatch(segments: readonly string[]): boolean {
  return segments.some((segment) => segment.normalize("NFKC").trim().toLowerCase().startsWith("$batch"));
}

function readPart(request: unknown, index: number, rules: HeaderRules): BatchPart {
  const { id, method, url, headers, body, dependsOn } = members(request);
  const wrong = (what: string) => malformed(`Request ${index + 1} of the batch has no usable ${what}.`);
  if (typeof id !== "string" || id === "" || id.length > 256) throw wrong("id");
  if (typeof method !== "string" || !/^[A-Z]+$/.test(method)) throw wrong("method");
  if (typeof url !== "string" || url === "") throw wrong("url");
  if (dependsOn !== undefined && !isTexts(dependsOn)) throw wrong("dependsOn");
  return {
    id,
    method,
    url,
    ...(headers !== undefined && headers !== null && { headers: readHeaders(headers, rules, wrong) }),
    ...(body !== undefined && { body }),
    ...(dependsOn !== undefined && { dependsOn }),
  };
}

/** Fields that the gateway would strip from a request are refused here: in a batch they cannot be there by accident. */
function readHeaders(
  headers: unknown,
  rules: HeaderRules,
  wrong: (what: string) => GatewayError,
): Record<string, string> {
  if (typeof headers !== "object" || Array.isArray(headers)) throw wrong("headers");
  const entries = Object.entries(members(headers)).map(([name, value]) => {
    const text = typeof value === "number" ? String(value) : value;
    if (typeof text !== "string" || !FIELD_NAME.test(name) || !FIELD_VALUE.test(text)) throw wrong("headers");
    const lower = name.toLowerCase();
    // SDKs give each part an id of its own, which is no more than that.
    if (lower !== "client-request-id" && isDropped(rules, lower)) {
      throw new GatewayError("target_forbidden", {
        detail: "A request of the batch holds a header field that this route does not let through.",
        reason: "batch_header",
      });
    }
    return [name, text];
  });
  return Object.fromEntries(entries);
}

/** The same decoding and the same rules as for a request by itself; see `compileTarget`. */
function judgePart({ method, url }: BatchPart, index: number, judge: JudgeTarget, route: TargetRules): void {
  const prefix = `Request ${index + 1} of the batch: `;
  if (/^(?:[a-z][a-z0-9+.-]*:|\/\/|\\)/i.test(url)) {
    throw forbidden(`${prefix}the URL must be relative.`, "batch_absolute_url");
  }
  const below = url.startsWith("/") ? url : `/${url}`;
  try {
    judge(method, (route.path === "/" ? "" : route.path) + below);
    if (namesBatch(readRequestTarget(below).segments)) {
      throw forbidden("A batch cannot hold another batch.", "batch_nested");
    }
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    // A 405 speaks of the request's own method, which is not the matter here.
    const code = error.code === "method_not_allowed" ? "target_forbidden" : error.code;
    const reason = error.reason ?? "batch_method";
    throw new GatewayError(code, { detail: prefix + error.detail, reason, cause: error });
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw malformed("The batch is not JSON.", cause);
  }
}

function members(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

function malformed(detail: string, cause?: unknown): GatewayError {
  return new GatewayError("request_malformed", { detail, reason: "batch", cause });
}

function forbidden(detail: string, reason: string): GatewayError {
  return new GatewayError("target_forbidden", { detail, reason });
}
