/** The life of one forwarded request: two streams, one deadline at a time, and exactly one way to end. */

import type { GatewayError } from "../../errors.ts";
import type {
  AnswerHeaders,
  AnswerReceiver,
  Cut,
  ForwardOutcome,
  ForwardRequest,
  HeaderLines,
  OwnFields,
  Transfer,
  Transport,
} from "../contract.ts";
import { headerRulesOf } from "../headers/api-header-rules.ts";
import { challengeOf } from "../headers/claims-challenge.ts";
import { isEventStream } from "../headers/event-stream.ts";
import { createIdleTimer, type IdleTimer } from "../transport/idle-timer.ts";
import { throttlePauseMs } from "../transport/retry-after.ts";
import { throttleWaited } from "../transport/transfer-watch.ts";
import { silence, transportError } from "../transport/transport-error.ts";
import {
  discardBody,
  type Framing,
  forgetBody,
  keptBody,
  openRequestBody,
  type ReplayMemory,
  type RequestBody,
} from "./request-body.ts";
import { type AnswerFlow, AnswerWriter } from "./writer.ts";

export interface RelayOptions {
  readonly transport: Transport;
  readonly now: () => number;
  readonly request: ForwardRequest;
  readonly framing: Framing;
  readonly headers: HeaderLines;
  /** Latest time for the answer's headers, ms since the epoch. */
  readonly deadlineAt: number;
  /** 1 for the first. */
  readonly attempt: number;
  readonly memory: ReplayMemory;
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
class Relay implements AnswerReceiver, AnswerFlow {
  private readonly options: RelayOptions;
  private readonly outlet: RelayEnd;
  private readonly startedAt: number;
  private deadline: NodeJS.Timeout;
  private deadlineAt: number;
  private idleMs: number;
  private receivedBefore = 0;
  private readonly replayed: Buffer | undefined;
  private readonly body: RequestBody | undefined;
  private state: "waiting" | "answering" | "ended" = "waiting";
  private status = 0;
  private idle: IdleTimer | undefined = undefined;
  private writer: AnswerWriter | undefined = undefined;
  private isStalled = false;
  private isEvents = false;
  private headersAfterMs = 0;
  private responseBytes = 0;
  private transfer: Transfer | undefined = undefined;

  constructor(options: RelayOptions, end: RelayEnd) {
    const { incoming, outgoing } = options.request;
    this.options = options;
    this.outlet = end;
    this.startedAt = options.now();
    this.deadlineAt = options.deadlineAt;
    this.idleMs = options.request.target.api.idleTimeoutMs;
    this.deadline = setTimeout(() => this.onDeadline(), Math.max(0, options.deadlineAt - this.startedAt));
    this.replayed = keptBody(incoming);
    const hasBody = this.replayed === undefined && options.framing.kind !== "none";
    this.body = hasBody ? this.openBody() : undefined;
    // First of all listeners, so that those who report the end find what `record` says of it.
    outgoing.prependListener("close", () => this.onClose());
  }

  send(): void {
    const { transport, headers, request } = this.options;
    const { target, incoming, record } = request;
    const { method = "GET" } = incoming;
    const body = this.replayed ?? this.body?.stream;
    const kept = () => keptBody(incoming);
    this.transfer = transport.send({ target, method, headers, body, keptBody: kept, record }, this);
  }

  head(status: number, answer: AnswerHeaders, isElsewhere = false): void {
    const { request, now } = this.options;
    let claims: string | undefined;
    try {
      claims = isElsewhere ? undefined : challengeOf(status, answer["www-authenticate"]);
    } catch (error) {
      this.refuse(transportError(error as Error));
      return;
    }
    if (claims !== undefined) {
      this.challenged(status, claims);
      return;
    }
    const nowMs = now();
    const pauseMs = this.pauseMs(status, answer, nowMs);
    if (pauseMs !== undefined) {
      throttleWaited(request.record, pauseMs);
      this.release();
      this.outlet.settled({ kind: "throttled", pauseMs });
      return;
    }
    forgetBody(request.incoming);
    this.state = "answering";
    this.status = status;
    this.headersAfterMs = nowMs - this.startedAt;
    this.isEvents = isEventStream(answer);
    if (this.isEvents) this.waitAtMost(request.target.api.streamIdleTimeoutMs);
    if (request.record !== undefined) request.record.downstreamStatus = status;
    const writer = new AnswerWriter(
      request.outgoing,
      {
        status,
        headers: answer,
        rules: headerRulesOf(request.target.api).response,
        rewrite: isElsewhere ? undefined : request.rewrite,
        challenge: request.challenge,
        own: this.options.own,
        correlationId: request.correlationId,
      },
      this,
    );
    this.writer = writer;
    queueMicrotask(() => this.flush(writer));
  }

