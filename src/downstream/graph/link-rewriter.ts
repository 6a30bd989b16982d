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
  held: Buffer;
  heldLength: number;
}

/** Takes a link, quotes included, and adds to the output what stands in its place; false leaves it as it is. */
type ChangeLink = (bytes: Buffer, start: number, end: number, before: () => Output) => boolean;

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
  const changeLink = changing(change);
  return {
    push: (chunk) => rewriteChunk(scan, chunk, changeLink),
    flush: () => release(scan),
  };
}

function rewriteChunk(scan: Scan, chunk: Buffer, changeLink: ChangeLink): Buffer {
  let output: Output | undefined;
  /** First byte of the chunk that has not been passed on. */
  let kept = 0;
  /** Where a link begins, as far as it is in this chunk. */
  let linkAt = 0;
  let at = 0;
  const outputUpTo = (end: number): Output => {
    output ??= createOutput(chunk.length + 1024);
    output.add(chunk, kept, end);
    kept = end;
    return output;
  };
  const outputUpToLink = () => outputUpTo(linkAt);

  while (at < chunk.length) {
    if (scan.place !== LINK) {
      at = findLink(scan, chunk, at);
      linkAt = at - 1;
      continue;
    }
    const isHeld = scan.heldLength > 0;
    const begins = isHeld ? 0 : linkAt;
    const limit = Math.min(chunk.length, begins + MAX_LINK - scan.heldLength);
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
      if (changeLink(scan.held, 0, scan.heldLength, () => out)) scan.heldLength = 0;
      leaveLink(scan, out);
      kept = end;
    } else {
      if (changeLink(chunk, linkAt, end, outputUpToLink)) kept = end;
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
function findLink(scan: Scan, chunk: Buffer, from: number): number {
  const { length } = chunk;
  let { place, name, matched } = scan;
  let at = from;
  while (at < length && place !== LINK) {
    const byte = chunk[at];
    if (place === NAME) {
      if (matched === 0) {
        at = findName(chunk, at);
        if (at === length) continue;
        const whole = wholeName(chunk, at);
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
function findName(chunk: Buffer, from: number): number {
  const { length } = chunk;
  for (let at = from; at < length; at++) {
    if (chunk[at] !== AT_SIGN || (chunk[at + 1] ?? LETTER_O) !== LETTER_O) continue;
    if (at + DELTA_LINK.length > length || wholeName(chunk, at) > 0) return at;
  }
  return length;
}

/** Length of the name that stands here, or 0. Its last byte is looked at first: most texts differ there. */
function wholeName(chunk: Buffer, at: number): number {
  const name = chunk[at + SHARED] === LETTER_D ? DELTA_LINK : NEXT_LINK;
  const { length } = name;
  if (chunk[at + length - 1] !== QUOTE) return 0;
  for (let index = 0; index < length; index++) {
    if (chunk[at + index] !== name[index]) return 0;
  }
  return length;
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
  if (scan.held.length === 0) scan.held = Buffer.allocUnsafe(MAX_LINK);
  bytes.copy(scan.held, scan.heldLength, start, end);
  scan.heldLength += end - start;
}

function release(scan: Scan): Buffer {
  const bytes = Buffer.from(scan.held.subarray(0, scan.heldLength));
  leaveLink(scan, undefined);
  return bytes;
}

const EMPTY = Buffer.alloc(0);

function changing({ from, to, rewrite }: LinkChange): ChangeLink {
  const usual = Buffer.from(JSON.stringify(from).slice(0, -1));
  const instead = Buffer.from(JSON.stringify(to).slice(0, -1));
  const origin = Buffer.from(`"${new URL(from).origin}`);
  return (bytes, start, end, before) => {
    const pathAt = behind(usual, bytes, start);
    if (pathAt !== undefined && isPlain(bytes, pathAt, end)) {
      const output = before();
      output.add(instead, 0, instead.length);
      output.add(bytes, pathAt, end);
      return true;
    }
    if (!mayLeadTo(origin, bytes, start)) return false;
    const changed = rewriteString(bytes.toString("utf8", start, end), rewrite);
    if (changed === undefined) return false;
    before().add(changed, 0, changed.length);
    return true;
  };
}

/** The first byte behind a beginning whose slashes may be escaped; undefined where the link begins otherwise. */
function behind(beginning: Buffer, bytes: Buffer, start: number): number | undefined {
  let at = start;
  for (let index = 0; index < beginning.length; index++) {
    const expected = beginning[index];
    if (expected === SLASH && bytes[at] === BACKSLASH) at++;
    if (bytes[at++] !== expected) return undefined;
  }
  return at;
}

/** Whether the path holds nothing by which a URL parser would leave the base: no dot segment, no escape but a slash's. */
function isPlain(bytes: Buffer, from: number, end: number): boolean {
  let isQuery = false;
  for (let at = from; at < end; at++) {
    const byte = bytes[at];
    if (byte === BACKSLASH && bytes[at + 1] !== SLASH) return false;
    if (byte === QUESTION_MARK) isQuery = true;
    else if (!isQuery && (byte === DOT || byte === PERCENT) && bytes[at - 1] === SLASH) return false;
  }
  return true;
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
  add(bytes: Buffer, start: number, end: number): void;
  taken(): Buffer;
}

/** Shorter pieces are copied by hand: a call into the engine costs more. */
const SHORT = 48;

function createOutput(expected: number): Output {
  let target = Buffer.allocUnsafe(expected);
  let length = 0;
  return {
    add(bytes, start, end) {
      const needed = length + end - start;
      if (needed > target.length) {
        const larger = Buffer.allocUnsafe(Math.max(needed, 2 * target.length));
        target.copy(larger, 0, 0, length);
        target = larger;
      }
      if (end - start > SHORT) bytes.copy(target, length, start, end);
      else for (let at = start, to = length; at < end; at++, to++) target[to] = bytes[at] as number;
      length = needed;
    },
    taken: () => target.subarray(0, length),
  };
}
