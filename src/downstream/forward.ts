/** Forwards a caller's request to its target and streams the answer back. */

import type { ServerResponse } from "node:http";
import type { GatewayError } from "../errors.ts";
import { createBudget } from "../foundation/budget.ts";
import { LARGE_PIECE, loopTurns } from "../foundation/turns.ts";
import type {
  AnswerHeaders,
  AnswerReceiver,
  BodyRewriter,
  Cut,
  Forward,
  ForwardOutcome,
  ForwardRequest,
  HeaderLines,
  OwnFields,
  RewriteAnswer,
  Transfer,
  Transport,
} from "./contract.ts";
import {
  bodyTooLarge,
  discardBody,
  forgetBody,
  keptBody,
  openRequestBody,
  type ReplayMemory,
  type RequestBody,
} from "./forward/request-body.ts";
import { challengeOf } from "./headers/claims-challenge.ts";
import type { HeaderRules } from "./headers/header-rules.ts";
import {
  downstreamRequestHeaders,
  headerRulesOf,
  isEventStream,
  writeResponseHead,
} from "./headers/headers.ts";
import { createIdleTimer, type IdleTimer } from "./transport/idle-timer.ts";
import { throttlePauseMs } from "./transport/retry-after.ts";
import { ownerOf, throttleWaited } from "./transport/transfer.ts";
import { silence, transportError } from "./transport/transport-error.ts";

export { readJsonBody } from "./forward/json-body.ts";
export { discardBody } from "./forward/request-body.ts";

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
      const { incoming, outgoing, target, framing } = request;
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
        const contentLength = request.body?.length ?? (framing.kind === "length" ? framing.bytes : undefined);
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
          relay({ transport, now, own, request, headers, deadlineAt, attempt: count, memory }, end);
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

