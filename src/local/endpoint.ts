/** What the token endpoints have in common: the API by its name, and answers in JSON. */

import type { IncomingMessage, ServerResponse } from "node:http";
import { GatewayError } from "../errors.ts";
import { didYouMean } from "../foundation/did-you-mean.ts";
import type { LocalApi } from "./contract.ts";

/** @throws {GatewayError} `route_unknown` */
export function apiNamed(apis: ReadonlyMap<string, LocalApi>, name: string): LocalApi {
  const api = apis.get(name);
  if (api !== undefined) return api;
  const known = [...apis.keys()];
  throw new GatewayError("route_unknown", {
    detail: `No API of that name has its tokens given here${didYouMean(name, known)}.`,
    reason: "api",
  });
}

export function answerJson(response: ServerResponse, correlationId: string, value: unknown): void {
  answer(response, correlationId, "application/json; charset=utf-8", JSON.stringify(value));
}

export function answer(
  response: ServerResponse,
  correlationId: string,
  contentType: string,
  text: string,
  status = 200,
): void {
  const body = Buffer.from(text);
  response.writeHead(status, {
    "content-type": contentType,
    "content-length": body.length,
    "cache-control": "no-store",
    "x-correlation-id": correlationId,
    "x-content-type-options": "nosniff",
  });
  response.end(response.req.method === "HEAD" ? undefined : body);
}

/** The query of a request, which names each parameter. */
export function queryOf({ url = "" }: IncomingMessage): URLSearchParams {
  const start = url.indexOf("?");
  return new URLSearchParams(start === -1 ? "" : url.slice(start + 1));
}
