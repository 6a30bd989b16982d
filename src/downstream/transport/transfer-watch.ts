/** What telemetry hears of a request to an API: when it has a connection, and when its answer begins or fails to. */

import type { GatewayError } from "../../errors.ts";
import type { AnswerHeaders, HeaderLines, TransferRecord, TransferSpan } from "../contract.ts";

export interface WatchedRequest {
  readonly target: {
    readonly api: { readonly name: string; readonly baseUrl: string };
    readonly origin: string;
  };
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
  private readonly record: TransferRecord;
  private readonly span: TransferSpan | undefined;
  private readonly sentAt = performance.now();
  private waiting = true;

  constructor({ target, method, headers }: WatchedRequest, record: TransferRecord) {
    this.api = target.api.name;
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
    this.record.transfers?.answered(this.api, status, this.elapsed());
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
