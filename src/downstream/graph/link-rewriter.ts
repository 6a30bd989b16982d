/** Changes OData links in a JSON document while it streams by, holding back no more than one link. */

import type { BodyRewriter } from "../contract.ts";

/** How links are changed. */
export interface LinkChange {
  /** The usual beginning of a link that leads to the API, and what stands there instead; both end in a slash. */
  readonly from: string;
  readonly to: string;
  /** Changes a link that is written in another way, or returns it as it is. */
  readonly rewrite: (link: string) => string;
}

/**
 * Ends of member names, their closing quote included. No parser is needed to find one: inside a string a quote is
 * escaped, so these bytes are always the end of a string, and a string before a colon is a member's name.
 */
const NEXT_LINK = Buffer.from('@odata.nextLink"');
const DELTA_LINK = Buffer.from('@odata.deltaLink"');
/** Up to here the names are the same; the byte that follows tells them apart. */
const SHARED = "@odata.".length;
/** The names as words. The other one is a byte longer, so that its words begin behind its sign. */
const NEXT_LINK_WORDS = [0, 4, 8, 12].map((at) => NEXT_LINK.readInt32LE(at));
const DELTA_LINK_WORDS = [1, 5, 9, 13].map((at) => DELTA_LINK.readInt32LE(at));
const FOUR_AT_SIGNS = 0x40404040;

/** A longer value is no link that the gateway would take back; bytes, quotes included. */
const MAX_LINK = 16_384;

const AT_SIGN = 0x40;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const SLASH = 0x2f;
const DOT = 0x2e;
const PERCENT = 0x25;
const QUESTION_MARK = 0x3f;
const LETTER_D = 0x64;
const LETTER_O = 0x6f;

/** Places in the document: before a name or inside one, behind it, behind its colon, inside a link. */
const NAME = 0;
const NAME_READ = 1;
const COLON_READ = 2;
const LINK = 3;

/** How far a document has been read: all that is kept from one chunk to the next. */
interface Scan {
  place: typeof NAME | typeof NAME_READ | typeof COLON_READ | typeof LINK;
  name: Buffer;
  /** Bytes of the name that have come. */
  matched: number;
  /** Inside a link: the last byte was a backslash that is not escaped itself. */
  isEscaped: boolean;
  /** The beginning of a link that goes on in the next chunk, in the first `heldLength` bytes. */
  held: Piece;
  heldLength: number;
}

/**
 * Bytes, and the same as words of four, little end first. Comparing, skipping and copying four bytes at a time takes a third
 * of the time; a view reads a word wherever it begins.
 */
interface Piece {
  readonly bytes: Buffer;
  readonly words: DataView;
}

function pieceOf(bytes: Buffer): Piece {
  return { bytes, words: new DataView(bytes.buffer, bytes.byteOffset, bytes.length) };
}

/**
 * Rewrites the values of `@odata.nextLink`, `@odata.deltaLink` and `name@odata.nextLink`, at any depth. Every other
 * byte passes as it came: numbers keep their spelling, members their order.
 *
 * One pass: the place is kept from one chunk to the next, so a byte is looked at once, or a few times where it belongs
 * to a name or a link, in whatever pieces the document comes and whatever it holds. Names whose letters are written
 * as escapes (`\u0040odata.nextLink`) are not found; no API writes them.
 */
export function createLinkRewriter(change: LinkChange): BodyRewriter {
  const scan: Scan = {
    place: NAME,
    name: NEXT_LINK,
    matched: 0,
    isEscaped: false,
    held: EMPTY,
    heldLength: 0,
  };
  const links = readLinkChange(change);
  return {
    push: (chunk) => rewriteChunk(scan, pieceOf(chunk), links),
    flush: () => release(scan),
  };
}

