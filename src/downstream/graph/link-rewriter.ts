/** Changes OData links in a JSON document while it streams by, holding back no more than one link. */

/**
 * Ends of member names, their closing quote included. No parser is needed to find one: inside a string a quote is
 * escaped, so these bytes are always the end of a string, and a string before a colon is a member's name.
 */
const NAMES = ["@odata.nextLink", "@odata.deltaLink"].map((name) => Buffer.from(`${name}"`));

const VALUE = /^([ \t\r\n]*:[ \t\r\n]*)"((?:[^"\\]|\\.)*)"/s;
const VALUE_TO_COME = /^[ \t\r\n]*(?::[ \t\r\n]*(?:"(?:[^"\\]|\\.)*\\?)?)?$/s;

/** A longer value is no link that the gateway would take back; bytes. */
const MAX_LINK = 16_384;

/**
 * Rewrites the values of `@odata.nextLink`, `@odata.deltaLink` and `name@odata.nextLink`, at any depth. Every other
 * byte passes as it came: numbers keep their spelling, members their order.
 */
import type { BodyRewriter } from "../contract.ts";
export function createLinkRewriter(rewrite: (link: string) => string): BodyRewriter {
  let held: Buffer = Buffer.alloc(0);

  const take = (isLast: boolean): Buffer => {
    const done: Buffer[] = [];
    let at = 0;
    let keepFrom = held.length;
    for (let name = nextName(held, at); name !== undefined; name = nextName(held, at)) {
      const text = held.toString("latin1", name.end, name.end + MAX_LINK);
      const [whole, colon, value] = VALUE.exec(text) ?? [];
      if (whole !== undefined && colon !== undefined && value !== undefined) {
        done.push(held.subarray(at, name.end), Buffer.from(colon + rewriteString(value, rewrite), "latin1"));
        at = name.end + whole.length;
      } else if (!isLast && text.length < MAX_LINK && VALUE_TO_COME.test(text)) {
        keepFrom = name.start;
        break;
      } else {
        done.push(held.subarray(at, name.end));
        at = name.end;
      }
    }
    if (!isLast && keepFrom === held.length) keepFrom -= beginningOfName(held.subarray(at));
    done.push(held.subarray(at, keepFrom));
    held = held.subarray(keepFrom);
    return done.length === 1 ? (done[0] as Buffer) : Buffer.concat(done);
  };

  return {
    push(chunk) {
      held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      return take(false);
    },
    flush: () => take(true),
  };
}

function nextName(bytes: Buffer, from: number): { readonly start: number; readonly end: number } | undefined {
  let nearest: { start: number; end: number } | undefined;
  for (const name of NAMES) {
    const start = bytes.indexOf(name, from);
    if (start === -1 || (nearest !== undefined && nearest.start < start)) continue;
    nearest = { start, end: start + name.length };
  }
  return nearest;
}

/** How many bytes at the end may be the first ones of a name. */
function beginningOfName(bytes: Buffer): number {
  const start = bytes.lastIndexOf("@");
  if (start === -1) return 0;
  const end = bytes.subarray(start);
  return NAMES.some((name) => name.subarray(0, end.length).equals(end)) ? end.length : 0;
}

/** A JSON string as its UTF-8 bytes read as Latin-1, quotes left out; comes back with quotes, in the same form. */
function rewriteString(written: string, rewrite: (link: string) => string): string {
  const original = `"${written}"`;
  try {
    const link: unknown = JSON.parse(Buffer.from(original, "latin1").toString("utf8"));
    const changed = typeof link === "string" ? rewrite(link) : link;
    return changed === link ? original : Buffer.from(JSON.stringify(changed), "utf8").toString("latin1");
  } catch {
    // Not JSON after all; then it is not for us to mend.
    return original;
  }
}
