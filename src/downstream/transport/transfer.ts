/** One request to an API, from the place in line to the last byte of its answer. */

import type { GatewayError } from "../../errors.ts";
import type { Breaker } from "../../foundation/breaker.ts";
import type { Owner } from "../../foundation/budget.ts";
import { chunkPassed, LEAST_COUNTED_BYTES } from "../../foundation/chunk-memory.ts";
import { ProxyRefusal } from "../../outbound/connector.ts";
import type { ConnectAttempt } from "../../outbound/contract.ts";
import type {
  AnswerHeaders,
  AnswerReceiver,
  HeaderLines,
  Target,
  Transfer,
  TransferRecord,
  TransferSpan,
  TransportRequest,
} from "../contract.ts";
import type { Connection, Connections, PlaceHolder, Places, Taker } from "./connections.ts";
import {
  closed,
  failureReason,
  isConnectFailure,
  isPassing,
  isReset,
  transportError,
} from "./transport-error.ts";

/** What a transfer uses of its origin. */
export interface Line {
  readonly places: Places;
  readonly connections: Connections;
  readonly breaker: Breaker;
  /** Called once for each transfer, when it has ended. */
  readonly onEnd: (transfer: PooledTransfer) => void;
}

interface Controller {
  pause(): void;
  resume(): void;
  abort(reason: Error): void;
}

/** Methods that a proxy may repeat by itself (RFC 9110 §9.2.2), as long as it still has their body. */
const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);

/** A class, because undici asks for an object of callbacks: as closures, each of them would be made per request. */
export class PooledTransfer implements Transfer, PlaceHolder, Taker {
  readonly owner: Owner;
  standing: PlaceHolder["standing"] = undefined;
  private readonly line: Line;
  private readonly request: TransportRequest;
  private readonly receiver: AnswerReceiver;
  private readonly watch: TransferWatch | undefined;
  private body: TransportRequest["body"];
  private attempt: ConnectAttempt | undefined = undefined;
  private connection: Connection | undefined = undefined;
  private controller: Controller | undefined = undefined;
  private sent = false;
  private started = false;
  private ended = false;
  private isRepeated = false;

  constructor(line: Line, request: TransportRequest, receiver: AnswerReceiver) {
    this.line = line;
    this.request = request;
    this.receiver = receiver;
    this.body = request.body;
    this.watch = watchTransfer(request);
    this.owner = ownerOf(request.record);
  }

  /** Takes a place, now or later, and sends the request from there. */
  start(): void {
    const refusal = this.line.places.enter(this);
    if (refusal !== undefined) this.fail(refusal);
  }

  admitted(): void {
    this.attempt = this.line.connections.take(this);
  }

  pause(): void {
    this.controller?.pause();
  }

  resume(): void {
    this.controller?.resume();
  }

  abort(): void {
    // Callers let go of every transfer; only one that is still under way is worth an error and its stack.
    if (this.ended) return;
    this.end();
    if (!this.started) this.watch?.failed();
    this.attempt?.destroy();
    if (this.controller !== undefined) this.controller.abort(new Error("given up"));
    // Its request is in undici's hands and not on the wire yet.
    else if (this.connection !== undefined) this.line.connections.discard(this.connection);
    this.line.breaker.ended();
  }

  /** Ends it because the transport ends. */
  refuse(): void {
    if (this.ended) return;
    const { receiver } = this;
    const error = closed();
    this.abort();
    receiver.failed(error);
  }

  connected(connection: Connection): void {
    this.attempt = undefined;
    if (connection.requests() === 0) this.line.breaker.succeeded();
    this.connection = connection;
    this.watch?.connected();
    const { target, method } = this.request;
    const { headers } = this.watch ?? this.request;
    connection.send({ method, path: target.path, headers, body: this.body ?? null }, this);
  }

  connectFailed(error: Error): void {
    // Nothing was sent, so that one more attempt is harmless whatever the method.
    if (isPassing(error) && !this.isRepeated) {
      this.repeat();
      return;
    }
    if (isConnectFailure(error)) this.line.breaker.failed(failureReason(error));
    else this.line.breaker.ended();
    this.fail(transportError(error));
  }

  private repeat(): void {
    this.isRepeated = true;
    this.controller = undefined;
    this.connection = undefined;
    this.sent = false;
    this.watch?.repeated();
    this.admitted();
  }

  onRequestStart(controller: Controller): void {
    this.controller = controller;
    this.sent = true;
    if (this.ended) controller.abort(new Error("given up before it was sent"));
  }

  onResponseStart(_controller: unknown, status: number, headers: object): void {
    // Interim answers (RFC 9110 §15.2) concern the connection to the API; ours answers for itself.
    if (status < 200 || this.ended) return;
    if (status === 407) {
      // A proxy between gateway and API wants credentials of the gateway; the caller's are not asked for (RFC 9110 §15.5.8).
      this.onResponseError(undefined, new ProxyRefusal(status));
      return;
    }
    this.started = true;
    this.line.breaker.succeeded();
    this.watch?.answered(status, headers as AnswerHeaders);
    this.receiver.head(status, headers as AnswerHeaders);
  }

  onResponseData(_controller: unknown, chunk: Buffer): void {
    if (chunk.length >= LEAST_COUNTED_BYTES) chunkPassed(chunk);
    if (!this.ended) this.receiver.chunk(chunk);
  }

  onResponseEnd(): void {
    if (this.ended) return;
    const { connection } = this;
    // Trailers are dropped knowingly: HTTP/1.1 callers rarely ask for them, and they escape the header rules.
    this.ended = true;
    // After undici has decided about the connection, which it does when this returns.
    queueMicrotask(() => {
      if (connection !== undefined) this.line.connections.giveBack(connection);
      this.release();
    });
    this.receiver.end();
  }

