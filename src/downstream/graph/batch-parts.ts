/** One request of a `$batch` as text: kept as its caller wrote it, and sent again without its answered dependencies. */

import type { Span } from "../../foundation/json-text.ts";

/** A request of a batch. Its body is never taken apart: only the API has to understand it. */
export interface BatchPart {
  readonly id: string;
  readonly method: string;
  /** Relative to the API's base. */
  readonly url: string;
  /** Ids of parts that must succeed first. */
  readonly dependsOn: readonly string[];
  /** The whole part as JSON. */
  readonly text: Buffer;
  /** Where in the text the value of `dependsOn` stands. */
  readonly dependsOnAt: Span | undefined;
}

/** A part that the gateway's own code makes. */
export interface NewPart extends Pick<BatchPart, "id" | "method" | "url"> {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly dependsOn?: readonly string[];
}

/** Graph takes no more requests in one batch. */
export const MAX_PARTS = 20;

/** Writes a part. `dependsOn` comes last, so that its place in the text is known. */
export function writePart({ dependsOn = [], ...rest }: NewPart): BatchPart {
  const own = Buffer.from(JSON.stringify(rest));
  const { id, method, url } = rest;
  if (dependsOn.length === 0) return { id, method, url, dependsOn, text: own, dependsOnAt: undefined };
  const written = `,"dependsOn":${JSON.stringify(dependsOn)}}`;
  const text = Buffer.concat([own.subarray(0, -1), Buffer.from(written)]);
  const start = own.length - 1 + written.indexOf(":") + 1;
  return { id, method, url, dependsOn, text, dependsOnAt: { start, end: text.length - 1 } };
}

/** The same part where only `remaining` of the parts it depends on are still to be sent. */
export function dependingOn(part: BatchPart, remaining: readonly string[]): BatchPart {
  const { text, dependsOn, dependsOnAt } = part;
  if (dependsOnAt === undefined || remaining.length === dependsOn.length) return part;
  const written = Buffer.from(JSON.stringify(remaining));
  const { start, end } = dependsOnAt;
  return {
    ...part,
    dependsOn: remaining,
    text: Buffer.concat([text.subarray(0, start), written, text.subarray(end)]),
    dependsOnAt: { start, end: start + written.length },
  };
}

/** A batch of these parts. */
export function writeBatch(parts: readonly BatchPart[]): Buffer {
  const pieces = parts.flatMap(({ text }, index) => (index === 0 ? [text] : [COMMA, text]));
  return Buffer.concat([BEGIN, ...pieces, END]);
}

const BEGIN = Buffer.from('{"requests":[');
const COMMA = Buffer.from(",");
const END = Buffer.from("]}");

/** Graph compares ids without regard to case. */
export const idKey = (id: string) => id.toLowerCase();
