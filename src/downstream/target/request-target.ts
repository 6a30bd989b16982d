/** Reads a caller's request-target with one canonical decoding, and refuses a target that two parsers could read in two ways. */

import { GatewayError } from "../../errors.ts";

/** A request-target that means the same to every server that reads it. */
export interface RequestTarget {
  /** Percent-decoded segments, without the leading empty one: `/a%20b/c` is `["a b", "c"]`, `/` is `[""]`. */
  readonly segments: readonly string[];
  /** The same segments as they were received. This is what is forwarded: encoding may carry meaning (RFC 3986 §2.2). */
  readonly rawSegments: readonly string[];
  /** Indexes of segments that hold an encoded separator or decode twice; none unless these may pass. */
  readonly opaque: ReadonlySet<number>;
  /** From the first `?` on, or empty; byte for byte as received. */
  readonly query: string;
}

/** Bytes. RFC 9110 §4.1 asks for at least 8000; opaque paging links of large APIs come near that. */
const MAX_TARGET = 16_384;
const MAX_SEGMENTS = 256;

/** Bytes that RFC 3986 keeps out of a path and WHATWG's URL would encode, or, in the case of `\`, read as `/`. */
const NOT_IN_PATH = new Set([...'"<>\\^`{}'].map((character) => character.charCodeAt(0)));

/** Whether encoded separators and double encodings are refused, or pass in segments that are marked as opaque. */
export type EncodedSlashes = "refuse" | "pass";

/**
 * Takes a request-target in origin-form (RFC 9112 §3.2.1) apart.
 *
 * An encoded slash is data to one server and a separator to the next, and so is an encoding that decodes once more.
 * APIs that need them exist (SharePoint's `decodedUrl='%2Fsites%2Fa'`), so they may be let through; dot segments that
 * any reading would find in them, and control characters, are refused all the same.
 *
 * @throws {GatewayError} `request_malformed` when it is not origin-form, not plain ASCII, longer than 16 KiB, or
 * encoded so that it could be read in two ways (a control character; `%2F`, `%5C`, `%25` before two hex digits, unless
 * these may pass);
 * `target_forbidden` for empty and dot segments, however they are spelt.
 */
export function readRequestTarget(raw: string, encodedSlashes: EncodedSlashes): RequestTarget {
  // Also turns away the absolute, authority and asterisk forms: none of them begins with a slash.
  if (raw.charCodeAt(0) !== SLASH) throw malformed("not_origin_form");
  if (raw.length > MAX_TARGET) throw malformed("too_long");
  const pathEnd = checkBytes(raw);
  const rawSegments = raw.slice(1, pathEnd).split("/");
  if (rawSegments.length > MAX_SEGMENTS) throw malformed("too_long");
  const last = rawSegments.length - 1;
  const opaque = new Set<number>();
  const segments = rawSegments.map((segment, index) => {
    // Only a trailing slash may leave a segment empty. Inside, servers disagree on whether `//` is one slash.
    if (segment === "" && index < last) throw forbidden("empty_segment");
    if (!segment.includes("%")) return checkDots(segment);
    const decoded = decodeOnce(segment);
    const reason = ambiguity(decoded);
    if (reason === undefined) return checkDots(decoded);
    if (encodedSlashes === "refuse") throw malformed(reason);
    if (furtherReadings(decoded).some(holdsDotSegment)) throw forbidden("dot_segment");
    opaque.add(index);
    return decoded;
  });
  return { segments, rawSegments, opaque, query: raw.slice(pathEnd) };
}

/**
 * A path as the most lenient of servers compares it: decoded to the end, every separator and parenthesis a border, no
 * case, no path parameters, no trailing dots.
 */
export function lenientSegments({ segments }: Pick<RequestTarget, "segments">): readonly string[] {
  return segments
    .flatMap((segment) => (furtherReadings(segment).at(-1) ?? segment).normalize("NFKC").split(SEPARATORS))
    .map((segment) =>
      segment
        .toLowerCase()
        .replace(/;.*$/, "")
        .replace(/^ +|[. ]+$/g, ""),
    );
}

/** Separators, and parentheses with the quotes that belong to them: `a/b`, `a\\b`, `a('b')`. */
const SEPARATORS = /[/\\]|\('?|'?\)$/;

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

function checkDots(segment: string): string {
  if (isDotSegment(segment)) throw forbidden("dot_segment");
  return segment;
}

function decodeOnce(raw: string): string {
  const decoded = decodeUtf8(raw);
  for (let index = 0; index < decoded.length; index++) {
    const code = decoded.charCodeAt(index);
    // C0, DEL and C1 controls: CR and LF split headers, NUL ends strings, none belongs to a name.
    if (code < 0x20 || (code >= 0x7f && code <= 0x9f)) throw malformed("encoded_control");
  }
  return decoded;
}

/** Why servers could read a decoded segment in two ways. */
function ambiguity(decoded: string): string | undefined {
  if (/[/\\]/.test(decoded)) return "encoded_separator";
  // Whatever decodes once more would mean something else to a server that decodes twice.
  return ENCODED.test(decoded) ? "double_encoding" : undefined;
}

const ENCODED = /%[0-9a-f]{2}/i;
/** Encodings inside encodings; one more is refused. */
const MAX_DECODINGS = 4;

/** A decoded segment as servers read it that decode again and again. */
function furtherReadings(decoded: string): readonly string[] {
  const readings = [decoded];
  for (let reading = decoded; ENCODED.test(reading); readings.push(reading)) {
    if (readings.length > MAX_DECODINGS) throw malformed("double_encoding");
    reading = decodeOnce(reading);
  }
  return readings;
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
  return MAY_HOLD_DOTS.test(segment) && holdsDotSegment(segment);
}

/** The same for text with separators in it, where any part may be a dot segment. */
function holdsDotSegment(text: string): boolean {
  return text
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
