/** The life of one forwarded request: two streams, one deadline at a time, and exactly one way to end. */

import { GatewayError } from "../errors.ts";
import { headerRulesOf } from "./api-header-rules.ts";
import { usableClaims } from "./claims-challenge.ts";
import type { Cut, ForwardOutcome, ForwardRequest } from "./forward.ts";
import type { AnswerHeaders, HeaderLines } from "./headers.ts";
import type { BodyRewriter } from "./link-rewriter.ts";
import {
  discardBody,
  type Framing,
  forgetBody,
  keptBody,
  openRequestBody,
  type RequestBody,
} from "./request-body.ts";
import { type OwnFields, writeResponseHead } from "./response-head.ts";
import { throttlePauseMs } from "./retry-after.ts";
import type { AnswerReceiver, Transfer, Transport } from "./transport.ts";

export interface RelayOptions {
  readonly transport: Transport;
  readonly now: () => number;
  readonly request: ForwardRequest;
  readonly framing: Framing;
  readonly headers: HeaderLines;
  /** Latest time for the answer's headers, ms since the epoch. */
  readonly deadlineAt: number;
  /** Whether a pause that the API asks for may still be made. */
  readonly mayPause: boolean;
  readonly own: OwnFields | undefined;
}

/** The API asks for a pause that the gateway is allowed to make. Nothing has been written. */
export interface Throttled {
  readonly kind: "throttled";
  readonly pauseMs: number;
}

export interface RelayEnd {
  settled(outcome: ForwardOutcome | Throttled): void;
  refused(error: GatewayError): void;
}

/** Sends the request and carries the answer to the caller; see `Forward` for what it promises. */
export function relay(options: RelayOptions, end: RelayEnd): void {
  new Relay(options, end).send();
}

/** A class, because there is one for each request: an object with methods is made in a fraction of as many closures. */
class Relay implements AnswerReceiver {
  private readonly options: RelayOptions;
  private readonly outlet: RelayEnd;
  private readonly startedAt: number;
  private readonly deadline: NodeJS.Timeout;
  private readonly replayed: Buffer | undefined;
  private readonly body: RequestBody | undefined;
  private state: "waiting" | "answering" | "ended" = "waiting";
  private status = 0;
  private answer: AnswerHeaders = {};
  private isElsewhere = false;
  private isHeadWritten = false;
  private idle: NodeJS.Timeout | undefined = undefined;
  /** First chunk of the answer, kept until it is known whether it is the only one. */
  private first: Buffer | undefined = undefined;
  private headersAfterMs = 0;
  private responseBytes = 0;
  private transfer: Transfer | undefined = undefined;
  private rewriter: BodyRewriter | undefined = undefined;

  constructor(options: RelayOptions, end: RelayEnd) {
    const { incoming, outgoing } = options.request;
    this.options = options;
    this.outlet = end;
    this.startedAt = options.now();
    this.deadline = setTimeout(() => this.onSilence(), Math.max(0, options.deadlineAt - this.startedAt));
    this.replayed = keptBody(incoming);
    const hasBody = this.replayed === undefined && options.framing.kind !== "none";
    this.body = hasBody ? this.openBody() : undefined;
    // First of all listeners, so that those who report the end find what `progress` says of it.
    outgoing.prependListener("close", () => this.onClose());
  }

  send(): void {
    const { transport, headers, request } = this.options;
    const { target, incoming } = request;
    const body = this.replayed ?? this.body?.stream;
    this.transfer = transport.send({ target, method: incoming.method ?? "GET", headers, body }, this);
  }

  head(status: number, answer: AnswerHeaders, isElsewhere = false): void {
    const { request, now } = this.options;
    const claims = isElsewhere ? undefined : challengeIn(status, answer);
    if (claims !== undefined) {
      this.challenged(status, claims);
      return;
    }
    const nowMs = now();
    const pauseMs = this.pauseMs(status, answer, nowMs);
    if (pauseMs !== undefined) {
      this.release();
      this.outlet.settled({ kind: "throttled", pauseMs });
      return;
    }
    forgetBody(request.incoming);
    this.state = "answering";
    this.status = status;
    this.answer = answer;
    this.isElsewhere = isElsewhere;
    this.headersAfterMs = nowMs - this.startedAt;
    if (request.progress !== undefined) request.progress.downstreamStatus = status;
    // An answer that has come whole by then was written in one piece. Otherwise the caller gets what there is: the
    // first event of a stream may be minutes away.
    queueMicrotask(() => {
      if (this.state === "answering" && !this.isHeadWritten) this.begin();
    });
  }

  chunk(chunk: Buffer): void {
    this.responseBytes += chunk.length;
    if (!this.isHeadWritten) {
      if (this.first === undefined) {
        this.first = chunk;
        return;
      }
      this.begin();
    }
    this.restartIdle();
    this.pass(chunk);
  }

  end(): void {
    if (!this.isHeadWritten) {
      this.answerWhole();
      return;
    }
    this.restartIdle();
    this.options.request.outgoing.end(this.rewriter?.flush());
  }

