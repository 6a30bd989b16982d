/** JSON documents that a user may store in an API, made to cost as much as can be where paging links are looked for. */

export const HOSTILE_KINDS = [
  "values",
  "prefixes",
  "escapes",
  "longLinks",
  "blanks",
  "colons",
  "quotes",
] as const;
export type HostileKind = (typeof HOSTILE_KINDS)[number];

export function isHostileKind(kind: string | null): kind is HostileKind {
  return (HOSTILE_KINDS as readonly (string | null)[]).includes(kind);
}

/** What each document repeats, as members of one array. */
const ITEMS: Readonly<Record<HostileKind, string>> = {
  /** The name as the value of a cell. */
  values: '"@odata.nextLink"',
  /** The name, all but its end; then the other name that begins alike. */
  prefixes: '"@odata.","@odata.nextLin","@odata.deltaLin"',
  /** The name as a member, spelt by escapes, and values full of them. */
  escapes: String.raw`{"\u0040odata.nextLink":"\\\\\\\\\\\"\\\"\\\"","@odata.nextLink":"\\\\\\\\\\\"\u0068"}`,
  /** Links too long to be any, one after the other. */
  longLinks: `{"@odata.nextLink":"${"\\\\".repeat(10_000)}"}`,
  /** The name, and blanks where a colon might come. */
  blanks: `{"@odata.nextLink"${" ".repeat(16_000)}:null}`,
  /** Members whose value is no string. */
  colons: '{"@odata.nextLink":1,"@odata.deltaLink":[]}',
  /** Empty strings: as many as fit. */
  quotes: '"","@"',
};

/** Valid JSON of about so many bytes; never less than one item. */
export function hostileDocument(kind: HostileKind, bytes: number): string {
  const item = ITEMS[kind];
  const items = Math.max(1, Math.floor(bytes / (item.length + 1)));
  return `{"value":[${Array.from({ length: items }, () => item).join(",")}]}`;
}
