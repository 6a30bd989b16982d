/** Forwards a caller's `$batch`: opened, judged part by part, sent, and answered as one. */

import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { GatewayError } from "../../errors.ts";
import type { DownstreamToken } from "../../exchange/exchange.ts";
import type {
  ForwardedHop,
  RewriteAnswer,
  Target,
  TargetRules,
  TransferRecord,
  Transport,
} from "../contract.ts";
import { type Answer, openAnswer } from "../forward/answer.ts";
import { bodyTooLarge, discardBody, readFraming } from "../forward/request-body.ts";
import { headerRulesOf } from "../headers/api-header-rules.ts";
import { downstreamRequestHeaders } from "../headers/headers.ts";
import { writeResponseHead } from "../headers/response-head.ts";
import { throttleWaited } from "../transport/transfer-watch.ts";
import { type JudgeTarget, readBatch } from "./batch-request.ts";
import { sendBatch } from "./batch-rounds.ts";

export interface ForwardBatchRequest {
  readonly incoming: IncomingMessage;
  readonly outgoing: ServerResponse;
  readonly target: Target;
  /** The route's rules and its gate, for the parts. */
  readonly route: TargetRules;
  readonly judge: JudgeTarget;
  /** The user's token; with `claims` it must be a new one. */
  readonly obtainToken: (request: { readonly claims?: string }) => Promise<DownstreamToken>;
  readonly correlationId: string;
  readonly challenge: string;
  readonly rewrite: RewriteAnswer | undefined;
  readonly forwarded?: ForwardedHop | undefined;
  /** Where it is noted how the request fared. */
  readonly record?: TransferRecord | undefined;
}

/** What was answered, or undefined when the caller left before. */
export type ForwardBatch = (
  request: ForwardBatchRequest,
) => Promise<{ readonly status: number; readonly isWhole: boolean } | undefined>;

/** Largest batch, bytes, where the API takes no less. Graph takes 4 MB in a request. */
const MAX_BATCH = 4 * 2 ** 20;

/**
 * All attempts and pauses together keep within the API's `timeoutMs`. Rejects, before anything is written, with what
 * `readBatch`, `sendBatch`, the transport or the exchange say.
 */
export function createForwardBatch(options: {
  readonly transport: Transport;
  readonly now?: (() => number) | undefined;
}): ForwardBatch {
  const { transport, now = Date.now } = options;
  return async (request) => {
    const { incoming, outgoing, target, challenge } = request;
    const { api } = target;
    const left = new AbortController();
    const onClose = () => left.abort(new Error("the caller has gone"));
    outgoing.once("close", onClose);
    try {
      const text = await readBody(incoming, Math.min(api.maxRequestBytes, MAX_BATCH), api.idleTimeoutMs);
      const parts = readBatch(text, request.judge, request.route, headerRulesOf(api).request);
      const until = now() + api.timeoutMs;
      const msLeft = () => Math.max(1, until - now());
      let token = await request.obtainToken({});
      const result = await sendBatch({
        parts,
        msLeft,
        now,
        pause(ms) {
          throttleWaited(request.record, ms);
          return sleep(ms, undefined, { signal: left.signal });
        },
        async send(body, claims) {
          if (claims !== undefined) token = await request.obtainToken({ claims });
          const ours = {
            token: token.accessToken,
            correlationId: request.correlationId,
            contentLength: undefined,
            forwarded: request.forwarded,
            identityCoding: true,
          };
          const headers = downstreamRequestHeaders(incoming.rawHeaders, ours, headerRulesOf(api).request);
          return openAnswer(
            transport,
            { target, method: "POST", headers, body, record: request.record },
            { timeoutMs: msLeft(), idleTimeoutMs: api.idleTimeoutMs, signal: left.signal },
          );
        },
      });
      const { status, headers } = result.head;
      const rewriter = request.rewrite?.(status, headers);
      const rules = headerRulesOf(api).response;
      writeResponseHead(outgoing, status, headers, { challenge, rules, isRewritten: true });
      const begun = result.kind === "answered" ? result.bytes : result.begun;
      outgoing.write(rewriter?.push(begun) ?? begun);
      if (result.kind === "unread") await passRest(result.head, outgoing, rewriter);
      outgoing.end(rewriter?.flush());
      return { status, isWhole: true };
    } catch (error) {
      if (outgoing.headersSent) {
        // A cut answer must never be taken for a whole one.
        outgoing.destroy();
        return { status: outgoing.statusCode, isWhole: false };
      }
      if (left.signal.aborted) return undefined;
      discardBody(incoming, api.maxRequestBytes);
      throw error;
    } finally {
      outgoing.off("close", onClose);
    }
  };
}

async function passRest(
  { body }: Answer,
  outgoing: ServerResponse,
  rewriter: ReturnType<RewriteAnswer>,
): Promise<void> {
  for await (const chunk of body as AsyncIterable<Buffer>) {
    const passed = rewriter?.push(chunk) ?? chunk;
    if (outgoing.destroyed) return;
    if (passed.length > 0 && !outgoing.write(passed)) {
      await Promise.race([once(outgoing, "drain"), once(outgoing, "close")]);
    }
  }
}

async function readBody(incoming: IncomingMessage, maxBytes: number, idleMs: number): Promise<string> {
  const framing = readFraming(incoming);
  const coding = incoming.headers["content-encoding"];
  if (coding !== undefined && coding.toLowerCase() !== "identity") throw malformed("batch_coding");
  if (framing.kind === "length" && framing.bytes > maxBytes) throw bodyTooLarge();
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    const settle = (settled: () => void) => {
      clearTimeout(idle);
      incoming.off("data", onData).off("end", onEnd).off("close", onClose);
      settled();
    };
    const onData = (chunk: Buffer) => {
      idle.refresh();
      length += chunk.length;
      if (length > maxBytes) settle(() => reject(bodyTooLarge()));
      else chunks.push(chunk);
    };
    const onEnd = () => settle(() => decode(Buffer.concat(chunks, length), resolve, reject));
    const onClose = () => settle(() => reject(malformed("body_cut")));
    const idle = setTimeout(() => settle(() => reject(malformed("body_stalled"))), idleMs);
    incoming.on("data", onData).on("end", onEnd).on("close", onClose);
  });
}

/** Bytes that are no UTF-8 are refused: replaced ones could make two ids or URLs of the same text. */
function decode(bytes: Buffer, resolve: (text: string) => void, reject: (error: unknown) => void): void {
  try {
    resolve(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    reject(malformed("batch_utf8"));
  }
}

function malformed(reason: string): GatewayError {
  return new GatewayError("request_malformed", {
    detail: "The batch could not be read whole as JSON in UTF-8.",
    reason,
  });
}
