/** The life of one forwarded request: two streams, two deadlines, and exactly one way to end. */

import { GatewayError } from "../errors.ts";
import { headerRulesOf } from "./api-header-rules.ts";
import { usableClaims } from "./claims-challenge.ts";
import type { Cut, ForwardOutcome, ForwardRequest } from "./forward.ts";
import type { AnswerHeaders, HeaderLines } from "./headers.ts";
import { createIdleTimer } from "./idle-timer.ts";
import type { BodyRewriter } from "./link-rewriter.ts";
import {
  discardBody,
  type Framing,
  forgetBody,
  keptBody,
  openRequestBody,
  type RequestBody,
} from "./request-body.ts";
import { writeResponseHead } from "./response-head.ts";
import { throttlePauseMs } from "./retry-after.ts";
import { throttleWaited } from "./transfer-watch.ts";
import type { Transfer, Transport } from "./transport.ts";

interface RelayOptions {
  readonly transport: Transport;
  readonly now: () => number;
  readonly request: ForwardRequest & { readonly mayPause?: boolean };
  readonly framing: Framing;
  readonly headers: HeaderLines;
}

/** The API asks for a pause that the gateway is allowed to make. Nothing has been written. */
export interface Throttled {
  readonly kind: "throttled";
  readonly pauseMs: number;
}

/** Sends the request and carries the answer to the caller; see `Forward` for what it promises. */
export function relay({
  transport,
  now,
  request,
  framing,
  headers,
}: RelayOptions): Promise<ForwardOutcome | Throttled> {
  const { incoming, outgoing, target } = request;
  const { idleTimeoutMs, timeoutMs, maxRequestBytes } = target.api;
  const startedAt = now();
  const timeLeftMs = Math.min(timeoutMs, (request.deadlineAt ?? Number.POSITIVE_INFINITY) - startedAt);

  return new Promise((resolve, reject) => {
    let state: "waiting" | "answering" | "ended" = "waiting";
    let status = 0;
    let headersAfterMs = 0;
    let responseBytes = 0;
    let transfer: Transfer | undefined;
    let rewriter: BodyRewriter | undefined;

    const deadline = setTimeout(() => refuse(silence(body)), Math.max(0, timeLeftMs));
    const idle = createIdleTimer(idleTimeoutMs, () => {
      if (state === "answering") finish("idle");
      else refuse(silence(body));
    });
    const replayed = keptBody(incoming);
    const body = replayed === undefined && framing.kind !== "none" ? openBody() : undefined;

    outgoing.on("close", onClose);
    transfer = transport.send(
      {
        target,
        method: incoming.method ?? "GET",
        headers,
        body: replayed ?? body?.stream,
        record: request.record,
      },
      { head: onHead, chunk: onChunk, end: onEnd, failed: onFailed },
    );

    function onHead(answerStatus: number, answer: AnswerHeaders, isElsewhere = false): void {
      const claims = isElsewhere ? undefined : challengeIn(answerStatus, answer);
      if (claims !== undefined) {
        challenged(answerStatus, claims);
        return;
      }
      const pauseMs = throttlePauseMs(target.api, {
        method: incoming.method ?? "GET",
        status: answerStatus,
        headers: answer,
        msLeft: timeLeftMs - (now() - startedAt),
        nowMs: now(),
      });
      if (pauseMs !== undefined && request.mayPause !== false && (body?.isReplayable() ?? true)) {
        end();
        throttleWaited(request.record, pauseMs);
        resolve({ kind: "throttled", pauseMs });
        return;
      }
      forgetBody(incoming);
      rewriter = isElsewhere ? undefined : request.rewrite?.(answerStatus, answer);
      writeResponseHead(outgoing, answerStatus, answer, {
        challenge: request.challenge,
        rules: headerRulesOf(target.api).response,
        isRewritten: rewriter !== undefined,
      });
      state = "answering";
      status = answerStatus;
      headersAfterMs = now() - startedAt;
      clearTimeout(deadline);
      idle.restart();
      outgoing.on("drain", onDrain).on("finish", finish);
      // Chunks that came along with the head are written before this runs and take it with them. Where none did
      // the caller gets the head alone: the first event of a stream may be minutes away.
      queueMicrotask(() => {
        if (state === "answering" && responseBytes === 0 && !outgoing.writableEnded) outgoing.flushHeaders();
      });
    }

    function onChunk(chunk: Buffer): void {
      responseBytes += chunk.length;
      idle.restart();
      const passed = rewriter === undefined ? chunk : rewriter.push(chunk);
      if (passed.length > 0 && !outgoing.write(passed)) transfer?.pause();
    }

    function onDrain(): void {
      idle.restart();
      transfer?.resume();
    }

    function onEnd(): void {
      idle.restart();
      outgoing.end(rewriter?.flush());
    }

    function onFailed(error: GatewayError): void {
      if (state === "answering") finish("downstream_failed");
      else refuse(error);
    }

    function onClose(): void {
      if (state === "answering") {
        finish(outgoing.writableFinished ? undefined : "caller_gone");
        return;
      }
      end();
      resolve({ kind: "abandoned" });
    }

    function finish(cut?: Cut): void {
      end();
      if (cut === undefined) discardBody(incoming, maxRequestBytes);
      else outgoing.destroy();
      const requestBytes = replayed?.length ?? body?.received() ?? 0;
      resolve({ kind: "answered", status, headersAfterMs, requestBytes, responseBytes, cut });
    }

    function challenged(answerStatus: number, claims: string): void {
      const replayable = body?.isReplayable() ?? true;
      end();
      if (!replayable) discardBody(incoming, maxRequestBytes);
      resolve({ kind: "challenged", status: answerStatus, claims, replayable });
    }

    function refuse(error: GatewayError): void {
      end();
      reject(error);
    }

    /** Every way out leads through here. */
    function end(): void {
      state = "ended";
      clearTimeout(deadline);
      idle.stop();
      outgoing.off("close", onClose).off("drain", onDrain).off("finish", finish);
      transfer?.abort();
      body?.release();
    }

    function openBody(): RequestBody {
      idle.restart();
      return openRequestBody(incoming, {
        maxBytes: maxRequestBytes,
        onWanted: () => request.onBodyWanted?.(),
        onChunk: () => idle.restart(),
        // From here on it is the downstream's turn, and the deadline limits that.
        onEnd: () => {
          if (state === "waiting") idle.stop();
        },
      });
    }
  });
}

function challengeIn(status: number, answer: AnswerHeaders): string | undefined {
  return status === 401 || status === 403 ? usableClaims(answer["www-authenticate"]) : undefined;
}

/** Nothing came in time: from the caller, if all was ready and its body was awaited; from the downstream otherwise. */
function silence(body: RequestBody | undefined): GatewayError {
  if (body?.waitsForCaller() === true) {
    return new GatewayError("request_malformed", {
      detail: "The request body did not arrive in time.",
      reason: "body_stalled",
    });
  }
  return new GatewayError("downstream_timeout", {
    detail: "The downstream API did not answer in time.",
  });
}
