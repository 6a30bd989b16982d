/** Forwards a caller's request to its target and streams the answer back. */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Secret } from "../foundation/secret.ts";
import { type RelayEnd, relay } from "./forward/relay.ts";
import {
  ambiguousFraming,
  bodyTooLarge,
  discardBody,
  type Framing,
  readFraming,
} from "./forward/request-body.ts";
import type { RewriteAnswer } from "./graph/link-rewriter.ts";
import { headerRulesOf } from "./headers/api-header-rules.ts";
import { downstreamRequestHeaders, type ForwardedHop } from "./headers/headers.ts";
import type { OwnFields } from "./headers/response-head.ts";
import type { Target } from "./target/downstream-api.ts";
import type { Transport } from "./transport/pool.ts";
import type { TransferRecord } from "./transport/transfer-watch.ts";

export interface ForwardOptions {
  readonly transport: Transport;
  /** Said in every answer that is passed on, with the correlation id. */
  readonly own?: OwnFields;
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
  /** Who calls the gateway, for an API that is to know. */
  readonly forwarded?: ForwardedHop | undefined;
  /** Changes the answer's body while it streams. The API is then asked for an answer without content coding. */
  readonly rewrite?: RewriteAnswer | undefined;
  /**
   * Called once at most, when the downstream is connected and the first byte of the body is wanted. A server that
   * listens to `checkContinue` calls `outgoing.writeContinue()` here; without that listener node:http has done so.
   */
  readonly onBodyWanted?: () => void;
  /** Filled in as it becomes known, before whoever listens to the end of `outgoing` is told. */
  readonly record?: ForwardRecord;
}

/** What a report of the request says of the downstream. */
export interface ForwardRecord extends TransferRecord {
  downstreamStatus: number | undefined;
  cut: string | undefined;
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
export function createForward({ transport, now = Date.now, own }: ForwardOptions): Forward {
  return (request) =>
    new Promise((resolve, reject) => {
      const { incoming, outgoing, target } = request;
      const { maxRequestBytes, timeoutMs } = target.api;
      if (outgoing.destroyed) {
        resolve({ kind: "abandoned" });
        return;
      }
      // Callers read a refusal when they are done sending, so what they still send is taken off the wire.
      const refused = (error: unknown) => {
        discardBody(incoming, maxRequestBytes);
        reject(error);
      };
      try {
        const framing = framingOf(incoming, outgoing);
        const contentLength = framing.kind === "length" ? framing.bytes : undefined;
        if (contentLength !== undefined && contentLength > maxRequestBytes) throw bodyTooLarge();
        const headers = downstreamRequestHeaders(
          incoming.rawHeaders,
          {
            token: request.token,
            correlationId: request.correlationId,
            contentLength,
            forwarded: request.forwarded,
            identityCoding: request.rewrite !== undefined,
          },
          headerRulesOf(target.api).request,
        );
        const deadlineAt = Math.min(request.deadlineAt ?? Number.POSITIVE_INFINITY, now() + timeoutMs);
        const attempt = (count: number): void => {
          const end: RelayEnd = {
            refused,
            settled(outcome) {
              if (outcome.kind !== "throttled") resolve(outcome);
              else
                pause(outcome.pauseMs, outgoing)
                  .then((stayed) => (stayed ? attempt(count + 1) : resolve({ kind: "abandoned" })))
                  .catch(refused);
            },
          };
          relay(
            { transport, now, own, request, framing, headers, deadlineAt, mayPause: count < MAX_ATTEMPTS },
            end,
          );
        };
        attempt(1);
      } catch (error) {
        refused(error);
      }
    });
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
