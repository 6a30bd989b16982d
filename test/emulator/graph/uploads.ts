/** Upload sessions: a pre-authenticated address that takes a large file range by range, in order. */

import { createHash, type Hash, randomBytes } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import type { GraphAnswer } from "./answer.ts";

const SESSION_LIFETIME_MS = 24 * 60 * 60_000;
/** Ranges that are not the last one must be a multiple of this. */
const RANGE_UNIT = 320 * 1024;

interface Session {
  readonly name: string;
  readonly until: number;
  readonly hash: Hash;
  received: number;
}

export interface Uploads {
  open(name: string): GraphAnswer;
  /** What the session's own address answers; undefined for any other path. */
  continued(request: {
    readonly method: string;
    readonly path: string;
    readonly headers: IncomingHttpHeaders;
    readonly body: AsyncIterable<Buffer>;
  }): Promise<GraphAnswer | undefined>;
}

export function createUploads(parts: { readonly origin: string; readonly now: () => number }): Uploads {
  const { origin, now } = parts;
  const sessions = new Map<string, Session>();
  const status = ({ until, received }: Session) => ({
    expirationDateTime: new Date(until).toISOString(),
    nextExpectedRanges: [`${received}-`],
  });

  return {
    open(name) {
      const key = randomBytes(16).toString("base64url");
      const session = { name, until: now() + SESSION_LIFETIME_MS, hash: createHash("sha256"), received: 0 };
      sessions.set(key, session);
      return { status: 200, body: { uploadUrl: `${origin}/upload/${key}`, ...status(session) } };
    },

    async continued({ method, path, headers, body }) {
      const key = /^\/upload\/([\w-]+)$/.exec(path)?.[1];
      if (key === undefined) return undefined;
      const session = sessions.get(key);
      if (session === undefined || now() > session.until) return { status: 404 };
      // The address is the credential; a bearer token beside it makes the real host refuse.
      if (headers.authorization !== undefined) return { status: 401 };
      if (method === "DELETE") {
        sessions.delete(key);
        return { status: 204 };
      }
      if (method === "GET") return { status: 200, body: status(session) };

      const [, first, last, total] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(headers["content-range"] ?? "") ?? [];
      const length = Number(last) - Number(first) + 1;
      const isLast = Number(last) + 1 === Number(total);
      if (!(length > 0) || (!isLast && length % RANGE_UNIT !== 0)) return { status: 400 };
      if (Number(first) !== session.received) return { status: 416, body: status(session) };
      for await (const chunk of body) {
        session.hash.update(chunk);
        session.received += chunk.length;
      }
      if (!isLast) return { status: 202, body: status(session) };
      sessions.delete(key);
      const sha256Hash = session.hash.digest("hex").toUpperCase();
      const id = Buffer.from(session.name).toString("base64url");
      return {
        status: 201,
        body: { id, name: session.name, size: session.received, file: { hashes: { sha256Hash } } },
      };
    },
  };
}
