/** The address under which this caller reaches the gateway, for links that lead back to it. */

import type { Request } from "express";

const LOOPBACK = /^(?:localhost|127\.0\.0\.1|\[::1\])(?::(\d{1,5}))?$/i;

/**
 * `http.publicUrl` without a trailing slash. Where that is not configured, a demo on one machine works all the same: a
 * `Host` of the loopback interface is believed when the connection itself came in there, at the port that it names.
 * No other is: behind a proxy `Host` is the caller's to choose, and the scheme would be a guess that sends a token in
 * clear text.
 */
export function publicAddress(request: Request, publicUrl: string | undefined): string | undefined {
  if (publicUrl !== undefined) return publicUrl.replace(/\/+$/, "");
  const host = request.headers.host ?? "";
  const { localAddress = "", remoteAddress = "", localPort } = request.socket;
  const scheme = schemeOf(request);
  const port = Number(LOOPBACK.exec(host)?.[1] ?? (scheme === "https" ? 443 : 80));
  const isLocal = LOOPBACK.test(host) && isLoopback(localAddress) && isLoopback(remoteAddress);
  return isLocal && port === localPort ? `${scheme}://${host}` : undefined;
}

function isLoopback(address: string): boolean {
  return /^(?:::1|(?:::ffff:)?127(?:\.\d{1,3}){3})$/.test(address);
}

/** Express looks up whether the peer is a trusted proxy even where nothing was forwarded that could be believed. */
function schemeOf(request: Request): string {
  if (request.headers["x-forwarded-proto"] !== undefined) return request.protocol;
  return "encrypted" in request.socket && request.socket.encrypted === true ? "https" : "http";
}
