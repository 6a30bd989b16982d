/** Cross-origin calls of browsers, where configuration names the origins. */

import cors from "cors";
import type { RequestHandler } from "express";

export interface CrossOriginOptions {
  readonly origins: readonly string[];
  readonly maxAgeSeconds: number;
}

/** What a browser must be told so that it can act on a challenge or a throttle. */
export function crossOrigin({ origins, maxAgeSeconds }: CrossOriginOptions): RequestHandler {
  return cors({
    origin: [...origins],
    maxAge: maxAgeSeconds,
    exposedHeaders: [
      "www-authenticate",
      "retry-after",
      "ratelimit",
      "ratelimit-policy",
      "x-correlation-id",
      "request-id",
      "etag",
      "content-range",
    ],
  });
}
