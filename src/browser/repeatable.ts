/** Which requests can be sent a second time, and which even after the page was loaded anew. */

import type { TokenRequest } from "./contract.ts";

/** A page's storage is for small things, characters. */
const LONGEST_BODY = 65_536;

export function mergedHeaders(request: Request | undefined, init: RequestInit): Headers {
  return new Headers(init.headers ?? request?.headers);
}

/** Streams are never copied, so they are sent once. The body of a `Request` is one, whatever it was made of. */
export function isRepeatable(request: Request | undefined, { body }: RequestInit): boolean {
  if (body === undefined || body === null)
    return request === undefined || /^(?:GET|HEAD)$/.test(request.method);
  return (
    typeof body === "string" ||
    ArrayBuffer.isView(body) ||
    [ArrayBuffer, Blob, FormData, URLSearchParams].some((type) => body instanceof type)
  );
}

export function resumableOf(url: URL, request: Request | undefined, init: RequestInit): TokenRequest {
  const { body = null, method = request?.method ?? "GET" } = init;
  const isText = typeof body === "string" && body.length <= LONGEST_BODY;
  if (!isRepeatable(request, init) || !(body === null || isText)) return {};
  const headers = [...mergedHeaders(request, init)].filter(([name]) => name !== "authorization");
  return { resumable: { url: url.href, method, headers, ...(isText && { body }) } };
}
