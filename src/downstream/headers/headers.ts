/** Turns a caller's header fields into the downstream request's, and the downstream's into the caller's. */

import type { ServerResponse } from "node:http";
import { ConfigurationError, GatewayError } from "../../errors.ts";
import { writeCheckedHead } from "../../foundation/checked-head.ts";
import type { Secret } from "../../foundation/secret.ts";
import type {
  AnswerHeaders,
  DownstreamApiOptions,
  ForwardedHop,
  HeaderLines,
  HeaderRuleChanges,
  OwnFields,
} from "../contract.ts";
import {
  APPLICATION_FIELDS,
  FIXED_RULES,
  type HeaderRules,
  IDENTITY_RULES,
  REQUEST_RULES,
  RESPONSE_RULES,
  SINGLE_REQUEST_FIELDS,
} from "./header-rules.ts";

/** What the gateway itself says in a forwarded request. */
export interface GatewayFields {
  readonly token: Secret;
  /** Sent as `x-correlation-id`, and as `client-request-id` because Microsoft's APIs log that one. */
  readonly correlationId: string;
  /** Length of the body, bytes, when it is known and there is a body. */
  readonly contentLength: number | undefined;
  /** Who calls the gateway, where the API is to know. */
  readonly forwarded?: ForwardedHop | undefined;
  /**
   * Asks for an answer without content coding, whatever the caller takes. Decompressing would cost the gateway the
   * memory and time of every page, and the caller's connection is usually compressed further out.
   */
  readonly identityCoding?: boolean;
}

/** The gateway's pseudonym in `Via` (RFC 9110 §7.6.3): says what it is, not where. */
const VIA = "1.1 obo-gateway";

/**
 * Header fields of the downstream request. The caller's are stripped first and ours added after, so that nothing
 * the caller says, in `Connection` for instance, can remove or change one of ours.
 *
 * @throws {GatewayError} `request_malformed` when a field that may stand once stands twice.
 */
export function downstreamRequestHeaders(
  caller: HeaderLines,
  ours: GatewayFields,
  rules: HeaderRules = REQUEST_RULES,
): string[] {
  const named = namedInConnection(caller);
  // First of all: a connection takes it from there, for its characters need not be looked through again.
  const lines = ["authorization", ours.token.authorization()];
  let via: string[] | undefined;
  let singles: string[] | undefined;
  for (let index = 0; index + 1 < caller.length; index += 2) {
    const name = (caller[index] as string).toLowerCase();
    const value = caller[index + 1] as string;
    if (SINGLE_REQUEST_FIELDS.has(name)) {
      if (singles === undefined) singles = [name];
      else if (singles.includes(name)) throw duplicate();
      else singles.push(name);
    }
    if (name === "via" && !named.has(name)) {
      via ??= [];
      via.push(value);
    }
    // CGI and its heirs read `x_real_ip` as `x-real-ip`, so an underscore would walk past every rule below.
    if (named.has(name) || name.includes("_") || isDropped(rules, name)) continue;
    if (ours.identityCoding === true && name === "accept-encoding") continue;
    lines.push(name, value);
  }
  if (ours.identityCoding === true) lines.push("accept-encoding", "identity");
  lines.push(
    "via",
    via === undefined ? VIA : [...via, VIA].join(", "),
    "x-correlation-id",
    ours.correlationId,
    "client-request-id",
    ours.correlationId,
  );
  if (ours.forwarded !== undefined) lines.push(...forwardedFields(ours.forwarded));
  if (ours.contentLength !== undefined) lines.push("content-length", String(ours.contentLength));
  return lines;
}

/** RFC 7239, and the fields that came before it. */
function forwardedFields({ for: address, proto, host = "" }: ForwardedHop): string[] {
  const node = address.includes(":") ? `"[${address}]"` : address;
  // A `Host` may hold what a quoted string must not.
  const named = /^[\w.-]+(?::\d{1,5})?$/.test(host);
  return [
    "forwarded",
    `for=${node};proto=${proto}${named ? `;host="${host}"` : ""}`,
    "x-forwarded-for",
    address,
    "x-forwarded-proto",
    proto,
    ...(named ? ["x-forwarded-host", host] : []),
  ];
}

/** Header fields of the downstream's answer that the caller may see. */
export function callerResponseHeaders(
  status: number,
  answer: AnswerHeaders,
  rules: HeaderRules = RESPONSE_RULES,
): string[] {
  const lines: string[] = [];
  addResponseHeaders(lines, status, answer, { rules });
  return lines;
}

