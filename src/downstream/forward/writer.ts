/** Writes a downstream's answer to the caller: in one piece if it has come whole, as it comes otherwise. */

import type { ServerResponse } from "node:http";
import type { AnswerHeaders, BodyRewriter, OwnFields, RewriteAnswer } from "../contract.ts";
import type { HeaderRules } from "../headers/header-rules.ts";
import { writeResponseHead } from "../headers/response-head.ts";

export interface WrittenAnswer {
  readonly status: number;
  readonly headers: AnswerHeaders;
  readonly rules: HeaderRules;
  readonly rewrite: RewriteAnswer | undefined;
  /** See `ResponseHeadOptions`. */
  readonly challenge: string | undefined;
  readonly own: OwnFields | undefined;
  readonly correlationId: string;
}

/** The source of the answer, as the writer uses it. */
export interface AnswerFlow {
  /** The answer is written as it comes from now on. */
  streaming(): void;
  /** The caller takes no more; nothing should come until it does again. */
  pause(): void;
  resume(): void;
}

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

  constructor(outgoing: ServerResponse, answer: WrittenAnswer, flow: AnswerFlow) {
    this.outgoing = outgoing;
    this.answer = answer;
    this.flow = flow;
  }

  chunk(chunk: Buffer): void {
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
    const passed = this.rewriter === undefined ? chunk : this.rewriter.push(chunk);
    if (passed.length === 0 || this.outgoing.write(passed)) return;
    this.flow.pause();
    this.outgoing.once("drain", () => this.flow.resume());
  }
}
