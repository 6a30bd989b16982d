/** One request under way on a lane, in the shape in which undici calls back. */

import type { AnswerHeaders, AnswerReceiver, Transfer, TransportRequest } from "../contract.ts";
import type { Breaker } from "./breaker.ts";
import { chunkPassed } from "./chunk-memory.ts";
import { type TransferWatch, watchTransfer } from "./transfer-watch.ts";
import { isConnectFailure, isStaleConnection, transportError } from "./transport-error.ts";

/** Connections that requests to an API share, and what is known of their other end. */
export interface Lane {
  readonly dispatcher: { dispatch(request: object, handler: LaneTransfer): boolean };
  readonly breaker: Breaker;
  /** Requests under way or in line. */
  active: number;
}

interface Controller {
  pause(): void;
  resume(): void;
  abort(reason: Error): void;
}

/** Methods that a proxy may repeat by itself (RFC 9110 §9.2.2), when they have no body. */
const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);

/** A class, because undici asks for an object of callbacks: as closures, each of them would be made per request. */
export class LaneTransfer implements Transfer {
  private readonly lane: Lane;
  private readonly request: TransportRequest;
  private readonly receiver: AnswerReceiver;
  private controller: Controller | undefined = undefined;
  private aborted = false;
  private started = false;
  private ended = false;
  private repeatable: boolean;
  private readonly watch: TransferWatch | undefined;

  constructor(lane: Lane, request: TransportRequest, receiver: AnswerReceiver) {
    this.lane = lane;
    this.request = request;
    this.receiver = receiver;
    this.watch = watchTransfer(request);
    this.repeatable = request.body === undefined && IDEMPOTENT.has(request.method);
  }

  dispatch(): void {
    const { target, method, body = null } = this.request;
    const { headers } = this.watch ?? this.request;
    this.lane.dispatcher.dispatch(
      { origin: target.origin, method, path: target.path, headers: headers as string[], body },
      this,
    );
  }

  pause(): void {
    this.controller?.pause();
  }

  resume(): void {
    this.controller?.resume();
  }

  abort(): void {
    // Callers let go of every transfer; only one that is still under way is worth an error and its stack.
    if (this.aborted || this.ended) return;
    this.aborted = true;
    if (!this.started) this.watch?.failed();
    this.controller?.abort(new Error("given up"));
  }

  onRequestStart(controller: Controller): void {
    this.controller = controller;
    this.watch?.connected();
    if (this.aborted) controller.abort(new Error("given up while waiting for a connection"));
  }

  onResponseStart(_controller: unknown, status: number, headers: object): void {
    // Interim answers (RFC 9110 §15.2) concern the connection to the API; ours answers for itself.
    if (status < 200 || this.aborted) return;
    this.started = true;
    this.lane.breaker.succeeded();
    this.watch?.answered(status, headers as AnswerHeaders);
    this.receiver.head(status, headers as AnswerHeaders);
  }

  onResponseData(_controller: unknown, chunk: Buffer): void {
    chunkPassed(chunk);
    if (!this.aborted) this.receiver.chunk(chunk);
  }

  onResponseEnd(): void {
    this.ended = true;
    this.lane.active--;
    // Trailers are dropped knowingly: HTTP/1.1 callers rarely ask for them, and they escape the header rules.
    if (!this.aborted) this.receiver.end();
  }

  onResponseError(_controller: unknown, error: Error): void {
    // An idle connection that the API closed just as we used it: nothing was answered, so ask once more.
    if (this.repeatable && !this.started && !this.aborted && isStaleConnection(error)) {
      this.repeatable = false;
      this.controller = undefined;
      this.dispatch();
      return;
    }
    // What the receiver throws at the end of an answer comes back here, and the request has left the lane by then.
    if (!this.ended) this.lane.active--;
    this.ended = true;
    if (isConnectFailure(error)) this.lane.breaker.failed();
    else this.lane.breaker.ended();
    if (this.aborted) return;
    const refusal = transportError(error);
    if (!this.started) this.watch?.failed(refusal);
    this.receiver.failed(refusal);
  }
}