export interface ResponseHeaderOptions {
  /** Default: those of every API. */
  readonly rules?: HeaderRules | undefined;
  /** Names of fields that would not be true of what the caller gets. */
  readonly unlike?: ReadonlySet<string>;
  /** Names that the gateway fills in itself, but for `vary`. */
  readonly own?: ReadonlySet<string> | undefined;
}

/** Adds them to lines that are there already. */
export function addResponseHeaders(
  lines: string[],
  status: number,
  answer: AnswerHeaders,
  { rules = RESPONSE_RULES, unlike = NONE, own = NONE }: ResponseHeaderOptions,
): void {
  const named = connectionOptions(answer.connection);
  for (const name of Object.keys(answer)) {
    if (named.has(name) || unlike.has(name) || isDropped(rules, name)) continue;
    if (own.has(name) && name !== "vary") continue;
    // RFC 9110 §8.6: 204 never carries a length, and a server that sends one means nothing by it.
    if (status === 204 && name === "content-length") continue;
    const value = answer[name];
    if (typeof value === "string") lines.push(name, value);
    else for (const line of value ?? []) lines.push(name, line);
  }
}

/** Whether the rules keep a lower-case field name from passing. */
export function isDropped({ names, prefixes, allowed, only }: HeaderRules, name: string): boolean {
  if (allowed?.has(name) === true) return false;
  if (only !== undefined && !only.has(name)) return true;
  const candidates = byInitial(prefixes);
  const isNamed = (written: string) =>
    names.has(written) || candidates.get(written[0])?.some((prefix) => written.startsWith(prefix)) === true;
  // CGI and its heirs read every sign in a name as the same: `x.real.ip` would walk past the rule for `x-real-ip`.
  return isNamed(name) || (/[^a-z0-9-]/.test(name) && isNamed(name.replace(/[^a-z0-9-]/g, "-")));
}

const initials = new WeakMap<readonly string[], Map<string | undefined, string[]>>();

/** Prefixes by their first character: an API may answer with thousands of names. */
function byInitial(prefixes: readonly string[]): ReadonlyMap<string | undefined, readonly string[]> {
  let found = initials.get(prefixes);
  if (found !== undefined) return found;
  found = new Map();
  for (const prefix of prefixes) found.set(prefix[0], [...(found.get(prefix[0]) ?? []), prefix]);
  initials.set(prefixes, found);
  return found;
}

const NONE: ReadonlySet<string> = new Set();

function namedInConnection(lines: HeaderLines): ReadonlySet<string> {
  let named: Set<string> | undefined;
  for (let index = 0; index + 1 < lines.length; index += 2) {
    const name = lines[index] as string;
    if (name.length !== 10 || name.toLowerCase() !== "connection") continue;
    // Added to one set: a caller may send 200 such lines.
    for (const option of connectionOptions(lines[index + 1])) {
      named ??= new Set();
      named.add(option);
    }
  }
  return named ?? NONE;
}

function connectionOptions(value: string | readonly string[] | undefined): ReadonlySet<string> {
  // The two values of nearly every message name no field.
  if (value === undefined || value === "keep-alive" || value === "close") return NONE;
  const lines = typeof value === "string" ? value : value.join(",");
  return new Set(lines.split(",").map((option) => option.trim().toLowerCase()));
}

function duplicate(): GatewayError {
  return new GatewayError("request_malformed", {
    detail: "A header field that may stand once stands several times.",
    reason: "duplicate_header",
  });
}

interface ApiHeaderRules {
  readonly request: HeaderRules;
  readonly response: HeaderRules;
}

const compiled = new WeakMap<DownstreamApiOptions, ApiHeaderRules>();

/** Compiled at the first call for an API. @throws {ConfigurationError} for a field that no rule can open. */
export function headerRulesOf(api: DownstreamApiOptions): ApiHeaderRules {
  if (api.headers === undefined && api.actsAs !== "app") return DEFAULTS;
  let rules = compiled.get(api);
  if (rules === undefined) {
    const { name, headers } = api;
    const request = changed(REQUEST_RULES, headers?.request, `downstreamApis.${name}.headers.request`);
    rules = {
      request: api.actsAs === "app" ? forApplications(request) : request,
      response: changed(RESPONSE_RULES, headers?.response, `downstreamApis.${name}.headers.response`),
    };
    compiled.set(api, rules);
  }
  return rules;
}