function rewriteChunk(scan: Scan, piece: Piece, links: Links): Buffer {
  const chunk = piece.bytes;
  let output: Output | undefined;
  /** First byte of the chunk that has not been passed on. */
  let kept = 0;
  /** Where a link begins, as far as it is in this chunk. */
  let linkAt = 0;
  let at = 0;
  const outputUpTo = (end: number): Output => {
    output ??= createOutput(chunk.length + 1024);
    output.add(piece, kept, end);
    kept = end;
    return output;
  };

  while (at < chunk.length) {
    if (scan.place !== LINK) {
      at = findLink(scan, piece, at);
      linkAt = at - 1;
      continue;
    }
    const isHeld = scan.heldLength > 0;
    const begins = isHeld ? 0 : linkAt;
    const limit = Math.min(chunk.length, begins + MAX_LINK - scan.heldLength);
    const isUnread = !isHeld && at === linkAt + 1;
    const pathAt = isUnread ? behindBase(links, piece, linkAt) : 0;
    const plainEnd = pathAt > 0 ? endOfPlainPath(chunk, pathAt, limit) : 0;
    if (plainEnd > 0) {
      outputUpTo(linkAt).add(links.instead, 0, links.instead.bytes.length);
      // The path goes out together with what follows it, up to the next link.
      kept = pathAt;
      at = plainEnd;
      leaveLink(scan, undefined);
      continue;
    }
    const end = endOfLink(scan, chunk, at, limit);
    if (end === undefined) {
      at = limit;
      // Too long: it passes as it is. What follows is still inside the string, where no name can be.
      if (limit < chunk.length) leaveLink(scan, isHeld ? outputUpTo(0) : undefined);
      continue;
    }
    at = end;
    if (isHeld) {
      hold(scan, chunk, 0, end);
      const out = outputUpTo(0);
      if (addChanged(links, scan.held, scan.heldLength, out)) scan.heldLength = 0;
      leaveLink(scan, out);
      kept = end;
    } else {
      const changed = changedLink(links, chunk, linkAt, end);
      if (changed !== undefined) {
        outputUpTo(linkAt).add(changed, 0, changed.bytes.length);
        kept = end;
      }
      leaveLink(scan, undefined);
    }
  }
  if (scan.place === LINK) {
    const begins = scan.heldLength > 0 ? 0 : linkAt;
    hold(scan, chunk, begins, chunk.length);
    return outputUpTo(begins).taken();
  }
  return output === undefined ? chunk : outputUpTo(chunk.length).taken();
}

/** Goes on until behind the quote with which a link begins, or to the end of the chunk. */
function findLink(scan: Scan, piece: Piece, from: number): number {
  const chunk = piece.bytes;
  const { length } = chunk;
  let { place, name, matched } = scan;
  let at = from;
  while (at < length && place !== LINK) {
    const byte = chunk[at];
    if (place === NAME) {
      if (matched === 0) {
        at = findName(piece, at);
        if (at === length) continue;
        const whole = at + DELTA_LINK.length > length ? 0 : wholeName(piece, at);
        if (whole > 0) place = NAME_READ;
        else matched = 1;
        at += Math.max(1, whole);
        continue;
      }
      if (matched === SHARED) name = byte === LETTER_D ? DELTA_LINK : NEXT_LINK;
      if (byte !== name[matched]) {
        // The byte may begin a name itself, so the scan goes on with it.
        matched = 0;
        continue;
      }
      if (++matched === name.length) place = NAME_READ;
      at++;
    } else if (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) {
      at++;
    } else if (place === NAME_READ && byte === COLON) {
      place = COLON_READ;
      at++;
    } else if (place === COLON_READ && byte === QUOTE) {
      place = LINK;
      at++;
    } else {
      place = NAME;
      matched = 0;
    }
  }
  scan.place = place;
  scan.name = name;
  scan.matched = matched;
  return Math.min(at, length);
}

/** The next byte with which a name may begin: a whole one does, or the chunk ends too soon to tell. */
function findName(piece: Piece, from: number): number {
  const { bytes, words } = piece;
  const { length } = bytes;
  /** Behind the last byte with which a name can begin that is whole here. */
  const wholeUpTo = length - DELTA_LINK.length + 1;
  let at = from;
  while (at < wholeUpTo) {
    at = skipWithoutSign(words, at, wholeUpTo);
    for (const end = Math.min(at + 4, wholeUpTo); at < end; at++) {
      if (bytes[at] === AT_SIGN && bytes[at + 1] === LETTER_O && wholeName(piece, at) > 0) return at;
    }
  }
  for (; at < length; at++) {
    if (bytes[at] === AT_SIGN && (bytes[at + 1] ?? LETTER_O) === LETTER_O) return at;
  }
  return length;
}