  failed(error: GatewayError): void {
    if (this.state === "answering") this.finish("downstream_failed");
    else this.refuse(error);
  }

  /** Writes the head, and what has come of the body, of an answer that goes on. */
  private begin(): void {
    const { request } = this.options;
    clearTimeout(this.deadline);
    this.restartIdle();
    this.rewriter = this.rewriterOf();
    this.writeHead(this.rewriter !== undefined);
    if (this.first === undefined) request.outgoing.flushHeaders();
    else this.pass(this.first);
    this.first = undefined;
  }

  /** Head and body at once. The deadline stays, for a caller that does not take them. */
  private answerWhole(): void {
    const { outgoing } = this.options.request;
    const rewriter = this.first && this.rewriterOf();
    if (this.first === undefined || rewriter === undefined) {
      this.writeHead(false, this.first?.length);
      outgoing.end(this.first);
      return;
    }
    const begun = rewriter.push(this.first);
    const rest = rewriter.flush();
    const body = rest.length === 0 ? begun : Buffer.concat([begun, rest]);
    this.writeHead(!body.equals(this.first), body.length);
    outgoing.end(body);
  }

  private rewriterOf(): BodyRewriter | undefined {
    return this.isElsewhere ? undefined : this.options.request.rewrite?.(this.status, this.answer);
  }

  private writeHead(isRewritten: boolean, bodyLength?: number): void {
    const { request, own } = this.options;
    this.isHeadWritten = true;
    writeResponseHead(request.outgoing, this.status, this.answer, {
      challenge: request.challenge,
      rules: headerRulesOf(request.target.api).response,
      isRewritten,
      bodyLength,
      own,
      correlationId: request.correlationId,
    });
  }

  private pass(chunk: Buffer): void {
    const { outgoing } = this.options.request;
    const passed = this.rewriter === undefined ? chunk : this.rewriter.push(chunk);
    if (passed.length === 0 || outgoing.write(passed)) return;
    this.transfer?.pause();
    outgoing.once("drain", () => {
      if (this.state !== "answering") return;
      this.restartIdle();
      this.transfer?.resume();
    });
  }

  private pauseMs(status: number, headers: AnswerHeaders, nowMs: number): number | undefined {
    const { request, mayPause, deadlineAt } = this.options;
    if (!mayPause || this.body?.isReplayable() === false) return undefined;
    const method = request.incoming.method ?? "GET";
    return throttlePauseMs(request.target.api, {
      method,
      status,
      headers,
      msLeft: deadlineAt - nowMs,
      nowMs,
    });
  }

  private onClose(): void {
    if (this.state === "ended") return;
    if (this.state === "answering") {
      this.finish(this.options.request.outgoing.writableFinished ? undefined : "caller_gone");
      return;
    }
    this.release();
    this.outlet.settled({ kind: "abandoned" });
  }

  /** From now on the API's `idleTimeoutMs` may pass without anything moving. */
  private restartIdle(): void {
    if (this.idle !== undefined) this.idle.refresh();
    else this.idle = setTimeout(() => this.onSilence(), this.options.request.target.api.idleTimeoutMs);
  }

  private stopIdle(): void {
    clearTimeout(this.idle);
    this.idle = undefined;
  }

  private onSilence(): void {
    if (this.state === "answering") this.finish("idle");
    else this.refuse(silence(this.body));
  }

  private finish(cut: Cut | undefined): void {
    const { incoming, outgoing, target, progress } = this.options.request;
    this.release();
    if (progress !== undefined) progress.cut = cut;
    if (cut === undefined) discardBody(incoming, target.api.maxRequestBytes);
    else outgoing.destroy();
    this.outlet.settled({
      kind: "answered",
      status: this.status,
      headersAfterMs: this.headersAfterMs,
      requestBytes: this.replayed?.length ?? this.body?.received() ?? 0,
      responseBytes: this.responseBytes,
      cut,
    });
  }

  private challenged(status: number, claims: string): void {
    const { incoming, target, progress } = this.options.request;
    const replayable = this.body?.isReplayable() ?? true;
    this.release();
    if (!replayable) discardBody(incoming, target.api.maxRequestBytes);
    if (progress !== undefined) progress.downstreamStatus = status;
    this.outlet.settled({ kind: "challenged", status, claims, replayable });
  }

  private refuse(error: GatewayError): void {
    this.release();
    this.outlet.refused(error);
  }

  /** Every way out leads through here. */
  private release(): void {
    this.state = "ended";
    clearTimeout(this.deadline);
    this.stopIdle();
    this.transfer?.abort();
    this.body?.release();
  }

  private openBody(): RequestBody {
    const { request } = this.options;
    this.restartIdle();
    return openRequestBody(request.incoming, {
      maxBytes: request.target.api.maxRequestBytes,
      onWanted: () => request.onBodyWanted?.(),
      onChunk: () => this.restartIdle(),
      // From here on it is the downstream's turn, and the deadline limits that.
      onEnd: () => {
        if (this.state === "waiting") this.stopIdle();
      },
    });
  }
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
