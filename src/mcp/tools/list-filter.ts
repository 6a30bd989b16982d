/** Takes closed tools out of the lists that a server answers with, while the answer streams: as JSON, or as server-sent events. */

/** Bytes in, bytes out; what `push` holds back comes later, or with `flush`. */
export interface StreamFilter {
  push(chunk: Buffer): Buffer;
  flush(): Buffer;
}

/** Whether a tool of this name stays in the list. Asked once for each. */
export type KeepTool = (name: string) => boolean;

/** Longest description of one tool, bytes. A longer one is left out, since what it describes cannot be known. */
const MAX_TOOL = 262_144;
/** Longest name of a member that could be one that matters, bytes as written. */
const MAX_MEMBER = 64;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OBJECT = 0x7b;
const OBJECT_END = 0x7d;
const ARRAY = 0x5b;
const ARRAY_END = 0x5d;

/** Places in a message, from the outside in: the message, its `result`, the `tools` of that. */
const RESULT = 1;
const TOOLS = 2;

interface Scan {
  /** Open objects and arrays. */
  depth: number;
  /** Depth of the message: 1, or 2 within a batch; 0 outside. The same for its `result` and for the list of tools. */
  message: number;
  result: number;
  tools: number;
  isText: boolean;
  isEscaped: boolean;
  /** The string that is being read, without quotes; undefined where it cannot matter. */
  text: number[] | undefined;
  /** The last whole string, until it is known whether a colon makes it a name. */
  last: string | undefined;
  /** What the value that comes next would be. */
  next: 0 | typeof RESULT | typeof TOOLS;
  /** Whether a tool is being held back, and what of it came with earlier chunks. */
  isHolding: boolean;
  held: Buffer[];
  heldBytes: number;
  /** Tools of this list that were let through. */
  kept: number;
}

const fresh = (): Scan => ({
  depth: 0,
  message: 0,
  result: 0,
  tools: 0,
  isText: false,
  isEscaped: false,
  text: undefined,
  last: undefined,
  next: 0,
  isHolding: false,
  held: [],
  heldBytes: 0,
  kept: 0,
});

const EMPTY = Buffer.alloc(0);
const SEPARATOR = Buffer.from(",");

/**
 * Filters `result.tools` of a message, or of each message of a batch, wherever a reader of JSON would find it: names may
 * be written with escapes, and stand twice. Every other byte passes as it came. Structure alone is looked at, so that a
 * text which is no JSON passes too, and no reader takes a list from it.
 */
export function createListFilter(keep: KeepTool): StreamFilter {
  let scan = fresh();
  return {
    push: (chunk) => scanChunk(scan, chunk, keep),
    flush() {
      scan = fresh();
      return EMPTY;
    },
  };
}

function scanChunk(scan: Scan, chunk: Buffer, keep: KeepTool): Buffer {
  const pieces: Buffer[] = [];
  /** First byte of the chunk that was neither passed, nor held, nor left out. */
  let from = 0;
  for (let at = 0; at < chunk.length; at++) {
    const byte = chunk[at] as number;
    if (scan.isHolding) {
      // A scalar in the place of a tool ends before the comma or bracket behind it.
      const isBehind = isAtTool(scan) && (byte === COMMA || byte === ARRAY_END);
      if (!isBehind) {
        step(scan, byte);
        if (!isAtTool(scan) || (byte !== OBJECT_END && byte !== ARRAY_END)) continue;
      }
      const end = isBehind ? at : at + 1;
      hold(scan, chunk.subarray(from, end));
      from = end;
      release(scan, pieces, keep);
      if (!isBehind) continue;
    }
    if (!isAtTool(scan) || byte === ARRAY_END) {
      step(scan, byte);
      continue;
    }
    // Between two tools: commas and blanks are written anew.
    if (at > from) pieces.push(chunk.subarray(from, at));
    from = at + 1;
    if (byte === COMMA || byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) continue;
    from = at;
    scan.isHolding = true;
    step(scan, byte);
  }
  const rest = chunk.subarray(from);
  if (scan.isHolding) hold(scan, rest);
  else if (rest.length > 0) pieces.push(rest);
  return pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces);
}

