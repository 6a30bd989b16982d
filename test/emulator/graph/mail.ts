/** A mailbox: paged listing, single messages, attachments of any size, and sending. */

import { Readable } from "node:stream";
import type { User } from "../handle.ts";
import { isObject } from "../jws.ts";
import { type GraphAnswer, type GraphCall, GraphProblem, readJson } from "./answer.ts";

const DEFAULT_PAGE = 10;
const CHUNK_BYTES = 64 * 1024;

export function messagesAnswer({ user, query, origin }: GraphCall): GraphAnswer {
  const top = Number(query.get("$top") ?? DEFAULT_PAGE);
  if (!Number.isInteger(top) || top < 1 || top > 1000) {
    throw new GraphProblem(
      400,
      "ErrorInvalidParameter",
      "Invalid value specified for 'top' query parameter.",
    );
  }
  const skipToken = query.get("$skiptoken");
  const first = skipToken === null ? 0 : Number(Buffer.from(skipToken, "base64url").toString("utf8"));
  if (!Number.isInteger(first) || first < 0)
    throw new GraphProblem(400, "BadRequest", "Skip token is not valid.");
  const last = Math.min(first + top, user.messageCount);
  const value = Array.from({ length: Math.max(0, last - first) }, (_, index) => message(user, first + index));

  // The link is absolute and carries all other parameters along.
  const next = new URLSearchParams(query);
  next.set("$skiptoken", Buffer.from(String(last)).toString("base64url"));
  const link = `${origin}/v1.0/me/messages?${next.toString().replaceAll("%24", "$")}`;
  return {
    status: 200,
    body: {
      "@odata.context": `${origin}/v1.0/$metadata#users('${user.objectId}')/messages`,
      ...(query.get("$count") === "true" && skipToken === null ? { "@odata.count": user.messageCount } : {}),
      value,
      ...(last < user.messageCount ? { "@odata.nextLink": link } : {}),
    },
  };
}

/** Pages as of the list, then a delta link instead of a next one; what it leads to is a page without changes. */
export function deltaAnswer(call: GraphCall): GraphAnswer {
  const path = `${call.origin}/v1.0/me/mailFolders/inbox/messages/delta`;
  const context = `${call.origin}/v1.0/$metadata#Collection(message)`;
  const deltaLink = `${path}?$deltatoken=${Buffer.from(call.user.objectId).toString("base64url")}`;
  if (call.query.has("$deltatoken")) {
    return { status: 200, body: { "@odata.context": context, value: [], "@odata.deltaLink": deltaLink } };
  }
  const { body } = messagesAnswer(call);
  const { value, "@odata.nextLink": next } = body as Record<string, unknown>;
  const link =
    next === undefined
      ? { "@odata.deltaLink": deltaLink }
      : { "@odata.nextLink": `${path}${String(next).slice(String(next).indexOf("?"))}` };
  return { status: 200, body: { "@odata.context": context, value, ...link } };
}

export function messageAnswer({ user }: GraphCall, id: string): GraphAnswer {
  return { status: 200, body: message(user, indexOf(user, id)) };
}

export function deleteMessageAnswer({ user }: GraphCall, id: string): GraphAnswer {
  indexOf(user, id);
  return { status: 204 };
}

export async function updateMessageAnswer({ user, body }: GraphCall, id: string): Promise<GraphAnswer> {
  const changes = await readJson(body);
  return {
    status: 200,
    body: { ...message(user, indexOf(user, id)), ...(isObject(changes) ? changes : {}) },
  };
}

/** An attachment called `bytes-<n>` has n bytes, made while they are read. */
export function attachmentAnswer({ user }: GraphCall, id: string, attachment: string): GraphAnswer {
  indexOf(user, id);
  const size = Number(/^bytes-(\d{1,12})$/.exec(attachment)?.[1]);
  if (Number.isNaN(size)) throw new GraphProblem(404, "ErrorItemNotFound", "The attachment was not found.");
  return {
    status: 200,
    headers: { "Content-Type": "application/octet-stream", "Content-Length": String(size) },
    body: Readable.from(pattern(size), { objectMode: false }),
  };
}

export async function sendMailAnswer({ body }: GraphCall): Promise<GraphAnswer> {
  const request = await readJson(body);
  if (!isObject(request) || !isObject(request.message)) {
    throw new GraphProblem(400, "ErrorInvalidParameter", "Message is missing.");
  }
  return { status: 202 };
}

function* pattern(size: number): Generator<Buffer> {
  const block = Buffer.alloc(CHUNK_BYTES, "0123456789abcdef");
  for (let left = size; left > 0; left -= block.length)
    yield left < block.length ? block.subarray(0, left) : block;
}

function message(user: User, index: number): object {
  const received = new Date(Date.UTC(2026, 0, 1) + index * 3_600_000).toISOString();
  return {
    "@odata.etag": `W/"CQAAABYAAAA${index}"`,
    id: messageId(user, index),
    receivedDateTime: received,
    subject: `Message ${index + 1} for ${user.displayName}`,
    bodyPreview: "Hello from the emulator",
    isRead: index % 2 === 0,
    hasAttachments: false,
  };
}

function messageId(user: User, index: number): string {
  return Buffer.from(`${user.objectId}/${index}`).toString("base64url");
}

function indexOf(user: User, id: string): number {
  const [owner, index] = Buffer.from(id, "base64url").toString("utf8").split("/");
  const number = Number(index);
  if (owner !== user.objectId || !(number < user.messageCount)) {
    throw new GraphProblem(404, "ErrorItemNotFound", "The specified object was not found in the store.");
  }
  return number;
}
