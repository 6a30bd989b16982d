/** Answers in pieces that a model can take: bounded, with a cursor for what comes next. */

/** Longest text of one result, characters: some ten thousand tokens of a model. */
export const MAX_RESULT = 32_768;

/** Where a call goes on. It says nothing that a caller could not say by itself: the path is checked again. */
export interface Cursor {
  readonly path: string;
  /** Query of the page, without question mark. */
  readonly query: string;
  /** Items, or characters where the answer is no collection, that were given already. */
  readonly from: number;
}

export function writeCursor({ path, query, from }: Cursor): string {
  return Buffer.from(JSON.stringify([path, query, from])).toString("base64url");
}

/** Undefined for a text that is no cursor. */
export function readCursor(text: string): Cursor | undefined {
  try {
    const [path, query, from] = JSON.parse(Buffer.from(text, "base64url").toString("utf8")) as unknown[];
    const isCursor =
      typeof path === "string" &&
      typeof query === "string" &&
      Number.isSafeInteger(from) &&
      Number(from) >= 0;
    return isCursor ? { path, query, from: Number(from) } : undefined;
  } catch {
    return undefined;
  }
}

export interface Piece {
  readonly text: string;
  /** Where the next piece is; undefined for the last one. */
  readonly next: Cursor | undefined;
}

interface Collection {
  readonly value: readonly unknown[];
  readonly "@odata.nextLink"?: unknown;
}

function isCollection(document: unknown): document is Collection {
  return document !== null && typeof document === "object" && Array.isArray((document as Collection).value);
}

/** The part of an answer of Graph that begins at the cursor. */
export function pieceOf(answer: string, at: Cursor): Piece {
  let document: unknown;
  try {
    document = JSON.parse(answer);
  } catch {
    return sliceOf(answer, at);
  }
  return isCollection(document) ? itemsOf(document, at) : sliceOf(answer, at);
}

/** As many whole items as fit, and one at least, cut where it alone is too long. */
function itemsOf(page: Collection, at: Cursor): Piece {
  const { value, "@odata.nextLink": nextLink, ...rest } = page;
  const fields = Object.fromEntries(
    Object.entries(rest).filter(([name]) => !name.startsWith("@odata.context")),
  );
  const items: string[] = [];
  let length = 0;
  let index = at.from;
  for (; index < value.length; index += 1) {
    const item = JSON.stringify(value[index]);
    if (items.length > 0 && length + item.length > MAX_RESULT) break;
    items.push(item.length > MAX_RESULT ? tooLong(item) : item);
    length += item.length;
  }
  const text = `{"value":[${items.join(",")}]${Object.keys(fields).length > 0 ? `,${JSON.stringify(fields).slice(1, -1)}` : ""}}`;
  if (index < value.length) return { text, next: { ...at, from: index } };
  const query = queryOf(nextLink);
  return { text, next: query === undefined ? undefined : { path: at.path, query, from: 0 } };
}

function tooLong(item: string): string {
  return JSON.stringify({
    cut: item.slice(0, MAX_RESULT / 2),
    note: "This item is too long to be given whole. Ask for fewer of its properties with $select.",
  });
}

/** A page of Graph leads to the next one by the same path with another query. */
function queryOf(nextLink: unknown): string | undefined {
  if (typeof nextLink !== "string" || !URL.canParse(nextLink)) return undefined;
  return new URL(nextLink).search.slice(1);
}

function sliceOf(answer: string, at: Cursor): Piece {
  const end = Math.min(answer.length, at.from + MAX_RESULT);
  const next = end < answer.length ? { ...at, from: end } : undefined;
  return { text: answer.slice(at.from, end), next };
}