/** Goes on, four bytes at a time, to four bytes with an `@` among them. */
function skipWithoutSign(words: DataView, from: number, limit: number): number {
  for (let at = from; at < limit; at += 4) {
    const differing = words.getInt32(at, true) ^ FOUR_AT_SIGNS;
    // A byte that is zero has its highest bit set by the subtraction, and not before it.
    if (((differing - 0x01010101) & ~differing & 0x80808080) !== 0) return at;
  }
  return limit;
}

/** Length of the name that stands here, or 0. Its last bytes are looked at first: most texts differ there. */
function wholeName({ words }: Piece, at: number): number {
  if (words.getInt32(at + 12, true) === NEXT_LINK_WORDS[3]) {
    const isName =
      words.getInt32(at + 8, true) === NEXT_LINK_WORDS[2] &&
      words.getInt32(at + 4, true) === NEXT_LINK_WORDS[1] &&
      words.getInt32(at, true) === NEXT_LINK_WORDS[0];
    return isName ? NEXT_LINK.length : 0;
  }
  const isName =
    words.getInt32(at + 13, true) === DELTA_LINK_WORDS[3] &&
    words.getInt32(at + 9, true) === DELTA_LINK_WORDS[2] &&
    words.getInt32(at + 5, true) === DELTA_LINK_WORDS[1] &&
    words.getInt32(at + 1, true) === DELTA_LINK_WORDS[0];
  return isName ? DELTA_LINK.length : 0;
}

/** Behind the link's closing quote, or undefined when that is not before `limit`. */
function endOfLink(scan: Scan, chunk: Buffer, from: number, limit: number): number | undefined {
  let { isEscaped } = scan;
  for (let at = from; at < limit; at++) {
    const byte = chunk[at];
    if (isEscaped) isEscaped = false;
    else if (byte === BACKSLASH) isEscaped = true;
    else if (byte === QUOTE) return at + 1;
  }
  scan.isEscaped = isEscaped;
  return undefined;
}

/** Goes on behind a link; what is still held of it passes as it is. */
function leaveLink(scan: Scan, output: Output | undefined): void {
  output?.add(scan.held, 0, scan.heldLength);
  scan.heldLength = 0;
  scan.isEscaped = false;
  scan.place = NAME;
  scan.matched = 0;
}

function hold(scan: Scan, bytes: Buffer, start: number, end: number): void {
  if (scan.held === EMPTY) scan.held = pieceOf(Buffer.allocUnsafe(MAX_LINK));
  bytes.copy(scan.held.bytes, scan.heldLength, start, end);
  scan.heldLength += end - start;
}

function release(scan: Scan): Buffer {
  const bytes = Buffer.from(scan.held.bytes.subarray(0, scan.heldLength));
  leaveLink(scan, undefined);
  return bytes;
}

const EMPTY = pieceOf(Buffer.alloc(0));

/** A `LinkChange` as bytes. */
interface Links {
  /** The quote and the usual beginning of a link. */
  readonly usual: Piece;
  readonly instead: Piece;
  /** The quote and the origin of that beginning. */
  readonly origin: Buffer;
  readonly rewrite: LinkChange["rewrite"];
}

function readLinkChange({ from, to, rewrite }: LinkChange): Links {
  const beginning = (link: string) => pieceOf(Buffer.from(JSON.stringify(link).slice(0, -1)));
  const origin = Buffer.from(`"${new URL(from).origin}`);
  return { usual: beginning(from), instead: beginning(to), origin, rewrite };
}

/** The first byte behind the usual beginning of a link, whose slashes may be escaped; 0 where it begins otherwise. */
function behindBase({ usual }: Links, { bytes, words }: Piece, start: number): number {
  const { length } = usual.bytes;
  if (start + length > bytes.length) return 0;
  let index = 0;
  while (index + 4 <= length && words.getInt32(start + index, true) === usual.words.getInt32(index, true))
    index += 4;
  let at = start + index;
  for (; index < length; index++, at++) {
    const expected = usual.bytes[index];
    if (expected === SLASH && bytes[at] === BACKSLASH) at++;
    if (bytes[at] !== expected) return 0;
  }
  return at;
}

