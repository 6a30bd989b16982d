/** Reads a caller's request body at the downstream's pace, counts it, and keeps a small one for a second attempt. */

import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { GatewayError } from "../../errors.ts";
import type { Budget, Owner } from "../../foundation/budget.ts";
import { ByteCollector } from "../../foundation/byte-collector.ts";
import { chunkPassed } from "../../foundation/chunk-memory.ts";

export interface RequestBodyOptions {
  readonly memory: ReplayMemory;
  /** Largest body, bytes. */
  readonly maxBytes: number;
  /** Called once, when the downstream is ready and the first byte is wanted. */
  readonly onWanted: () => void;
  /** Called for every chunk. */
  readonly onChunk: () => void;
  /** Called when the whole body has been read. */
  readonly onEnd: () => void;
}

export interface RequestBody {
  /** The body to send. Fails with `body_too_large` where the limit is passed. */
  readonly stream: Readable;
  /** Bytes read so far. */
  received(): number;
  /** Whether the API is ready for it and the end has not been read. */
  isUnderWay(): boolean;
  /** Whether all is ready and only the caller has to send. */
  waitsForCaller(): boolean;
  /** Whether a second attempt could send the same body, because all of it is kept. */
  isReplayable(): boolean;
  /** Lets go of the caller's stream without touching its connection. */
  release(): void;
}

/** A body up to this size is kept until the answer begins, bytes: a JSON request, not an upload. */
const KEPT_BYTES = 65_536;

/** Memory for bodies that may have to be sent again. */
export interface ReplayMemory {
  readonly budget: Budget;
  readonly owner: Owner;
}

interface KeptBody {
  /** Emptied when the body is given up. */
  collected: ByteCollector | undefined;
  bytes: number;
  whole: Buffer | undefined;
  readonly memory: ReplayMemory;
}

/** Bodies of requests that may be attempted again; given up when the answer begins or the request ends. */
const kept = new WeakMap<IncomingMessage, KeptBody>();

/** The whole body, if an attempt of this request has kept it. */
export function keptBody(incoming: IncomingMessage): Buffer | undefined {
  return kept.get(incoming)?.whole;
}

/** Forgets a kept body, once the answer has begun or the request has ended and no other attempt can come. */
export function forgetBody(incoming: IncomingMessage): void {
  const body = kept.get(incoming);
  if (body === undefined) return;
  kept.delete(incoming);
  if (body.bytes > 0) body.memory.budget.give(body.memory.owner, body.bytes);
  body.bytes = 0;
  body.collected = undefined;
}

/** A body that is too large, or finds no room in the caller's share or the process's memory, is sent once only. */
function keep(incoming: IncomingMessage, chunk: Buffer): void {
  const body = kept.get(incoming);
  if (body?.collected === undefined) return;
  const { budget, owner } = body.memory;
  if (body.bytes + chunk.length > KEPT_BYTES || budget.take(owner, chunk.length) !== undefined) {
    forgetBody(incoming);
    return;
  }
  body.bytes += chunk.length;
  body.collected.add(chunk);
}

/**
 * Wraps the caller's stream instead of handing it on: the HTTP client destroys the stream it was given when it
 * fails, and with it would go the connection on which the caller waits for an answer.
 */
export function openRequestBody(incoming: IncomingMessage, options: RequestBodyOptions): RequestBody {
  let received = 0;
  let wanted = false;
  let ended = false;
  kept.set(incoming, {
    collected: new ByteCollector(),
    bytes: 0,
    whole: undefined,
    memory: options.memory,
  });

  const onData = (chunk: Buffer) => {
    received += chunk.length;
    chunkPassed(chunk);
    if (received > options.maxBytes) {
      stream.destroy(bodyTooLarge());
      return;
    }
    keep(incoming, chunk);
    options.onChunk();
    if (!stream.push(chunk)) incoming.pause();
  };
  const onEnd = () => {
    ended = true;
    const body = kept.get(incoming);
    if (body?.collected !== undefined) body.whole = body.collected.whole();
    options.onEnd();
    stream.push(null);
  };
  const onClose = () => {
    if (!ended) stream.destroy(new Error("the caller went away before its request was complete"));
  };

  const stream = new Readable({
    read() {
      if (!wanted) {
        wanted = true;
        options.onWanted();
        incoming.on("data", onData).on("end", onEnd).on("close", onClose);
      }
      incoming.resume();
    },
    destroy(error, done) {
      incoming.off("data", onData).off("end", onEnd).off("close", onClose);
      if (!ended) incoming.pause();
      done(error);
    },
  });
  // The HTTP client listens to errors while it reads. One that comes before or after would be an uncaught error.
  stream.on("error", () => {});

  return {
    stream,
    received: () => received,
    isUnderWay: () => wanted && !ended,
    waitsForCaller: () => wanted && !ended && !incoming.isPaused(),
    isReplayable: () => keptBody(incoming) !== undefined,
    release: () => {
      stream.destroy();
    },
  };
}

/** How much more than the limit is read of a body that is to be discarded, bytes. */
const LINGER_BYTES = 1024 * 1024;

/**
 * Reads the rest of a body of a refused request, so that the caller, who may still be sending, gets to read its answer
 * and the connection stays of use. Far past `maxBytes` the connection is worth less than the traffic.
 */
export function discardBody(incoming: IncomingMessage, maxBytes: number): void {
  if (incoming.readableEnded || incoming.destroyed) return;
  let discarded = 0;
  incoming.on("data", (chunk: Buffer) => {
    discarded += chunk.length;
    if (discarded > maxBytes + LINGER_BYTES) incoming.destroy();
  });
  incoming.resume();
}

/** The refusal of a body beyond the API's limit. */
export function bodyTooLarge(): GatewayError {
  return new GatewayError("body_too_large", {
    detail: "The request body is larger than this route takes.",
  });
}