/** Whether the place is directly in the list of tools. */
const isAtTool = ({ tools, depth, isText }: Scan) => tools !== 0 && depth === tools && !isText;

function hold(scan: Scan, bytes: Buffer): void {
  scan.heldBytes += bytes.length;
  if (scan.heldBytes > MAX_TOOL) scan.held = [];
  // A copy: the chunk belongs to its connection.
  else scan.held.push(Buffer.from(bytes));
}

function release(scan: Scan, pieces: Buffer[], keep: KeepTool): void {
  const { held, heldBytes } = scan;
  scan.isHolding = false;
  scan.held = [];
  scan.heldBytes = 0;
  const written = Buffer.concat(held);
  if (heldBytes > MAX_TOOL || !staysListed(written.toString("utf8"), keep)) return;
  if (scan.kept++ > 0) pieces.push(SEPARATOR);
  pieces.push(written);
}

/** What has no name is no tool that could be called. */
function staysListed(description: string, keep: KeepTool): boolean {
  try {
    const { name } = (JSON.parse(description) ?? {}) as { readonly name?: unknown };
    return typeof name === "string" && keep(name);
  } catch {
    return false;
  }
}

/** Follows the structure over one byte. */
function step(scan: Scan, byte: number): void {
  if (scan.isText) {
    textStep(scan, byte);
    return;
  }
  switch (byte) {
    case QUOTE:
      scan.isText = true;
      scan.text = mayMatter(scan) ? [] : undefined;
      scan.last = undefined;
      return;
    case COLON:
      scan.next = nextOf(scan);
      scan.last = undefined;
      return;
    case OBJECT:
    case ARRAY:
      open(scan, byte);
      return;
    case OBJECT_END:
    case ARRAY_END:
      close(scan);
      return;
    case COMMA:
      scan.next = 0;
      scan.last = undefined;
      return;
    default:
  }
}

function textStep(scan: Scan, byte: number): void {
  if (scan.isEscaped) scan.isEscaped = false;
  else if (byte === BACKSLASH) scan.isEscaped = true;
  else if (byte === QUOTE) {
    scan.isText = false;
    scan.last = scan.text === undefined ? undefined : textOf(scan.text);
    scan.text = undefined;
    return;
  }
  if (scan.text === undefined) return;
  scan.text.push(byte);
  if (scan.text.length > MAX_MEMBER) scan.text = undefined;
}

function textOf(bytes: readonly number[]): string | undefined {
  try {
    return JSON.parse(`"${Buffer.from(bytes).toString("utf8")}"`) as string;
  } catch {
    return undefined;
  }
}

/** Only names of the message's members and of those of its result lead to a list. */
function mayMatter(scan: Scan): boolean {
  return scan.depth === scan.message || (scan.result !== 0 && scan.depth === scan.result);
}

function nextOf(scan: Scan): Scan["next"] {
  if (scan.last === "result" && scan.depth === scan.message) return RESULT;
  return scan.last === "tools" && scan.result !== 0 && scan.depth === scan.result ? TOOLS : 0;
}

function open(scan: Scan, byte: number): void {
  scan.depth++;
  if (scan.message === 0 && byte === OBJECT) scan.message = scan.depth;
  if (scan.next === RESULT && byte === OBJECT) scan.result = scan.depth;
  if (scan.next === TOOLS && byte === ARRAY) {
    scan.tools = scan.depth;
    scan.kept = 0;
  }
  scan.next = 0;
  scan.last = undefined;
}

function close(scan: Scan): void {
  if (scan.depth === scan.tools) scan.tools = 0;
  if (scan.depth === scan.result) scan.result = 0;
  if (scan.depth === scan.message) scan.message = 0;
  scan.depth = Math.max(0, scan.depth - 1);
  scan.next = 0;
  scan.last = undefined;
}
