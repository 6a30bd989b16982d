/** Reads the answer to a `$batch` as text, and puts the answer for the caller together from pieces of such texts. */

import { isUtf8 } from "node:buffer";
import {
  beginsArray,
  beginsObject,
  expectEnd,
  JsonTextError,
  type Reading,
  readArray,
  readObject,
  type Span,
  skipBlanks,
  skipValue,
  textOf,
} from "../../foundation/json-text.ts";
import type { HeaderRules } from "../headers/header-rules.ts";
import { isDropped } from "../headers/headers.ts";
import { idKey } from "./batch-parts.ts";

/** A header field of a part, as it is written. */
interface PartField {
  /** Lower case. */
  readonly name: string;
  /** From the quote of its name to the end of its value. */
  readonly written: Span;
  readonly value: Span;
}

/** The API's answer to one part. */
export interface PartAnswer {
  readonly id: string;
  readonly status: number;
  /** Values as text, by lower-case name. */
  readonly headers: ReadonlyMap<string, string>;
  /** The answer that holds it, and where. */
  readonly source: Buffer;
  readonly written: Span;
  readonly body: Span | undefined;
  /** Objects with header fields: one, unless the API writes the member twice. */
  readonly fields: readonly { readonly written: Span; readonly fields: readonly PartField[] }[];
}

/** Answers to all parts of a batch. */
export interface BatchAnswer {
  readonly text: Buffer;
  readonly parts: readonly PartAnswer[];
}

/** Longest header value that is read, bytes as written. */
const MAX_VALUE = 65_536;

/** The parts' answers, or undefined when this is no batch answer: a strange answer is still the answer. */
export function* readBatchAnswer(text: Buffer): Reading<BatchAnswer | undefined> {
  if (!isUtf8(text)) return undefined;
  const parts: PartAnswer[] = [];
  let isBatch = false;
  const start = skipBlanks(text, 0);
  if (!beginsObject(text, start)) return undefined;
  try {
    const end = yield* readObject(text, start, function* ({ name, valueAt }) {
      if (name !== "responses" || isBatch || !beginsArray(text, valueAt)) {
        return yield* skipValue(text, valueAt);
      }
      isBatch = true;
      return yield* readArray(text, valueAt, function* (at) {
        const part = yield* readPart(text, at);
        parts.push(part);
        return part.written.end;
      });
    });
    expectEnd(text, end);
  } catch (error) {
    if (error instanceof JsonTextError) return undefined;
    throw error;
  }
  return isBatch ? { text, parts } : undefined;
}

function* readPart(source: Buffer, start: number): Reading<PartAnswer> {
  let id = "";
  let status = Number.NaN;
  let body: Span | undefined;
  const fields: { written: Span; fields: PartField[] }[] = [];
  const headers = new Map<string, string>();
  const end = yield* readObject(source, start, function* ({ name, valueAt }) {
    if (name === "headers" && beginsObject(source, valueAt)) {
      const read: PartField[] = [];
      const headersEnd = yield* readObject(source, valueAt, function* (field) {
        const value = { start: field.valueAt, end: yield* skipValue(source, field.valueAt) };
        const lower = field.name.toLowerCase();
        read.push({ name: lower, written: { start: field.start, end: value.end }, value });
        const text = scalarText(source, value);
        if (text !== undefined) headers.set(lower, text);
        return value.end;
      });
      fields.push({ written: { start: valueAt, end: headersEnd }, fields: read });
      return headersEnd;
    }
    const value = { start: valueAt, end: yield* skipValue(source, valueAt) };
    if (name === "id") id = scalarText(source, value) ?? "";
    else if (name === "status") status = Number(scalarText(source, value));
    else if (name === "body") body = value;
    return value.end;
  });
  return { id, status, headers, source, written: { start, end }, body, fields };
}

/** A string's or a number's text. */
function scalarText(source: Buffer, value: Span): string | undefined {
  if (value.end - value.start > MAX_VALUE) return undefined;
  if (beginsObject(source, value.start) || beginsArray(source, value.start)) return undefined;
  return String(JSON.parse(textOf(source, value)));
}

export interface FieldChanges {
  /** Fields that a part's answer must not hold. */
  readonly rules: HeaderRules;
  /** Changes the value of a field, or returns it as it is. */
  readonly rewrite?: ((name: string, value: string, status: number) => string) | undefined;
}

interface Edit extends Span {
  readonly pieces: readonly Buffer[];
}

/**
 * The caller's answer: the text of the first one, in which the parts that were sent again have their latest answer.
 * Every byte stands as the API wrote it, but for the header fields that are dropped or changed.
 */
export function assembleAnswer(
  { text, parts }: BatchAnswer,
  latest: ReadonlyMap<string, PartAnswer>,
  changes: FieldChanges,
): readonly Buffer[] {
  const edits = parts.flatMap((part): readonly Edit[] => {
    const last = latest.get(idKey(part.id));
    const newer = last === undefined || last.source === text ? part : last;
    const fieldEdits = editFields(newer, changes);
    if (newer === part) return fieldEdits;
    return [{ ...part.written, pieces: applyEdits(newer.source, newer.written, fieldEdits) }];
  });
  return applyEdits(text, { start: 0, end: text.length }, edits);
}

function applyEdits(source: Buffer, { start, end }: Span, edits: readonly Edit[]): readonly Buffer[] {
  const pieces: Buffer[] = [];
  let at = start;
  for (const edit of edits) {
    pieces.push(source.subarray(at, edit.start), ...edit.pieces);
    at = edit.end;
  }
  return [...pieces, source.subarray(at, end)];
}

function editFields({ source, status, fields: groups }: PartAnswer, changes: FieldChanges): readonly Edit[] {
  return groups.flatMap(({ written, fields }): readonly Edit[] => {
    let isChanged = false;
    const kept = fields.flatMap((field) => {
      if (isDropped(changes.rules, field.name)) {
        isChanged = true;
        return [];
      }
      const bytes = source.subarray(field.written.start, field.written.end);
      const value = scalarText(source, field.value);
      const changed = value === undefined ? undefined : changes.rewrite?.(field.name, value, status);
      if (changed === undefined || changed === value) return [bytes];
      isChanged = true;
      const name = source.subarray(field.written.start, field.value.start);
      return [Buffer.concat([name, Buffer.from(JSON.stringify(changed))])];
    });
    if (!isChanged) return [];
    const pieces = kept.flatMap((bytes, index) => (index === 0 ? [bytes] : [COMMA, bytes]));
    return [{ ...written, pieces: [OPEN, ...pieces, CLOSE] }];
  });
}

const OPEN = Buffer.from("{");
const COMMA = Buffer.from(",");
const CLOSE = Buffer.from("}");
