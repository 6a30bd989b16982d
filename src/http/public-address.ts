/** The address under which this caller reaches the gateway, for links that lead back to it. */

import type { Request } from "express";

const LOOPBACK = /^(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?$/i;

/**
 * `http.publicUrl` without a trailing slash. Where that is not configured, a `Host` of the loopback interface is
 * believed, so that a demo works; no other is: behind a proxy it may be anybody's, and the scheme would be a guess
 * that sends a token in clear text.
 */
export function publicAddress(request: Request, publicUrl: string | undefined): string | undefined {
  if (publicUrl !== undefined) return publicUrl.replace(/\/+$/, "");
  const host = request.headers.host ?? "";
  return LOOPBACK.test(host) ? `${request.protocol}://${host}` : undefined;
}
