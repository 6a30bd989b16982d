/** Reads JSON as text: checks it, finds where values begin and end, and builds no tree of what it only passes over. */

import { loopTurns } from "./turns.ts";

/** Bytes of a buffer, the end excluded. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** The text is not JSON, or nests deeper than anything that is meant to be read. */
export class JsonTextError extends Error {
  override readonly name = "JsonTextError";
  readonly kind: "syntax" | "depth";

  constructor(kind: JsonTextError["kind"]) {
    super(`not usable as JSON: ${kind}`);
    this.kind = kind;
  }
}

/**
 * A reading that pauses after every few hundred kilobytes, so that other requests get their turn: `inTurns` runs it.
 * The result of a value's reading is where the value ends.
 */
export type Reading<T> = Generator<void, T, void>;

/** Deepest nesting that is read. ASP.NET, behind most of Microsoft's APIs, stops at 32 or 64 itself. */
export const MAX_JSON_DEPTH = 128;

/** Bytes between two pauses: about a millisecond's work. */
const PAUSE_AFTER = 262_144;

/** Runs a reading and lets the work for others have its turn at each of its pauses. `owner`: see `Turns`. */
export async function inTurns<T>(reading: Reading<T>, owner: string | undefined): Promise<T> {
  for (;;) {
    const { done, value } = reading.next();
    if (done === true) return value;
    await loopTurns.pause(owner);
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OBJECT = 0x7b;
const OBJECT_END = 0x7d;
const ARRAY = 0x5b;
const ARRAY_END = 0x5d;

/** The first byte from `at` on that is no white space (RFC 8259 §2). */
export function skipBlanks(bytes: Uint8Array, at: number): number {
  let next = at;
  for (;;) {
    const byte = bytes[next];
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return next;
    next++;
  }
}

/** Checks one value of any kind and returns its end. No recursion, so no nesting can exhaust the stack. */
export function* skipValue(bytes: Uint8Array, from: number): Reading<number> {
  const open: number[] = [];
  let pauseAt = from + PAUSE_AFTER;
  let at = skipBlanks(bytes, from);
  for (;;) {
    at = enterValue(bytes, at, open);
    at = leaveValues(bytes, at, open);
    if (open.length === 0) return at;
    if (at >= pauseAt) {
      yield;
      pauseAt = at + PAUSE_AFTER;
    }
  }
}

/** Goes into objects and arrays up to the first scalar or empty one, and returns the end of that. */
function enterValue(bytes: Uint8Array, from: number, open: number[]): number {
  let at = from;
  for (;;) {
    const kind = bytes[at];
    if (kind !== OBJECT && kind !== ARRAY) return skipScalar(bytes, at);
    if (open.length === MAX_JSON_DEPTH) throw new JsonTextError("depth");
    at = skipBlanks(bytes, at + 1);
    const end = kind === OBJECT ? OBJECT_END : ARRAY_END;
    if (bytes[at] === end) return at + 1;
    open.push(end);
    if (kind === OBJECT) at = skipName(bytes, at);
  }
}

/** Goes out of what ends here, and returns where the next value begins, or the end of the outermost one. */
function leaveValues(bytes: Uint8Array, from: number, open: number[]): number {
  let at = from;
  while (open.length > 0) {
    at = skipBlanks(bytes, at);
    const end = open[open.length - 1];
    if (bytes[at] === COMMA) {
      at = skipBlanks(bytes, at + 1);
      return end === OBJECT_END ? skipName(bytes, at) : at;
    }
    if (bytes[at] !== end) throw new JsonTextError("syntax");
    open.pop();
    at++;
  }
  return at;
}

/** A member's name and colon; returns where its value begins. */
function skipName(bytes: Uint8Array, at: number): number {
  const end = skipString(bytes, at);
  return skipBlanks(bytes, expectByte(bytes, skipBlanks(bytes, end), COLON));
}

/** A member of an object: its name, where it begins, and where its value begins. */
export interface MemberStart {
  readonly name: string;
  readonly start: number;
  readonly valueAt: number;
}

/** Reads an object; `member` reads each value and returns its end. Returns the end of the object. */
export function* readObject(
  bytes: Uint8Array,
  from: number,
  member: (member: MemberStart) => Reading<number>,
): Reading<number> {
  let at = skipBlanks(bytes, expectByte(bytes, from, OBJECT));
  if (bytes[at] === OBJECT_END) return at + 1;
  let pauseAt = from + PAUSE_AFTER;
  for (;;) {
    const start = at;
    const nameEnd = skipString(bytes, at);
    const colon = skipBlanks(bytes, nameEnd);
    const valueAt = skipBlanks(bytes, expectByte(bytes, colon, COLON));
    at = skipBlanks(
      bytes,
      yield* member({ name: readString(bytes, { start, end: nameEnd }), start, valueAt }),
    );
    if (bytes[at] === OBJECT_END) return at + 1;
    at = skipBlanks(bytes, expectByte(bytes, at, COMMA));
    if (at >= pauseAt) {
      yield;
      pauseAt = at + PAUSE_AFTER;
    }
  }
}

/** Reads an array; `item` reads each value and returns its end. Returns the end of the array. */
export function* readArray(
  bytes: Uint8Array,
  from: number,
  item: (at: number) => Reading<number>,
): Reading<number> {
  let at = skipBlanks(bytes, expectByte(bytes, from, ARRAY));
  if (bytes[at] === ARRAY_END) return at + 1;
  let pauseAt = from + PAUSE_AFTER;
  for (;;) {
    at = skipBlanks(bytes, yield* item(at));
    if (bytes[at] === ARRAY_END) return at + 1;
    at = skipBlanks(bytes, expectByte(bytes, at, COMMA));
    if (at >= pauseAt) {
      yield;
      pauseAt = at + PAUSE_AFTER;
    }
  }
}

/** Whether an object begins here. */
export const beginsObject = (bytes: Uint8Array, at: number) => bytes[at] === OBJECT;
/** Whether an array begins here. */
export const beginsArray = (bytes: Uint8Array, at: number) => bytes[at] === ARRAY;
/** Whether a string begins here. */
export const beginsString = (bytes: Uint8Array, at: number) => bytes[at] === QUOTE;

/** A string that was checked, escapes resolved. */
export function readString(bytes: Uint8Array, { start, end }: Span): string {
  return JSON.parse(textOf(bytes, { start, end })) as string;
}

/** The text of a part, as it is written. */
export function textOf(bytes: Uint8Array, { start, end }: Span): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("utf8");
}

/** After the outermost value nothing but white space may follow. */
export function expectEnd(bytes: Uint8Array, at: number): void {
  if (skipBlanks(bytes, at) !== bytes.length) throw new JsonTextError("syntax");
}

function expectByte(bytes: Uint8Array, at: number, byte: number): number {
  if (bytes[at] !== byte) throw new JsonTextError("syntax");
  return at + 1;
}

const ESCAPES = new Set([...'"\\/bfnrt'].map((character) => character.charCodeAt(0)));

function skipString(bytes: Uint8Array, from: number): number {
  let at = expectByte(bytes, from, QUOTE);
  for (;;) {
    const byte = bytes[at];
    // Past the end `byte` is undefined, which is no control character: the comparison is written to be false then.
    if (byte === undefined || byte < 0x20) throw new JsonTextError("syntax");
    if (byte === QUOTE) return at + 1;
    at = byte === BACKSLASH ? skipEscape(bytes, at + 1) : at + 1;
  }
}

function skipEscape(bytes: Uint8Array, at: number): number {
  const byte = bytes[at] ?? 0;
  if (ESCAPES.has(byte)) return at + 1;
  if (byte !== 0x75) throw new JsonTextError("syntax");
  for (let digit = 1; digit <= 4; digit++) {
    if (!isHexDigit(bytes[at + digit] ?? 0)) throw new JsonTextError("syntax");
  }
  return at + 5;
}

function isHexDigit(byte: number): boolean {
  return isDigit(byte) || (byte >= 0x41 && byte <= 0x46) || (byte >= 0x61 && byte <= 0x66);
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39;
}

const LITERALS = ["true", "false", "null"].map((text) => Buffer.from(text));

function skipScalar(bytes: Uint8Array, at: number): number {
  const byte = bytes[at];
  if (byte === QUOTE) return skipString(bytes, at);
  if (byte === 0x2d || isDigit(byte)) return skipNumber(bytes, at);
  const literal = LITERALS.find((text) => text.every((expected, index) => bytes[at + index] === expected));
  if (literal === undefined) throw new JsonTextError("syntax");
  return at + literal.length;
}

/** RFC 8259 §6: no leading zeros, digits on both sides of the point. */
function skipNumber(bytes: Uint8Array, from: number): number {
  let at = bytes[from] === 0x2d ? from + 1 : from;
  at = bytes[at] === 0x30 ? at + 1 : skipDigits(bytes, at);
  if (bytes[at] === 0x2e) at = skipDigits(bytes, at + 1);
  if (bytes[at] === 0x65 || bytes[at] === 0x45) {
    const sign = bytes[at + 1];
    at = skipDigits(bytes, sign === 0x2b || sign === 0x2d ? at + 2 : at + 1);
  }
  return at;
}

function skipDigits(bytes: Uint8Array, from: number): number {
  let at = from;
  while (isDigit(bytes[at])) at++;
  if (at === from) throw new JsonTextError("syntax");
  return at;
}
