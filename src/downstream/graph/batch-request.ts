/** Opens a `$batch` request: applies the rules of a request by itself to every part, and keeps the text that was read. */

import { GatewayError } from "../../errors.ts";
import {
  beginsArray,
  beginsObject,
  beginsString,
  expectEnd,
  JsonTextError,
  MAX_JSON_DEPTH,
  type MemberStart,
  type Reading,
  readArray,
  readObject,
  readString,
  type Span,
  skipBlanks,
  skipValue,
  textOf,
} from "../../foundation/json-text.ts";
import type { Target, TargetRules } from "../contract.ts";
import { type HeaderRules, REQUEST_RULES } from "../headers/header-rules.ts";
import { isDropped } from "../headers/headers.ts";
import { type BatchPart, idKey, MAX_PARTS } from "./batch-parts.ts";
import { isBatchTarget } from "./links.ts";

/** Throws what the route would throw for this method and request-target. */
export type CheckTarget = (method: string, rawTarget: string) => Target;

export interface BatchRules {
  readonly check: CheckTarget;
  readonly route: TargetRules;
  /** Default: those of every API. */
  readonly headers?: HeaderRules;
}

const FIELD_NAME = /^[!#$%&'*+.^`|~0-9A-Za-z-]+$/;
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
/** Header fields of one part. */
const MAX_FIELDS = 100;
/** Longest text of an id, a method, a URL or a header value, bytes as written. */
const MAX_TEXT = 32_768;

/**
 * Reads a batch and applies the route's rules to each part. The parts come back as the caller wrote them, byte for
 * byte. That is safe because nothing in them is left unread: a member that stands twice, or whose name is not exactly
 * one that Graph documents, is refused by name, so the API cannot believe another member than the one that was read.
 *
 * The reading throws a GatewayError: `request_malformed`, or `target_forbidden` for a part that the route refuses.
 */
export function* readBatch(bytes: Buffer, rules: BatchRules): Reading<readonly BatchPart[]> {
  const parts: BatchPart[] = [];
  const ids = new Set<string>();
  const enter = onlyMembers("The batch", ["requests"]);
  const readRequests = function* ({ name, valueAt }: MemberStart): Reading<number> {
    enter(name);
    if (!beginsArray(bytes, valueAt)) throw malformed("A batch needs requests.");
    return yield* readArray(bytes, valueAt, function* (at) {
      if (parts.length === MAX_PARTS) throw malformed(`A batch holds at most ${MAX_PARTS} requests.`);
      const { part, end } = yield* readPart(bytes, at, parts.length + 1, rules);
      if (ids.has(idKey(part.id))) {
        throw malformed(`Request ${parts.length + 1} of the batch repeats an id.`);
      }
      ids.add(idKey(part.id));
      parts.push(part);
      return end;
    });
  };
  try {
    const start = skipBlanks(bytes, 0);
    if (!beginsObject(bytes, start)) {
      expectEnd(bytes, yield* skipValue(bytes, start));
      throw malformed("A batch is an object with requests.");
    }
    expectEnd(bytes, yield* readObject(bytes, start, readRequests));
  } catch (cause) {
    throw cause instanceof JsonTextError ? unreadable(cause) : cause;
  }
  if (parts.length === 0) throw malformed("A batch needs requests.");
  return parts;
}

/**
 * Members of an object that the gateway knows: each at most once, and no other. The result takes the name of each
 * member that is read, and throws for one that is not known and for the second of one name.
 */
function onlyMembers(owner: string, known: readonly string[]): (name: string) => void {
  const seen = new Set<string>();
  return (name) => {
    const shown = /^[\w$.@-]{1,64}$/.test(name) ? `"${name}"` : "a member";
    if (!known.includes(name)) {
      const other = known.find((one) => one.toLowerCase() === name.toLowerCase());
      const hint = other === undefined ? "" : `; its name is "${other}"`;
      throw malformed(`${owner} holds ${shown}, which the gateway does not know${hint}.`, "batch_member");
    }
    if (seen.has(name)) throw malformed(`${owner} holds ${shown} twice.`, "batch_member");
    seen.add(name);
  };
}

const PART_MEMBERS = ["id", "method", "url", "headers", "body", "dependsOn"];

function* readPart(
  bytes: Buffer,
  start: number,
  number: number,
  rules: BatchRules,
): Reading<{ readonly part: BatchPart; readonly end: number }> {
  const where = `Request ${number} of the batch`;
  const wrong = (what: string) => malformed(`${where} has no usable ${what}.`);
  if (!beginsObject(bytes, start)) throw malformed(`${where} is no object.`);
  const enter = onlyMembers(where, PART_MEMBERS);
  const texts: { id?: string; method?: string; url?: string } = {};
  let dependsOn: readonly string[] = [];
  let dependsOnAt: Span | undefined;
  const end = yield* readObject(bytes, start, function* ({ name, valueAt }) {
    enter(name);
    if (name === "headers") return yield* readHeaders(bytes, valueAt, where, rules.headers);
    const valueEnd = yield* skipValue(bytes, valueAt);
    const value = { start: valueAt, end: valueEnd };
    if (name === "dependsOn") {
      dependsOn = readIds(bytes, value) ?? [];
      dependsOnAt = { start: valueAt - start, end: valueEnd - start };
    } else if (name !== "body") {
      if (!beginsString(bytes, valueAt) || valueEnd - valueAt > MAX_TEXT) throw wrong(name);
      texts[name as "id"] = readString(bytes, value);
    }
    return valueEnd;
  });
  const { id = "", method = "", url = "" } = texts;
  if (id === "" || id.length > 256) throw wrong("id");
  if (!/^[A-Z]+$/.test(method)) throw wrong("method");
  if (url === "") throw wrong("url");
  checkPart({ method, url }, `${where}: `, rules);
  return { part: { id, method, url, dependsOn, text: bytes.subarray(start, end), dependsOnAt }, end };
}

/** Fields that the gateway would strip from a request are refused here: in a batch they cannot be there by accident. */
function* readHeaders(
  bytes: Buffer,
  start: number,
  where: string,
  rules: HeaderRules = REQUEST_RULES,
): Reading<number> {
  if (!beginsObject(bytes, start)) {
    const end = yield* skipValue(bytes, start);
    if (textOf(bytes, { start, end }) === "null") return end;
    throw malformed(`${where} has no usable headers.`);
  }
  const names = new Set<string>();
  return yield* readObject(bytes, start, function* ({ name, valueAt }) {
    const end = yield* skipValue(bytes, valueAt);
    const isText = beginsString(bytes, valueAt);
    const value = { start: valueAt, end };
    const lower = name.toLowerCase();
    const isUsable =
      FIELD_NAME.test(name) &&
      end - valueAt <= MAX_TEXT &&
      names.size < MAX_FIELDS &&
      !names.has(lower) &&
      (isText ? FIELD_VALUE.test(readString(bytes, value)) : isNumber(bytes, value));
    if (!isUsable) throw malformed(`${where} has no usable headers.`);
    names.add(lower);
    // SDKs give each part an id of its own, which is no more than that.
    if (lower !== "client-request-id" && isDropped(rules, lower)) {
      throw forbidden(`${where} holds a header field that this route does not let through.`, "batch_header");
    }
    return end;
  });
}

function isNumber(bytes: Buffer, { start, end }: Span): boolean {
  return end - start < 32 && /^-?\d/.test(textOf(bytes, { start, end }));
}

/** A list of ids, or undefined for null. */
function readIds(bytes: Buffer, value: Span): readonly string[] | undefined {
  const unusable = () => malformed("A request of the batch has no usable dependsOn.");
  if (value.end - value.start > MAX_TEXT) throw unusable();
  const ids: unknown = JSON.parse(textOf(bytes, value));
  if (ids === null) return undefined;
  if (!Array.isArray(ids) || ids.some((id) => typeof id !== "string")) throw unusable();
  return ids;
}

/** The same decoding and the same rules as for a request by itself; see `compileTarget`. */
function checkPart(
  { method, url }: { readonly method: string; readonly url: string },
  prefix: string,
  { check, route }: BatchRules,
): void {
  // A blank in front would be cut off by some servers, and another URL would be left.
  if (/^\s|^(?:[a-z][a-z0-9+.-]*:|\/\/|\\)/i.test(url)) {
    throw forbidden(`${prefix}the URL must be relative.`, "batch_absolute_url");
  }
  const below = encodeUrl(url.startsWith("/") ? url : `/${url}`);
  if (below === undefined) throw malformed(`${prefix}the URL is no text.`);
  try {
    const target = check(method, (route.path === "/" ? "" : route.path) + below);
    if (isBatchTarget(target)) {
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

/**
 * Inside JSON a URL may hold blanks and letters beyond ASCII as they are, and Graph takes them. They are encoded for
 * the rules alone; the API gets the URL as it was written.
 */
function encodeUrl(url: string): string | undefined {
  if (/^[\x21-\x7f]*$/.test(url)) return url;
  try {
    return url.replace(/[ \u0080-\u{10ffff}]+/gu, encodeURIComponent);
  } catch {
    // Half a surrogate pair is no character.
    return undefined;
  }
}

function unreadable({ kind }: JsonTextError): GatewayError {
  if (kind === "syntax") return malformed("The batch is not JSON.");
  return malformed(`The batch nests values deeper than ${MAX_JSON_DEPTH} levels.`, "batch_depth");
}

function malformed(detail: string, reason = "batch"): GatewayError {
  return new GatewayError("request_malformed", { detail, reason });
}

function forbidden(detail: string, reason: string): GatewayError {
  return new GatewayError("target_forbidden", { detail, reason });
}
