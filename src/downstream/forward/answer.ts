/** One request of our own making to a downstream API, and its answer as a stream. */

import { Readable } from "node:stream";
import { GatewayError } from "../../errors.ts";
import { loopTurns } from "../../foundation/turns.ts";
import type { AnswerHeaders, Transfer, Transport, TransportRequest } from "../contract.ts";
import { isEventStream } from "../headers/headers.ts";
import { createIdleTimer } from "../transport/idle-timer.ts";

export interface Answer {
  readonly status: number;
  readonly headers: AnswerHeaders;
  readonly body: Readable;
  /** Whether a redirect led to it, away from the API. */
  readonly isElsewhere: boolean;
}

export interface AnswerLimits {
  /** Until the answer's headers are here, ms. */
  readonly timeoutMs: number;
  /** Longest pause within the answer's body, ms, whichever side makes it. */
  readonly idleTimeoutMs: number;
  /** The same for a `text/event-stream`, ms. Default: `idleTimeoutMs`. */
  readonly streamIdleTimeoutMs?: number;
  readonly signal: AbortSignal | undefined;
}

/** An answer up to this size is received whole even if it is not read, bytes, so that it does not hold a connection. */
const READ_AHEAD = 65_536;

/**
 * Sends a request and resolves when the answer's headers are here, whatever its status.
 *
 * Where there is no time left in this turn of the event loop, an answer waits for the turn of its user, on the wire and in its
 * place at the API: many can come in one read of all sockets, and what a handler makes of each takes a time that counts.
 *
 * Rejects with the transport's GatewayError, with `downstream_timeout`, or with the reason of an aborted signal. What
 * goes wrong later is an error of the body stream.
 */
export function openAnswer(
  transport: Transport,
  request: TransportRequest,
  { timeoutMs, idleTimeoutMs, streamIdleTimeoutMs = idleTimeoutMs, signal }: AnswerLimits,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    let transfer: Transfer | undefined;
    const owner = request.record?.owner?.user;
    let isPaused = false;
    let isInLine = false;

    const pause = () => {
      isPaused = true;
      transfer?.pause();
    };
    const resume = () => {
      isPaused = false;
      transfer?.resume();
    };
    const inTurn = (next: () => void) => {
      if (loopTurns.isFree()) {
        next();
        return;
      }
      isInLine = true;
      if (!isPaused) pause();
      loopTurns.wait(owner, () => {
        isInLine = false;
        if (!body.destroyed) next();
      });
    };
    const body = new Readable({
      highWaterMark: READ_AHEAD,
      read() {
        idle.restart();
        if (isPaused && !isInLine) inTurn(resume);
      },
      // Also the way out after an answer that was read to its end; giving up is then without effect.
      destroy(error, done) {
        clearTimeout(deadline);
        idle.stop();
        signal?.removeEventListener("abort", onAbort);
        transfer?.abort();
        done(error);
      },
    });
    const fail = (error: unknown) => {
      // Settles the promise if it is still open; the stream tells those who have the answer already.
      reject(error);
      body.destroy(error instanceof Error ? error : new Error("aborted", { cause: error }));
    };
    const onAbort = () => fail(signal?.reason);
    const deadline = setTimeout(() => fail(timeout()), timeoutMs);
    let idle = createIdleTimer(idleTimeoutMs, () => fail(timeout()));
    // Readers of the body listen to its errors. For a caller that reads the status alone one would be uncaught.
    body.on("error", () => {});
    signal?.addEventListener("abort", onAbort, { once: true });

    transfer = transport.send(request, {
      head(status, headers, isElsewhere = false) {
        clearTimeout(deadline);
        if (isEventStream(headers)) idle = createIdleTimer(streamIdleTimeoutMs, () => fail(timeout()));
        idle.restart();
        inTurn(() => {
          resolve({ status, headers, body, isElsewhere });
          if (isPaused) resume();
        });
      },
      chunk(chunk) {
        idle.restart();
        if (!body.push(chunk)) pause();
      },
      end() {
        idle.stop();
        signal?.removeEventListener("abort", onAbort);
        body.push(null);
      },
      failed: fail,
    });
  });
}

function timeout(): GatewayError {
  return new GatewayError("downstream_timeout", { detail: "The downstream API did not answer in time." });
}
