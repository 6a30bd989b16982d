/** The spans of a request: its own, one for each room, and one for each question to Entra or an API. */

import {
  type Context,
  defaultTextMapGetter,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type TextMapPropagator,
  type Tracer,
  trace,
} from "@opentelemetry/api";
import { GatewayError } from "../errors.ts";
import type { TraceEnd } from "../http/contract.ts";
import type { OpenSpan, OpenTrace, TracedRequest } from "./contract.ts";

/** Those that the semantic conventions know; any other is `_OTHER`, so that callers cannot invent names of spans. */
const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"]);

const FIELDS = { set: (fields: string[], name: string, value: string) => void fields.push(name, value) };

/**
 * Spans are handed along with the request instead of being found by AsyncLocalStorage, which would cost every
 * promise of the process something. Paths and queries are left out: they may hold a user's name, address or secret.
 *
 * @param propagator None leaves callers' trace fields unread, and passes them on as any other.
 */
export function createRequestTraces(
  tracer: Tracer,
  propagator: TextMapPropagator | undefined,
): (incoming: TracedRequest) => OpenTrace {
  const fieldsOf = (context: Context) => {
    const fields: string[] = [];
    propagator?.inject(context, fields, FIELDS);
    return fields;
  };

  return (incoming) => {
    const parent = propagator?.extract(ROOT_CONTEXT, incoming.headers, defaultTextMapGetter) ?? ROOT_CONTEXT;
    const method = methodOf(incoming.method);
    const attributes = {
      "http.request.method": method,
      "url.scheme": "http",
      "network.protocol.version": incoming.httpVersion,
    };
    const span = tracer.startSpan(method, { kind: SpanKind.SERVER, attributes }, parent);
    const own = trace.setSpan(parent, span);

    return {
      traceId: span.spanContext().traceId,
      room(name) {
        const room = tracer.startSpan(name, {}, own);
        return openSpan(tracer, room, trace.setSpan(own, room));
      },
      forwarding({ api, method, origin }) {
        const client = startClient(tracer, "forward", { api, method: methodOf(method), url: origin }, own);
        return {
          fields: fieldsOf(trace.setSpan(own, client)),
          answered(status) {
            answered(client, status);
            client.end();
          },
          failed(code) {
            failed(client, code);
            client.end();
          },
        };
      },
      ended: (end) => endServer(span, method, end),
    };
  };
}

function openSpan(tracer: Tracer, span: Span, context: Context): OpenSpan {
  return {
    granted(origin) {
      if (origin !== undefined) span.setAttribute("obo_gateway.origin", origin);
      span.end();
    },
    refused(error) {
      // No refusal: a defect, or a caller who left.
      failed(
        span,
        error instanceof GatewayError ? error.code : error instanceof Error ? error.name : "_OTHER",
      );
      if (error instanceof GatewayError && error.reason !== undefined)
        span.setAttribute("obo_gateway.reason", error.reason);
      span.end();
    },
    tokenRequest(endpoint) {
      const client = startClient(tracer, "token request", { method: "POST", url: endpoint }, context);
      return {
        ended({ status, code }) {
          if (status !== undefined) answered(client, status);
          if (code !== undefined) failed(client, code);
          client.end();
        },
      };
    },
  };
}

function startClient(
  tracer: Tracer,
  name: string,
  to: { readonly api?: string; readonly method: string; readonly url: string },
  context: Context,
): Span {
  const { hostname, port, protocol } = new URL(to.url);
  const attributes = {
    "http.request.method": to.method,
    "server.address": hostname,
    "server.port": Number(port || (protocol === "https:" ? 443 : 80)),
    ...(to.api !== undefined && { "obo_gateway.api": to.api }),
  };
  return tracer.startSpan(name, { kind: SpanKind.CLIENT, attributes }, context);
}

/** Of a client's span: to the side that asked, a 4xx is an error, too. */
function answered(span: Span, status: number): void {
  span.setAttribute("http.response.status_code", status);
  if (status >= 400) failed(span, String(status));
}

function failed(span: Span, type: string): void {
  span.setAttribute("error.type", type);
  span.setStatus({ code: SpanStatusCode.ERROR });
}

function endServer(span: Span, method: string, end: TraceEnd): void {
  const { route, status, code, reason, tenantId, objectId, clientId } = end;
  if (route !== undefined) {
    span.updateName(`${method} ${route}`);
    span.setAttribute("http.route", route);
  }
  span.setAttributes({
    "http.response.status_code": status,
    "obo_gateway.code": code,
    "obo_gateway.correlation_id": end.correlationId,
    ...(reason !== undefined && { "obo_gateway.reason": reason }),
    ...(tenantId !== undefined && { "obo_gateway.tid": tenantId }),
    ...(objectId !== undefined && { "obo_gateway.oid": objectId }),
    ...(clientId !== undefined && { "obo_gateway.azp": clientId }),
    // Names of the semantic conventions for MCP.
    ...(end.mcp !== undefined && { "mcp.method.name": end.mcp.method }),
    ...(end.mcp !== undefined && end.mcp.tools.length > 0 && { "gen_ai.tool.name": end.mcp.tools.join(",") }),
  });
  // Of a server's span only what the server got wrong is an error; what it refuses is its job.
  if (status >= 500) failed(span, code === "granted" ? String(status) : code);
  else if (!end.completed) failed(span, code);
  span.end();
}

function methodOf(method = "GET"): string {
  return METHODS.has(method) ? method : "_OTHER";
}