  chunk(chunk: Buffer): void {
    this.responseBytes += chunk.length;
    this.idle?.restart();
    this.writer?.chunk(chunk);
  }

  end(): void {
    this.idle?.restart();
    this.writer?.end();
  }

  failed(error: GatewayError): void {
    if (this.options.request.outgoing.headersSent) this.finish("downstream_failed");
    else this.refuse(error);
  }

  /** Runs in a microtask, so an error of a head that cannot be written has to be caught here. */
  private flush(writer: AnswerWriter): void {
    if (this.state !== "answering" || this.options.request.outgoing.writableEnded) return;
    try {
      writer.flush();
    } catch (error) {
      this.failed(transportError(error as Error));
    }
  }

  /** Not for an answer that is gone as soon as it is here: there the deadline has nothing left to end. */
  streaming(): void {
    clearTimeout(this.deadline);
    this.restartIdle();
  }

  pause(): void {
    this.isStalled = true;
    const { idleTimeoutMs } = this.options.request.target.api;
    if (this.idleMs > idleTimeoutMs) {
      // The long time of an event stream is for its events, not for a caller who takes none.
      this.waitAtMost(idleTimeoutMs);
      this.restartIdle();
    }
    this.transfer?.pause();
  }

  resume(): void {
    this.isStalled = false;
    if (this.isEvents) this.waitAtMost(this.options.request.target.api.streamIdleTimeoutMs);
    if (this.state === "answering") this.restartIdle();
    this.transfer?.resume();
  }

  private pauseMs(status: number, headers: AnswerHeaders, nowMs: number): number | undefined {
    const { request, attempt } = this.options;
    if (this.body?.isReplayable() === false) return undefined;
    const { method = "GET" } = request.incoming;
    const msLeft = this.deadlineAt - nowMs;
    return throttlePauseMs(request.target.api, { attempt, method, status, headers, msLeft, nowMs });
  }

  private onClose(): void {
    forgetBody(this.options.request.incoming);
    if (this.state === "ended") return;
    if (this.state === "answering") {
      this.finish(this.options.request.outgoing.writableFinished ? undefined : "caller_gone");
      return;
    }
    this.release();
    this.outlet.settled({ kind: "abandoned" });
  }

  /** From now on `idleMs` may pass without anything moving. */
  private restartIdle(): void {
    this.idle ??= createIdleTimer(this.idleMs, () => this.onSilence());
    this.idle.restart();
  }

  private waitAtMost(idleMs: number): void {
    if (idleMs === this.idleMs) return;
    this.idleMs = idleMs;
    this.idle?.stop();
    this.idle = undefined;
  }

  private onSilence(): void {
    if (this.state === "answering") this.finish(this.isStalled ? "caller_stalled" : "idle");
    else this.refuse(silence(this.body?.waitsForCaller() === true));
  }

  /** A body that arrives at the API's least rate is given another `timeoutMs`: its sender is slow, and nothing is stuck. */
  private onDeadline(): void {
    const { timeoutMs, minUploadBytesPerSecond } = this.options.request.target.api;
    const { body } = this;
    const received = body?.received() ?? 0;
    const isSteady = received - this.receivedBefore >= (minUploadBytesPerSecond * timeoutMs) / 1000;
    if (this.state !== "waiting" || body?.isUnderWay() !== true || !isSteady) {
      this.onSilence();
      return;
    }
    this.receivedBefore = received;
    this.extend(timeoutMs);
  }

  private extend(ms: number): void {
    clearTimeout(this.deadline);
    this.deadlineAt = this.options.now() + ms;
    this.deadline = setTimeout(() => this.onDeadline(), ms);
  }

  private finish(cut: Cut | undefined): void {
    const { incoming, outgoing, target, record } = this.options.request;
    this.release();
    if (record !== undefined) record.cut = cut;
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
    const { incoming, target, record } = this.options.request;
    const replayable = this.body?.isReplayable() ?? true;
    this.release();
    if (!replayable) discardBody(incoming, target.api.maxRequestBytes);
    if (record !== undefined) record.downstreamStatus = status;
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
    this.idle?.stop();
    this.transfer?.abort();
    this.body?.release();
  }

  private openBody(): RequestBody {
    const { request } = this.options;
    this.restartIdle();
    return openRequestBody(request.incoming, {
      memory: this.options.memory,
      maxBytes: request.target.api.maxRequestBytes,
      onWanted: () => request.onBodyWanted?.(),
      onChunk: () => this.restartIdle(),
      // From here on it is the downstream's turn, and the deadline limits that.
      onEnd: () => {
        if (this.state !== "waiting") return;
        this.idle?.stop();
        this.extend(request.target.api.timeoutMs);
      },
    });
  }
}
