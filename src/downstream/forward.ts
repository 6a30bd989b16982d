/** Forwards a caller's request to its target and streams the answer back. */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Secret } from "../secret.ts";
import { headerRulesOf } from "./api-header-rules.ts";
import type { Target } from "./downstream-api.ts";
import { downstreamRequestHeaders, type ForwardedHop, identityCoding } from "./headers.ts";
import type { RewriteAnswer } from "./link-rewriter.ts";
import { relay } from "./relay.ts";
import { ambiguousFraming, bodyTooLarge, discardBody, type Framing, readFraming } from "./request-body.ts";
import type { TransferRecord } from "./transfer-watch.ts";
import type { Transport } from "./transport.ts";

export interface ForwardOptions {
  readonly transport: Transport;
  /** Ms since the epoch. */
  readonly now?: () => number;
}

export interface ForwardRequest {
  readonly incoming: IncomingMessage;
  /** Fields already set on it win over the downstream's; `vary` is joined. */
  readonly outgoing: ServerResponse;
  readonly target: Target;
  readonly token: Secret;
  readonly correlationId: string;
  /** Latest time for the answer's headers, ms since the epoch, when that is earlier than the API's own `timeoutMs`. */
  readonly deadlineAt?: number;
  /** `WWW-Authenticate` of a 401 that passes through, in place of the downstream's. Default: a bare `Bearer`. */
  readonly challenge?: string;
  /** Where it is noted how the request fared. */
  readonly record?: TransferRecord | undefined;
  /** Who calls the gateway, for an API that is to know. */
  readonly forwarded?: ForwardedHop | undefined;
  /** Changes the answer's body while it streams. The API is then asked for an answer without content coding. */
  readonly rewrite?: RewriteAnswer | undefined;
  /**
   * Called once at most, when the downstream is connected and the first byte of the body is wanted. A server that
   * listens to `checkContinue` calls `outgoing.writeContinue()` here; without that listener node:http has done so.
   */
  readonly onBodyWanted?: () => void;
}

/** Why an answer did not reach the caller whole: the caller left, the downstream broke off, or nothing moved. */
export type Cut = "caller_gone" | "downstream_failed" | "idle";

export type ForwardOutcome =
  | {
      readonly kind: "answered";
      /** The downstream's own status, whatever it was. */
      readonly status: number;
      /** Ms from the call of `forward` until the answer's headers. */
      readonly headersAfterMs: number;
      readonly requestBytes: number;
      readonly responseBytes: number;
      /** Set when the answer was not delivered whole; the caller's connection has then been destroyed. */
      readonly cut: Cut | undefined;
    }
  | {
      /** Nothing has been written. Exchange again with these claims and, if `replayable`, forward once more. */
      readonly kind: "challenged";
      readonly status: number;
      /** Decoded JSON text, as the downstream wrote it. */
      readonly claims: string;
      readonly replayable: boolean;
    }
  | {
      /** The caller left before the answer began. Nobody is there to be answered. */
      readonly kind: "abandoned";
    };

/**
 * Forwards one request. A downstream status is a result and passes with its body untouched, compressed or not.
 * Redirects pass too: the token is meant for one origin, and whether any is followed is the transport's matter.
 * Upgrades are not offered.
 *
 * Rejects with `request_malformed`, `body_too_large`, `overloaded`, `downstream_unreachable`, `downstream_timeout`,
 * `downstream_misconfigured` or `draining`, always before anything is written. Once the head of the answer is
 * written a failure destroys the caller's connection, so that a cut answer can never be taken for a whole one.
 */
export type Forward = (request: ForwardRequest) => Promise<ForwardOutcome>;

/** A forwarder over the connections of a transport. */
export function createForward({ transport, now = Date.now }: ForwardOptions): Forward {
  return async (request) => {
    const { incoming, outgoing, target, token, correlationId } = request;
    const { maxRequestBytes } = target.api;
    if (outgoing.destroyed) return { kind: "abandoned" };
    try {
      const framing = framingOf(incoming, outgoing);
      const contentLength = framing.kind === "length" ? framing.bytes : undefined;
      if (contentLength !== undefined && contentLength > maxRequestBytes) throw bodyTooLarge();
      const lines = request.rewrite === undefined ? incoming.rawHeaders : identityCoding(incoming.rawHeaders);
      const headers = downstreamRequestHeaders(
        lines,
        { token, correlationId, contentLength, forwarded: request.forwarded },
        headerRulesOf(target.api).request,
      );
      const deadlineAt = Math.min(
        request.deadlineAt ?? Number.POSITIVE_INFINITY,
        now() + target.api.timeoutMs,
      );
      for (let attempt = 1; ; attempt++) {
        const mayPause = attempt < MAX_ATTEMPTS;
        const timed = { ...request, deadlineAt, mayPause };
        const outcome = await relay({ transport, now, request: timed, framing, headers });
        if (outcome.kind !== "throttled") return outcome;
        if (!(await pause(outcome.pauseMs, outgoing))) return { kind: "abandoned" };
      }
    } catch (error) {
      // Callers read a refusal when they are done sending, so what they still send is taken off the wire.
      discardBody(incoming, maxRequestBytes);
      throw error;
    }
  };
}

/** How often a throttled request is sent at most. */
const MAX_ATTEMPTS = 3;

/** Waits, and says whether the caller did too. */
function pause(ms: number, outgoing: ServerResponse): Promise<boolean> {
  return new Promise((resolve) => {
    const settle = (stayed: boolean) => {
      clearTimeout(timer);
      outgoing.off("close", left);
      resolve(stayed);
    };
    const left = () => settle(false);
    const timer = setTimeout(() => settle(true), ms);
    outgoing.on("close", left);
  });
}

/** Connections on which it is in doubt where the next request begins (RFC 9112 §6.3). */
const doubtful = new WeakSet<Socket>();

function framingOf(incoming: IncomingMessage, outgoing: ServerResponse): Framing {
  try {
    // What follows on such a connection may have been parsed already, before our refusal could close it.
    if (doubtful.has(incoming.socket)) throw ambiguousFraming();
    return readFraming(incoming);
  } catch (error) {
    doubtful.add(incoming.socket);
    outgoing.shouldKeepAlive = false;
    throw error;
  }
}
