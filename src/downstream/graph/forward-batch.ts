/** Forwards a caller's `$batch`: opened, checked part by part, sent, and answered as one. */

import type { IncomingMessage, ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { DownstreamToken } from "../../exchange/contract.ts";
import type { Owner } from "../../foundation/budget.ts";
import { inTurns } from "../../foundation/json-text.ts";
import type {
  BatchLimits,
  BodyRewriter,
  ForwardedHop,
  Framing,
  RewriteAnswer,
  Target,
  TargetRules,
  TransferRecord,
  Transport,
} from "../contract.ts";
import { openAnswer } from "../forward/answer.ts";
import { readJsonBody } from "../forward/json-body.ts";
import { discardBody } from "../forward/request-body.ts";
import { downstreamRequestHeaders, headerRulesOf, writeResponseHead } from "../headers/headers.ts";
import { throttleWaited } from "../transport/transfer.ts";
import { type BatchHold, createBatchAllowance } from "./batch-allowance.ts";
import { type CheckTarget, readBatch } from "./batch-request.ts";
import { type BatchResult, sendBatch } from "./batch-rounds.ts";
import { writeInTurns } from "./batch-writer.ts";

export interface ForwardBatchRequest {
  readonly incoming: IncomingMessage;
  /** Of `incoming`; see `ForwardRequest`. */
  readonly framing: Framing;
  readonly outgoing: ServerResponse;
  readonly target: Target;
  /** The route's rules and its gate, for the parts. */
  readonly route: TargetRules;
  readonly check: CheckTarget;
  /** The caller on whose account the batch is held. */
  readonly owner: Owner;
  /** The user's token; with `claims` it must be a new one. */
  readonly obtainToken: (request: { readonly claims?: string }) => Promise<DownstreamToken>;
  readonly correlationId: string;
  readonly challenge: string;
  readonly rewrite: RewriteAnswer | undefined;
  readonly forwarded?: ForwardedHop | undefined;
  /** Filled in with how the request fared. */
  readonly record?: TransferRecord | undefined;
}

/** The answer that was given, or undefined when the caller left before. */
export type ForwardBatch = (
  request: ForwardBatchRequest,
) => Promise<{ readonly status: number; readonly isWhole: boolean } | undefined>;

export interface ForwardBatchOptions {
  readonly transport: Transport;
  readonly limits: BatchLimits;
  readonly now?: (() => number) | undefined;
}

/** Largest batch, bytes, where the API takes no less. Graph takes 4 MB in a request. */
const MAX_BATCH = 4 * 2 ** 20;

/**
 * A place and memory are taken on the caller's account before the body is read, and given back when the caller has
 * the answer or is gone. The body has the API's `timeoutMs` to come; after that all attempts and pauses together keep
 * within the same time. Rejects, before anything is written, with `rate_limited`, `overloaded` or the errors of `readJsonBody`,
 * `readBatch`, `sendBatch`, the transport or the exchange.
 */
export function createForwardBatch({ transport, limits, now = Date.now }: ForwardBatchOptions): ForwardBatch {
  const enter = createBatchAllowance(limits);
  return async (request) => {
    const { incoming, outgoing, target } = request;
    const { api } = target;
    const left = new AbortController();
    const onClose = () => left.abort(new Error("the caller has gone"));
    outgoing.once("close", onClose);
    let hold: BatchHold | undefined;
    try {
      hold = enter(request.owner);
      const result = await answerOf(request, { transport, hold, now, signal: left.signal });
      await write(result, request);
      return { status: result.head.status, isWhole: true };
    } catch (error) {
      if (outgoing.headersSent) {
        // A cut answer must never be taken for a whole one.
        outgoing.destroy();
        return { status: outgoing.statusCode, isWhole: false };
      }
      if (left.signal.aborted) return undefined;
      // A body that has not come whole may never come: its connection is of no more use.
      if (!incoming.complete) outgoing.shouldKeepAlive = false;
      discardBody(incoming, api.maxRequestBytes);
      throw error;
    } finally {
      outgoing.off("close", onClose);
      hold?.release();
    }
  };
}

interface Sending {
  readonly transport: Transport;
  readonly hold: BatchHold;
  readonly now: () => number;
  readonly signal: AbortSignal;
}

async function answerOf(
  request: ForwardBatchRequest,
  { transport, hold, now, signal }: Sending,
): Promise<BatchResult> {
  const { incoming, target, record, rewrite, owner } = request;
  const { api } = target;
  const rules = headerRulesOf(api);
  const text = await readJsonBody(incoming, {
    what: "batch",
    framing: request.framing,
    take: hold.take,
    maxBytes: Math.min(api.maxRequestBytes, MAX_BATCH),
    idleMs: api.idleTimeoutMs,
    timeoutMs: api.timeoutMs,
    owner: owner.user,
  });
  const { check, route } = request;
  const parts = await inTurns(readBatch(text, { check, route, headers: rules.request }), owner.user);
  const until = now() + api.timeoutMs;
  const msLeft = () => Math.max(1, until - now());
  let token = await request.obtainToken({});
  return sendBatch({
    parts,
    text,
    msLeft,
    now,
    fields: { rules: rules.response, rewrite: rewrite?.field },
    mayKeep: hold.mayKeep,
    owner: owner.user,
    pause(ms) {
      throttleWaited(record, ms);
      return sleep(ms, undefined, { signal });
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
      const headers = downstreamRequestHeaders(incoming.rawHeaders, ours, rules.request);
      if (incoming.headers["content-type"] === undefined) headers.push("content-type", "application/json");
      return openAnswer(
        transport,
        { target, method: "POST", headers, body, record },
        { timeoutMs: msLeft(), idleTimeoutMs: api.idleTimeoutMs, signal },
      );
    },
  });
}

async function write(result: BatchResult, request: ForwardBatchRequest): Promise<void> {
  const { outgoing, challenge, rewrite, target } = request;
  const { status, headers, body } = result.head;
  const rewriter: BodyRewriter | undefined = rewrite?.body(status, headers);
  const rules = headerRulesOf(target.api).response;
  const links = rewrite?.fields(status, headers) ?? headers;
  writeResponseHead(outgoing, status, links, { challenge, rules, isRewritten: true });
  const slices = { rewriter, idleMs: target.api.idleTimeoutMs, owner: request.owner.user };
  if (result.kind === "answered") await writeInTurns(outgoing, result.pieces, slices);
  else {
    await writeInTurns(outgoing, result.begun, slices);
    for await (const chunk of body as AsyncIterable<Buffer>) {
      await writeInTurns(outgoing, [chunk], slices);
    }
  }
  outgoing.end(rewriter?.flush());
}