  onResponseError(_controller: unknown, error: Error): void {
    // What the receiver throws at the end of an answer comes back here, and an abort does.
    if (this.ended) return;
    const { connection } = this;
    if (connection !== undefined) this.line.connections.discard(connection);
    if (this.mayRepeat(error)) {
      this.repeat();
      return;
    }
    this.line.breaker.ended();
    const refusal = transportError(error);
    this.fail(refusal);
  }

  /** Nothing is asked twice once an answer has begun. */
  private mayRepeat(error: Error): boolean {
    if (this.started || this.isRepeated || !isReset(error)) return false;
    if (!this.sent) return !isSpent(this.body);
    if (!IDEMPOTENT.has(this.request.method)) return false;
    if (this.body !== undefined && isStream(this.body)) this.body = this.request.keptBody?.() ?? this.body;
    return !isStream(this.body);
  }

  private fail(refusal: Error): void {
    const error = transportError(refusal);
    this.end();
    if (!this.started) this.watch?.failed(error);
    this.receiver.failed(error);
  }

  private end(): void {
    this.ended = true;
    this.release();
  }

  private release(): void {
    this.line.places.leave(this);
    this.line.onEnd(this);
  }
}

function isStream(body: TransportRequest["body"]): boolean {
  return body !== undefined && !(body instanceof Uint8Array);
}

function isSpent(body: TransportRequest["body"]): boolean {
  return isStream(body) && (body as { readonly destroyed: boolean }).destroyed;
}

export interface WatchedRequest {
  readonly target: Target;
  readonly method: string;
  readonly headers: HeaderLines;
  readonly record?: TransferRecord | undefined;
}

/** The transport calls it as a request goes on. */
export interface TransferWatch {
  /** The header lines to send. */
  readonly headers: HeaderLines;
  connected(): void;
  /** It is sent once more. */
  repeated(): void;
  answered(status: number, headers: AnswerHeaders): void;
  /** Without an error: given up. */
  failed(error?: GatewayError): void;
}

/** Makes nothing for a request without a record. */
export function watchTransfer(request: WatchedRequest): TransferWatch | undefined {
  return request.record === undefined ? undefined : new RecordedTransfer(request, request.record);
}

/** A class, because there is one for each request. */
class RecordedTransfer implements TransferWatch {
  readonly headers: HeaderLines;
  private readonly api: string;
  private readonly method: string;
  private readonly target: Target;
  private readonly record: TransferRecord;
  private readonly span: TransferSpan | undefined;
  private readonly sentAt = performance.now();
  private waiting = true;

  constructor({ target, method, headers }: WatchedRequest, record: TransferRecord) {
    this.api = target.api.name;
    this.method = method;
    this.target = target;
    this.record = record;
    this.span = record.trace?.forwarding({ api: this.api, method, origin: target.origin });
    const { span } = this;
    this.headers = span === undefined || isElsewhere(target) ? headers : withTrace(headers, span.fields);
    record.transfers?.sent(this.api);
  }

  connected(): void {
    if (this.waiting) this.left();
  }

  repeated(): void {
    this.record.transfers?.repeated(this.api);
  }

  answered(status: number, answer: AnswerHeaders): void {
    const id = answer["request-id"];
    // Goes into the log, so it must look like an id.
    if (typeof id === "string" && PLAUSIBLE_ID.test(id)) this.record.downstreamRequestId = id;
    this.record.transfers?.answered(this.api, status, this.elapsed(), this.method, this.target);
    this.span?.answered(status);
  }

  failed(error?: GatewayError): void {
    if (this.waiting) this.left();
    const code = error?.code ?? "abandoned";
    this.record.transfers?.failed(this.api, code, this.elapsed());
    this.span?.failed(code);
  }

  private left(): void {
    this.waiting = false;
    this.record.transfers?.left(this.api, performance.now() - this.sentAt);
  }

  private elapsed(): number {
    const afterMs = performance.now() - this.sentAt;
    this.record.downstreamMs = (this.record.downstreamMs ?? 0) + afterMs;
    return afterMs;
  }
}

/** Notes a pause that an API asked for. */
export function throttleWaited(record: TransferRecord | undefined, pauseMs: number): void {
  if (record !== undefined) record.throttleMs = (record.throttleMs ?? 0) + pauseMs;
}

const PLAUSIBLE_ID = /^[\w.-]{1,128}$/;

/** Whether a redirect led away from the API: who answers there need not know that anybody is traced. */
function isElsewhere({ api, origin }: WatchedRequest["target"]): boolean {
  return new URL(api.baseUrl).origin !== origin;
}

/** W3C Trace Context §3.2.2: a participant that makes a span of its own sends that one's id, never its caller's. */
function withTrace(lines: HeaderLines, fields: HeaderLines): string[] {
  if (fields.length === 0) return [...lines];
  const kept = lines.filter((_, index) => !TRACE_FIELDS.has(lines[index - (index % 2)] ?? ""));
  return [...kept, ...fields];
}

const TRACE_FIELDS: ReadonlySet<string> = new Set(["traceparent", "tracestate"]);

let unowned = 0;

/** A request of no known caller is an owner by itself: no share holds for it, and the process's bounds do. */
export function ownerOf(record: TransferRecord | undefined): Owner {
  if (record?.owner !== undefined) return record.owner;
  unowned += 1;
  return { user: `#${unowned}`, client: `#${unowned}` };
}