const DEFAULTS: ApiHeaderRules = { request: REQUEST_RULES, response: RESPONSE_RULES };

/**
 * A route with `as: app` lends the application's rights to its callers, the right to act for any user often among
 * them. So it forwards listed fields alone, and no field that says who is calling, opened or not.
 */
function forApplications({ names, prefixes, allowed = new Set() }: HeaderRules): HeaderRules {
  const opened = [...allowed].filter((name) => !isDropped(IDENTITY_RULES, name));
  return { names, prefixes, allowed: new Set(opened), only: APPLICATION_FIELDS };
}

function changed(
  rules: HeaderRules,
  { allow = [], deny = [] }: HeaderRuleChanges = {},
  path: string,
): HeaderRules {
  const allowed = new Set(allow.map((name) => name.toLowerCase()));
  const denied = new Set(deny.map((name) => name.toLowerCase()));
  const faults = [...allowed]
    .filter((name) => isDropped(FIXED_RULES, name) || !/^[!#$%&'*+.^`|~0-9a-z-]+$/.test(name))
    .map((name) => ({ path: `${path}.allow`, problem: `"${name}" cannot be let through` }));
  if (faults.length > 0) throw new ConfigurationError(faults);
  return {
    names: new Set([...rules.names, ...denied]),
    prefixes: rules.prefixes,
    allowed: new Set([...allowed].filter((name) => !denied.has(name))),
  };
}

export interface ResponseHeadOptions {
  /** `WWW-Authenticate` of a 401, in place of the downstream's. Default: a bare `Bearer`. */
  readonly challenge?: string | undefined;
  /** The API's rules. Default: those of every API. */
  readonly rules?: HeaderRules;
  /** The body will not be the downstream's byte for byte, so nothing that measures those bytes is true of it. */
  readonly isRewritten?: boolean;
  /** Length of the body as the caller will see it, bytes, where all of it is at hand. */
  readonly bodyLength?: number | undefined;
  /** Written with the head, for an answer on which they have not been set. */
  readonly own?: OwnFields | undefined;
  /** Goes along with `own`. */
  readonly correlationId?: string;
}

/** Fields that state the length or a digest of the downstream's bytes (RFC 9110 §8.6, RFC 9530). */
const MEASURES: ReadonlySet<string> = new Set([
  "content-length",
  "content-md5",
  "digest",
  "content-digest",
  "repr-digest",
]);
const CONTENT_LENGTH: ReadonlySet<string> = new Set(["content-length"]);

/** Fields that are set on the response already win over the downstream's; `vary` is joined. */
export function writeResponseHead(
  outgoing: ServerResponse,
  status: number,
  answer: AnswerHeaders,
  options: ResponseHeadOptions = {},
): void {
  const { challenge = "Bearer", isRewritten = false, rules, bodyLength, own, correlationId = "" } = options;
  const lines = own === undefined ? [] : ["x-correlation-id", correlationId];
  const measured = bodyLength === undefined ? NONE : CONTENT_LENGTH;
  addResponseHeaders(lines, status, answer, {
    rules,
    unlike: isRewritten ? MEASURES : measured,
    own: own?.names,
  });
  if (bodyLength !== undefined) lines.push("content-length", String(bodyLength));
  // RFC 9110 §11.6.1: a 401 names a challenge, and the downstream's is for another audience.
  if (status === 401) lines.push("www-authenticate", challenge);
  const names = outgoing.getHeaderNames();
  if (names.length === 0) {
    writeCheckedHead(outgoing, status, own?.text ?? "", lines);
    return;
  }
  if (own !== undefined) lines.push(...own.lines);
  // What was set on the response stands: CORS, a connection that closes. Not left to `writeHead`, which would let
  // these lines win and, before Node 24, keep one line only of a field that has several.
  const set = new Set(names);
  for (let index = 0; index + 1 < lines.length; index += 2) {
    const name = lines[index] as string;
    // Each side's `vary` is true for its part of the answer.
    if (name === "vary" || !set.has(name)) outgoing.appendHeader(name, lines[index + 1] as string);
  }
  outgoing.writeHead(status);
}

/** Server-sent events (WHATWG HTML §9.2), which MCP uses, too. */
export function isEventStream({ "content-type": type }: AnswerHeaders): boolean {
  return typeof type === "string" && /^\s*text\/event-stream\s*(?:;|$)/i.test(type);
}
