/** A drive: uploads that stream into a digest, and downloads by a pre-authenticated link on another host. */

import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { GraphAnswer, GraphCall } from "./answer.ts";

const LINK_LIFETIME_MS = 5 * 60_000;

export interface Files {
  upload(call: GraphCall, name: string): Promise<GraphAnswer>;
  /** 302 to a link that needs, and tolerates, no Authorization. */
  download(call: GraphCall, id: string): GraphAnswer;
  /** The other end of that link; undefined for any other path. */
  followed(path: string, authorization: string | undefined): GraphAnswer | undefined;
}

export function createFiles(parts: { readonly downloadOrigin: string; readonly now: () => number }): Files {
  const { downloadOrigin, now } = parts;
  const secret = randomBytes(32);
  const seal = (content: string) => createHmac("sha256", secret).update(content).digest();

  return {
    async upload({ body }, name) {
      const hash = createHash("sha256");
      let size = 0;
      for await (const chunk of body) {
        hash.update(chunk);
        size += chunk.length;
      }
      const sha256Hash = hash.digest("hex").toUpperCase();
      const id = Buffer.from(name).toString("base64url");
      return { status: 201, body: { id, name, size, file: { hashes: { sha256Hash } } } };
    },

    download(_call, id) {
      const content = Buffer.from(JSON.stringify({ id, until: now() + LINK_LIFETIME_MS })).toString(
        "base64url",
      );
      const location = `${downloadOrigin}/download/${content}/${seal(content).toString("base64url")}`;
      return { status: 302, headers: { Location: location } };
    },

    followed(path, authorization) {
      const [, content = "", signature = ""] = /^\/download\/([\w-]+)\/([\w-]+)$/.exec(path) ?? [];
      if (content === "") return undefined;
      const given = Buffer.from(signature, "base64url");
      const wanted = seal(content);
      if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) return { status: 403 };
      const link = JSON.parse(Buffer.from(content, "base64url").toString("utf8")) as {
        id: string;
        until: number;
      };
      // The link is the credential; a bearer token beside it makes the real host refuse.
      if (authorization !== undefined) return { status: 401 };
      if (now() > link.until) return { status: 404 };
      return {
        status: 200,
        headers: { "Content-Type": "application/octet-stream" },
        body: Buffer.from(`content of ${link.id}`),
      };
    },
  };
}
