/** Mounts the endpoints by which MCP clients sign in: reads their requests within bounds, and writes their answers. */

import type { Request, RequestHandler, Response } from "express";
import type { OwnFields } from "../downstream/contract.ts";
import { GatewayError } from "../errors.ts";
import { type BodyFailure, readBoundedBody } from "../foundation/bounded-body.ts";
import type { Bridge, Endpoint, EndpointAnswer } from "../mcp/contract.ts";
import { framingOf, recordOf, sayOwnFields } from "./pipeline.ts";

/** Time for a body of a few kilobytes to arrive, ms. */
const BODY_MS = 10_000;

/**
 * @param anyOrigin Whether to mount the documents that scripts of any origin may read, or the other endpoints. The
 * former answer preflights themselves, in front of the rules for origins that the operator lists.
 */
export function mcpEndpoints(
  { endpoints }: Pick<Bridge, "endpoints">,
  own: OwnFields,
  { anyOrigin }: { readonly anyOrigin: boolean },
): RequestHandler {
  const mounted = new Map([...endpoints].filter(([, endpoint]) => endpoint.anyOrigin === anyOrigin));
  return (request, response, next) => {
    const endpoint = mounted.get(request.path);
    if (endpoint === undefined) return next();
    const record = recordOf(request);
    record.route = request.path;
    sayOwnFields(response, own, record.correlationId);
    if (!anyOrigin) return serve(endpoint, request, response);
    response.setHeader("access-control-allow-origin", "*");
    // Helmet's default keeps other sites from reading what they may read here.
    response.setHeader("cross-origin-resource-policy", "cross-origin");
    return request.method === "OPTIONS" ? preflight(response) : serve(endpoint, request, response);
  };
}

/** Clients send `MCP-Protocol-Version` along, which makes browsers ask beforehand. */
function preflight(response: Response): void {
  response.setHeader("access-control-allow-methods", "GET, HEAD");
  response.setHeader("access-control-allow-headers", "mcp-protocol-version, accept, content-type");
  response.setHeader("access-control-max-age", "86400");
  response.statusCode = 204;
  response.end();
}

async function serve(endpoint: Endpoint, request: Request, response: Response): Promise<void> {
  if (!endpoint.methods.includes(request.method)) {
    response.setHeader("allow", endpoint.methods.join(", "));
    throw new GatewayError("method_not_allowed", {
      detail: "This endpoint does not take the method of the request.",
    });
  }
  const left = new AbortController();
  response.once("close", () => left.abort());
  const body = endpoint.body === undefined ? "" : await readBody(request, endpoint.body);
  const answer = await endpoint.answer({
    query: queryOf(request.url),
    body,
    hasAuthorization: request.headers.authorization !== undefined,
    correlationId: recordOf(request).correlationId,
    signal: left.signal,
  });
  write(answer, request, response);
}

function queryOf(url: string): string {
  const mark = url.indexOf("?");
  return mark === -1 ? "" : url.slice(mark + 1);
}

function write(
  { status, headers, body, refusal }: EndpointAnswer,
  request: Request,
  response: Response,
): void {
  if (refusal !== undefined) recordOf(request).refusal = { ...refusal, diagnostics: undefined };
  response.writeHead(status, { ...headers, "content-length": Buffer.byteLength(body) });
  response.end(request.method === "HEAD" ? undefined : body);
}

/** Rejects with `request_malformed` or `body_too_large`. */
async function readBody(
  request: Request,
  { type, maxBytes }: NonNullable<Endpoint["body"]>,
): Promise<string> {
  const framing = framingOf(recordOf(request));
  const mediaType = (request.headers["content-type"] ?? "").split(";", 1)[0]?.trim().toLowerCase();
  if (mediaType !== type) throw malformed("body_type", `The body must be of the type ${type}.`);
  if ((request.headers["content-encoding"] ?? "identity").toLowerCase() !== "identity")
    throw malformed("body_coding", "The body must not be in a content coding.");
  if (framing.kind === "length" && framing.bytes > maxBytes) throw tooLarge();
  const body = await readBoundedBody(request, {
    maxBytes,
    timeoutMs: BODY_MS,
    failed: (failure) => FAILED[failure](),
  });
  return body.toString();
}

const FAILED: Readonly<Record<BodyFailure, () => GatewayError>> = {
  too_large: tooLarge,
  cut: () => malformed("body_cut", "The body ended early."),
  stalled: () => malformed("body_stalled", "The body took too long to arrive."),
};

function malformed(reason: string, detail: string): GatewayError {
  return new GatewayError("request_malformed", { detail, reason });
}

function tooLarge(): GatewayError {
  return new GatewayError("body_too_large", { detail: "The body is larger than this endpoint takes." });
}
