/** Says in the gateway's words why no answer could be had from a downstream API. */

import { GatewayError } from "../../errors.ts";
import { ProxyRefusal } from "../../outbound/connector.ts";
import { PrivateAddressError } from "./private-address.ts";

/** Reasons by the code, or name where there is none, of a system or HTTP client error; the fallback is `network`. */
const REASON_OF: Readonly<Record<string, string>> = {
  ENOTFOUND: "dns",
  EAI_AGAIN: "dns",
  ECONNREFUSED: "refused",
  ECONNRESET: "reset",
  EPIPE: "reset",
  UND_ERR_SOCKET: "reset",
  ETIMEDOUT: "connect_timeout",
  UND_ERR_CONNECT_TIMEOUT: "connect_timeout",
  UND_ERR_HEADERS_OVERFLOW: "headers_too_large",
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: "protocol",
  HTTPParserError: "protocol",
  UND_ERR_DESTROYED: "closed",
  UND_ERR_CLOSED: "closed",
  ERR_PROXY_REFUSED: "proxy_refused",
  ERR_PROXY_UNREACHABLE: "proxy_unreachable",
};

/** Whether the connection went away before anything was answered on it. */
export function isReset(error: Error): boolean {
  return REASON_OF[codeOf(error)] === "reset";
}

/** Codes of failures to connect that the next attempt may well not meet: another pod, another answer of the resolver. */
const PASSING: ReadonlySet<string> = new Set([
  "EAI_AGAIN",
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "UND_ERR_SOCKET",
]);

export function isPassing(error: Error): boolean {
  return PASSING.has(codeOf(error)) || (error.cause instanceof Error && PASSING.has(codeOf(error.cause)));
}

/** Short stable label of a failure. */
export function failureReason(error: Error): string {
  const code = codeOf(error);
  return REASON_OF[code] ?? (isTlsError(code) ? "tls" : "network");
}

const CONNECT_FAILURES: ReadonlySet<string> = new Set([
  "dns",
  "refused",
  "connect_timeout",
  "proxy_refused",
  "proxy_unreachable",
]);

/** Whether the host could not be connected to, so that the next request would fare no better. */
export function isConnectFailure(error: Error): boolean {
  const code = codeOf(error);
  return CONNECT_FAILURES.has(REASON_OF[code] ?? "") || isTlsError(code);
}

/** The refusal for a failure below HTTP. Errors of our own pass as they are. */
export function transportError(error: Error): GatewayError {
  if (error instanceof GatewayError) return error;
  if (error instanceof PrivateAddressError) {
    return new GatewayError("downstream_misconfigured", {
      detail: "The downstream API's host has no public address.",
      reason: "private_address",
      diagnostics: { fix: "set allowPrivateNetwork: true if the API is meant to be inside the network" },
      cause: error,
    });
  }
  const code = codeOf(error);
  if (REASON_OF[code] === "closed") return closed(error);
  return new GatewayError("downstream_unreachable", {
    detail: "The downstream API gave no usable answer.",
    reason: failureReason(error),
    diagnostics: { error: code, ...(error instanceof ProxyRefusal && { proxyStatus: error.status }) },
    cause: error,
  });
}

function codeOf(error: Error): string {
  return "code" in error && typeof error.code === "string" ? error.code : error.name;
}

/** OpenSSL's verification results carry names of their own (`DEPTH_ZERO_SELF_SIGNED_CERT`, `CERT_HAS_EXPIRED`). */
function isTlsError(code: string): boolean {
  return /CERT|SSL|TLS|UNABLE_TO_|SELF_SIGNED/.test(code);
}

export function closed(cause?: Error): GatewayError {
  return new GatewayError("draining", { detail: "The gateway is shutting down.", cause });
}

/** The breaker is open for so many ms yet. */
export function unconnectable(openMs: number): GatewayError {
  return new GatewayError("downstream_unreachable", {
    detail: "The downstream API could not be connected to a moment ago.",
    reason: "breaker_open",
    retryAfterSeconds: Math.ceil(openMs / 1000),
  });
}

/** Nothing came in time: from the caller, if all was ready and its body was awaited; from the downstream otherwise. */
export function silence(waitsForCaller: boolean): GatewayError {
  if (waitsForCaller) {
    return new GatewayError("request_malformed", {
      detail: "The request body did not arrive in time.",
      reason: "body_stalled",
    });
  }
  return new GatewayError("downstream_timeout", {
    detail: "The downstream API did not answer in time.",
  });
}
