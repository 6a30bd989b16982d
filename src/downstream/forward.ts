/** Forwards a caller's request to its target and streams the answer back. */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { createBudget } from "../foundation/budget.ts";
import type { Forward, OwnFields, Transport } from "./contract.ts";
import { type RelayEnd, relay } from "./forward/relay.ts";
import {
  ambiguousFraming,
  bodyTooLarge,
  discardBody,
  type Framing,
  readFraming,
} from "./forward/request-body.ts";
import { headerRulesOf } from "./headers/api-header-rules.ts";
import { downstreamRequestHeaders } from "./headers/headers.ts";
import { ownerOf } from "./transport/owner.ts";

export { readFraming } from "./forward/request-body.ts";

export interface ForwardOptions {
  readonly transport: Transport;
  /** Memory for bodies that are kept to be sent again, bytes, and the parts of it that one user and one client may hold. */
  readonly fairness: {
    readonly replayBytes: number;
    readonly userShare: number;
    readonly clientShare: number;
  };
  /** Said in every answer that is passed on, with the correlation id. */
  readonly own?: OwnFields;
  /** Ms since the epoch. */
  readonly now?: () => number;
}

/** A forwarder over the connections of a transport. */
export function createForward({ transport, now = Date.now, own, fairness }: ForwardOptions): Forward {
  const budget = createBudget({ total: fairness.replayBytes, ...fairness });
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
        const deadlineAt = now() + timeoutMs;
        const memory = { budget, owner: ownerOf(request.record) };
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
          relay({ transport, now, own, request, framing, headers, deadlineAt, attempt: count, memory }, end);
        };
        attempt(1);
      } catch (error) {
        refused(error);
      }
    });
}

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