/**
 * Behind the closing quote of a path; 0 where that is not before `limit`, or where a URL parser would leave the base: with
 * a dot segment, or an escape but a slash's.
 */
function endOfPlainPath(bytes: Buffer, from: number, limit: number): number {
  let isQuery = false;
  for (let at = from; at < limit; at++) {
    const byte = bytes[at];
    if (byte === QUOTE) return at + 1;
    if (byte === BACKSLASH && bytes[at + 1] !== SLASH) return 0;
    if (byte === QUESTION_MARK) isQuery = true;
    else if (!isQuery && (byte === DOT || byte === PERCENT) && bytes[at - 1] === SLASH) return 0;
  }
  return 0;
}

/** Adds what stands in the place of a link that fills the first bytes of a piece; false leaves it as it is. */
function addChanged(links: Links, held: Piece, length: number, output: Output): boolean {
  const pathAt = behindBase(links, held, 0);
  if (pathAt > 0 && endOfPlainPath(held.bytes, pathAt, length) === length) {
    output.add(links.instead, 0, links.instead.bytes.length);
    output.add(held, pathAt, length);
    return true;
  }
  const changed = changedLink(links, held.bytes, 0, length);
  if (changed === undefined) return false;
  output.add(changed, 0, changed.bytes.length);
  return true;
}

/** What stands in the place of a link of which a URL parser has to be asked; undefined leaves it as it is. */
function changedLink(
  { origin, rewrite }: Links,
  bytes: Buffer,
  start: number,
  end: number,
): Piece | undefined {
  if (!mayLeadTo(origin, bytes, start)) return undefined;
  const changed = rewriteString(bytes.toString("utf8", start, end), rewrite);
  return changed && pieceOf(changed);
}

/** Whether a link can lead to an origin: its letters in any case, its slashes escaped or not. Much cheaper than a parser. */
function mayLeadTo(origin: Buffer, bytes: Buffer, start: number): boolean {
  let at = start;
  for (let index = 0; index < origin.length; index++) {
    if (bytes[at] === BACKSLASH) at++;
    const byte = bytes[at++] ?? 0;
    const isCapital = byte >= 0x41 && byte <= 0x5a;
    if ((isCapital ? byte + 0x20 : byte) !== origin[index]) return false;
  }
  return true;
}

/** A JSON string with its quotes, changed; undefined when it stays as it is. */
function rewriteString(written: string, rewrite: (link: string) => string): Buffer | undefined {
  try {
    const link: unknown = JSON.parse(written);
    const changed = typeof link === "string" ? rewrite(link) : link;
    return changed === link ? undefined : Buffer.from(JSON.stringify(changed));
  } catch {
    // Not JSON after all, so it passes as it came.
    return undefined;
  }
}

/** Bytes put together piece by piece: thousands of small buffers would cost more than the scan. */
interface Output {
  add(piece: Piece, start: number, end: number): void;
  taken(): Buffer;
}

/** Pieces up to here are copied by words: a call into the engine costs more. */
const SHORT = 128;

function createOutput(expected: number): Output {
  let target = pieceOf(Buffer.allocUnsafe(expected));
  let length = 0;
  return {
    add(piece, start, end) {
      const needed = length + end - start;
      if (needed > target.bytes.length) {
        const larger = Buffer.allocUnsafe(Math.max(needed, 2 * target.bytes.length));
        target.bytes.copy(larger, 0, 0, length);
        target = pieceOf(larger);
      }
      if (end - start > SHORT) piece.bytes.copy(target.bytes, length, start, end);
      else copyByWords(piece, start, end, target, length);
      length = needed;
    },
    taken: () => target.bytes.subarray(0, length),
  };
}

function copyByWords(piece: Piece, start: number, end: number, target: Piece, to: number): void {
  let at = start;
  const offset = to - start;
  for (; at + 4 <= end; at += 4) target.words.setInt32(at + offset, piece.words.getInt32(at, true), true);
  for (; at < end; at++) target.bytes[at + offset] = piece.bytes[at] as number;
}
