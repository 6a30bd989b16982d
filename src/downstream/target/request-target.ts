/** Reads a caller's request-target with one canonical decoding, and refuses whatever two parsers could read in two ways. */

import { GatewayError } from "../../errors.ts";

/** A request-target that means the same to every server that reads it. */
export interface RequestTarget {
  /** Percent-decoded segments, without the leading empty one: `/a%20b/c` is `["a b", "c"]`, `/` is `[""]`. */
  readonly segments: readonly string[];
  /** The same segments as they were received. This is what is forwarded: encoding may carry meaning (RFC 3986 §2.2). */
  readonly rawSegments: readonly string[];
  /** From the first `?` on, or empty; byte for byte as received. */
  readonly query: string;
}

/** Bytes. RFC 9110 §4.1 asks for at least 8000; opaque paging links of large APIs come near that. */
const MAX_TARGET = 16_384;
const MAX_SEGMENTS = 256;

/** Bytes that RFC 3986 keeps out of a path and WHATWG's URL would encode, or, in the case of `\`, read as `/`. */
const NOT_IN_PATH = new Set([...'"<>\\^`{}'].map((character) => character.charCodeAt(0)));

/**
 * Takes a request-target in origin-form (RFC 9112 §3.2.1) apart.
 *
 * @throws {GatewayError} `request_malformed` when it is not origin-form, not plain ASCII, longer than 16 KiB, or
 * encoded so that it could be read in two ways (`%2F`, `%5C`, a control character, `%25` before two hex digits);
 * `target_forbidden` for empty and dot segments, however they are spelt.
 */
export function readRequestTarget(raw: string): RequestTarget {
  // Also turns away the absolute, authority and asterisk forms: none of them begins with a slash.
  if (raw.charCodeAt(0) !== SLASH) throw malformed("not_origin_form");
  if (raw.length > MAX_TARGET) throw malformed("too_long");
  const pathEnd = checkBytes(raw);
  const rawSegments = raw.slice(1, pathEnd).split("/");
  if (rawSegments.length > MAX_SEGMENTS) throw malformed("too_long");
  const last = rawSegments.length - 1;
  const segments = rawSegments.map((segment, index) => {
    // Only a trailing slash may leave a segment empty. Inside, servers disagree on whether `//` is one slash.
    if (segment === "" && index < last) throw forbidden("empty_segment");
    return decodeSegment(segment);
  });
  return { segments, rawSegments, query: raw.slice(pathEnd) };
}

const SLASH = 0x2f;

/** Checks every byte once and returns where the path ends. */
function checkBytes(raw: string): number {
  let pathEnd = raw.length;
  for (let index = 0; index < raw.length; index++) {
    const code = raw.charCodeAt(index);
    if (code <= 0x20 || code >= 0x7f) throw malformed("illegal_character");
    // A fragment never travels in HTTP (RFC 9110 §7.1), so who sends one hopes for a lenient parser.
    if (code === 0x23) throw malformed("fragment");
    if (pathEnd < raw.length) continue;
    if (code === 0x3f) pathEnd = index;
    else if (NOT_IN_PATH.has(code)) throw malformed("illegal_character");
  }
  return pathEnd;
}

function decodeSegment(raw: string): string {
  const decoded = raw.includes("%") ? percentDecode(raw) : raw;
  if (isDotSegment(decoded)) throw forbidden("dot_segment");
  return decoded;
}

function percentDecode(raw: string): string {
  const decoded = decodeUtf8(raw);
  for (let index = 0; index < decoded.length; index++) {
    const code = decoded.charCodeAt(index);
    // C0, DEL and C1 controls: CR and LF split headers, NUL ends strings, none belongs to a name.
    if (code < 0x20 || (code >= 0x7f && code <= 0x9f)) throw malformed("encoded_control");
    if (code === SLASH || code === 0x5c) throw malformed("encoded_separator");
  }
  // Whatever decodes once more would mean something else to a server that decodes twice.
  if (/%[0-9a-f]{2}/i.test(decoded)) throw malformed("double_encoding");
  return decoded;
}

function decodeUtf8(raw: string): string {
  try {
    // Refuses bare `%`, `%u002e`, and overlong or broken UTF-8.
    return decodeURIComponent(raw);
  } catch (cause) {
    throw malformed("percent_encoding", cause);
  }
}

/**
 * Whether some server would take the segment for `.` or `..`: path parameters (`..;x`) are cut off by servlet
 * containers, trailing dots and blanks by Windows, and full-width dots and slashes become plain ones where
 * names are normalised.
 */
function isDotSegment(segment: string): boolean {
  if (!MAY_HOLD_DOTS.test(segment)) return false;
  return segment
    .normalize("NFKC")
    .split(/[/\\]/)
    .some((part) => DOTS_ONLY.test(part));
}

/** Cheap first look: a dot at either end, or anything beyond ASCII. */
const MAY_HOLD_DOTS = /^[. ]|[^ -~]/;
const DOTS_ONLY = /^ *\.[. ]*(?:;|$)/;

function malformed(reason: string, cause?: unknown): GatewayError {
  return new GatewayError("request_malformed", {
    detail: "The request target is not an unambiguous path and query.",
    reason,
    cause,
  });
}

function forbidden(reason: string): GatewayError {
  return new GatewayError("target_forbidden", {
    detail: "The request target holds an empty segment or a dot segment.",
    reason,
  });
}