export interface RelayOptions {
  readonly transport: Transport;
  readonly now: () => number;
  readonly request: ForwardRequest;
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
    const hasBody = options.request.framing.kind !== "none";
    this.replayed = options.request.body ?? (hasBody ? keptBody(incoming) : undefined);
    this.body = hasBody && this.replayed === undefined ? this.openBody() : undefined;
    // First of all listeners, so that those who report the end find what `record` says of it.
    outgoing.prependListener("close", () => this.onClose());
  }

  send(): void {
    const { transport, headers, request } = this.options;
    const { target, incoming, record } = request;
    const { method = "GET" } = incoming;
    const body = this.replayed ?? this.body?.stream;
    const kept = this.body && (() => keptBody(incoming));
    this.transfer = transport.send({ target, method, headers, body, keptBody: kept, record }, this);
  }

  head(status: number, answer: AnswerHeaders, isElsewhere = false): void {
    const { request, now } = this.options;
    let claims: string | undefined;
    try {
      // Below 400 an answer challenges nothing, and that is nearly every one.
      claims = isElsewhere || status < 400 ? undefined : challengeOf(status, answer["www-authenticate"]);
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
    this.forgetKept();
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
        user: request.record?.owner?.user,
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
    // What is still under way has to be taken by the caller.
    this.isStalled = true;
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
    if (status < 400 || this.body?.isReplayable() === false) return undefined;
    const { method = "GET" } = request.incoming;
    const msLeft = this.deadlineAt - nowMs;
    return throttlePauseMs(request.target.api, { attempt, method, status, headers, msLeft, nowMs });
  }

  private onClose(): void {
    this.forgetKept();
    if (this.state === "ended") return;
    if (this.state === "answering") {
      this.finish(this.options.request.outgoing.writableFinished ? undefined : "caller_gone");
      return;
    }
    this.release();
    this.outlet.settled({ kind: "abandoned" });
  }

  /** Of a request without a body none is kept. */
  private forgetKept(): void {
    const { framing, incoming } = this.options.request;
    if (framing.kind !== "none") forgetBody(incoming);
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
    const { framing, incoming, outgoing, target, record } = this.options.request;
    this.release();
    if (record !== undefined) record.cut = cut;
    if (cut !== undefined) outgoing.destroy();
    // Node takes what is left of a request off the wire by itself; it sets no bound for it.
    else if (framing.kind !== "none") discardBody(incoming, target.api.maxRequestBytes);
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

export interface WrittenAnswer {
  readonly status: number;
  readonly headers: AnswerHeaders;
  readonly rules: HeaderRules;
  readonly rewrite: RewriteAnswer | undefined;
  /** See `ResponseHeadOptions`. */
  readonly challenge: string | undefined;
  readonly own: OwnFields | undefined;
  readonly correlationId: string;
  /** For whom the answer is written; see `Turns`. */
  readonly user: string | undefined;
}

/** The source of the answer, as the writer uses it. */
export interface AnswerFlow {
  /** The answer is written as it comes from now on. */
  streaming(): void;
  /** The caller takes no more; nothing should come until it does again. */
  pause(): void;
  resume(): void;
}

/** What a chunk of 64 KiB takes from the API to the caller, ms: without it, a turn would ask for a chunk of every answer that waits. */
const CHUNK_MS = 0.25;

/**
 * Holds the head back until the first chunk is known to be the only one or not. Chunks that came along with the head
 * are here before `flush`, which the source calls once they can be: the caller then gets what there is, for the
 * first event of a stream may be minutes away.
 */
export class AnswerWriter {
  private readonly outgoing: ServerResponse;
  private readonly answer: WrittenAnswer;
  private readonly flow: AnswerFlow;
  private first: Buffer | undefined = undefined;
  private rewriter: BodyRewriter | undefined = undefined;
  private isHeadWritten = false;
  /** Bytes that are still to come; not a number where the API does not say. */
  private remaining: number;

  constructor(outgoing: ServerResponse, answer: WrittenAnswer, flow: AnswerFlow) {
    this.outgoing = outgoing;
    this.answer = answer;
    this.flow = flow;
    this.remaining = Number(answer.headers["content-length"]);
  }

  chunk(chunk: Buffer): void {
    this.remaining -= chunk.length;
    if (!this.isHeadWritten && this.first === undefined) {
      this.first = chunk;
      return;
    }
    this.flush();
    this.pass(chunk);
  }

  flush(): void {
    if (this.isHeadWritten) return;
    this.flow.streaming();
    this.rewriter = this.rewriterOf();
    this.writeHead(this.rewriter !== undefined, undefined);
    if (this.first === undefined) this.outgoing.flushHeaders();
    else this.pass(this.first);
    this.first = undefined;
  }

  end(): void {
    if (this.isHeadWritten) {
      this.outgoing.end(this.rewriter?.flush());
      return;
    }
    this.writeWhole();
    // A caller who is slow, or still busy with the answer before this one, takes it as slowly as any other.
    if (this.outgoing.writableLength > 0) this.flow.streaming();
  }

  private writeWhole(): void {
    const { first } = this;
    const rewriter = this.rewriterOf();
    if (first === undefined || rewriter === undefined) {
      // Of an answer to HEAD the length is that of the body which GET would have changed.
      this.writeHead(rewriter !== undefined, first?.length);
      this.outgoing.end(first);
      return;
    }
    const begun = rewriter.push(first);
    const rest = rewriter.flush();
    const body = rest.length === 0 ? begun : Buffer.concat([begun, rest]);
    this.writeHead(!body.equals(first), body.length);
    this.outgoing.end(body);
  }

  private rewriterOf(): BodyRewriter | undefined {
    return this.answer.rewrite?.body(this.answer.status, this.answer.headers);
  }

  private writeHead(isRewritten: boolean, bodyLength: number | undefined): void {
    const { status, headers, rules, rewrite, challenge, own, correlationId } = this.answer;
    this.isHeadWritten = true;
    writeResponseHead(this.outgoing, status, rewrite?.fields(status, headers) ?? headers, {
      challenge,
      rules,
      isRewritten,
      bodyLength,
      own,
      correlationId,
    });
  }

  private pass(chunk: Buffer): void {
    const { rewriter } = this;
    const passed = rewriter === undefined ? chunk : rewriter.push(chunk);
    const isTaken = passed.length === 0 || this.outgoing.write(passed);
    // What is left has mostly been read along with this chunk: it leaves with it, in one write.
    if (rewriter === undefined && this.remaining < LARGE_PIECE) return;
    if (isTaken && this.isCheap(chunk)) return;
    this.flow.pause();
    if (isTaken) this.resumeInTurn();
    // The system often takes all at once, and the drain comes in the same turn of the event loop.
    else this.outgoing.once("drain", () => (this.isCheap(chunk) ? this.flow.resume() : this.resumeInTurn()));
  }

  private isCheap({ length }: Buffer): boolean {
    return this.rewriter === undefined && (length < LARGE_PIECE || loopTurns.isFree());
  }

  /** The system hands over up to 2 MiB of a connection in one turn: work for others has its turn between two chunks. */
  private resumeInTurn(): void {
    loopTurns.wait(this.answer.user, () => {
      this.flow.resume();
      loopTurns.spend(CHUNK_MS);
    });
  }
}
