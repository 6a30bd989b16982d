/** Takes the real answer of a handler and lets it reach the client damaged. */

import type { Response } from "express";
import type { FaultBehaviour } from "./fault.ts";
import { isObject } from "./jws.ts";

export interface CapturedAnswer {
  readonly response: Response;
  readonly body: Buffer;
  /** Sends so many bytes of the body under the headers as they stand; the promise ends when they are on their way. */
  write(bytes: Buffer): Promise<void>;
  end(bytes?: Buffer): void;
}

/** From now on the handler's answer is held back and, once whole, given to `deliver`. */
export function captureAnswer(response: Response, deliver: (answer: CapturedAnswer) => void): void {
  const { write, end } = response;
  const chunks: Buffer[] = [];
  const keep = (chunk: unknown) => {
    if (typeof chunk === "string" || chunk instanceof Uint8Array) chunks.push(Buffer.from(chunk));
  };
  response.write = ((chunk: unknown) => {
    keep(chunk);
    return true;
  }) as typeof response.write;
  response.end = ((chunk: unknown) => {
    keep(chunk);
    response.write = write;
    response.end = end;
    deliver({
      response,
      body: Buffer.concat(chunks),
      write: (bytes) => new Promise((resolve) => response.write(bytes, () => resolve())),
      end: (bytes) => void (bytes === undefined ? response.end() : response.end(bytes)),
    });
    return response;
  }) as typeof response.end;
}

export function answerHasFault(
  behaviour: Extract<FaultBehaviour, { kind: "patch" | "truncated" | "reset" | "stall" | "drip" }>,
  answer: CapturedAnswer,
): void {
  const { response, body } = answer;
  const half = body.subarray(0, Math.ceil(body.length / 2));
  switch (behaviour.kind) {
    case "patch": {
      const patched = Buffer.from(JSON.stringify(patch(body, behaviour)));
      response.set("Content-Length", String(patched.length));
      answer.end(patched);
      return;
    }
    case "truncated":
      response.set("Content-Length", String(half.length));
      answer.end(half);
      return;
    case "reset":
      response.set("Content-Length", String(body.length));
      void answer.write(half).then(() => response.destroy());
      return;
    case "stall":
      response.set("Content-Length", String(body.length));
      void answer.write(half);
      return;
    case "drip":
      response.set("Content-Length", String(body.length));
      drip(answer, behaviour.intervalMs);
  }
}

function drip({ response, body, write, end }: CapturedAnswer, intervalMs: number): void {
  let sent = 0;
  const timer = setInterval(() => {
    if (sent < body.length) void write(body.subarray(sent, ++sent));
    else {
      clearInterval(timer);
      end();
    }
  }, intervalMs);
  timer.unref();
  response.once("close", () => clearInterval(timer));
}

function patch(body: Buffer, { set, remove }: Extract<FaultBehaviour, { kind: "patch" }>): unknown {
  const value: unknown = JSON.parse(body.toString("utf8"));
  if (!isObject(value)) return value;
  const patched: Record<string, unknown> = { ...value, ...set };
  for (const name of remove ?? []) delete patched[name];
  return patched;
}
