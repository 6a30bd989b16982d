/** Reads a caller's request body at the downstream's pace, counts it, and keeps a small one for a second attempt. */

import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { GatewayError } from "../../errors.ts";
import { chunkPassed } from "../transport/chunk-memory.ts";

/** How a request says where its body ends (RFC 9112 §6.3). */
export type Framing =
  | { readonly kind: "none" }
  | { readonly kind: "length"; readonly bytes: number }
  | { readonly kind: "chunked" };

/**
 * Judges the framing of a request once more than the HTTP parser did. A request on whose length two servers could
 * disagree is how a second, hidden request is smuggled past the first server.
 *
 * @throws {GatewayError} `request_malformed`; the connection must not be used for another request.
 */
export function readFraming({ headers, httpVersion }: IncomingMessage): Framing {
  // What node:http lets through besides is 0.9, which has neither fields nor framing.
  if (httpVersion !== "1.1" && httpVersion !== "1.0") throw ambiguousFraming();
  const coding = headers["transfer-encoding"];
  const length = headers["content-length"];
  if (coding !== undefined) {
    // RFC 9112 §6.1: never beside a length, never in HTTP/1.0, and chunked is the only coding we know.
    const known = coding.toLowerCase() === "chunked";
    if (!known || length !== undefined || httpVersion === "1.0") throw ambiguousFraming();
    return { kind: "chunked" };
  }
  if (length === undefined) return { kind: "none" };
  if (!/^\d{1,15}$/.test(length)) throw ambiguousFraming();
  const bytes = Number(length);
  return bytes === 0 ? { kind: "none" } : { kind: "length", bytes };
}

export interface RequestBodyOptions {
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
  /** Whether all is ready and only the caller has to send. */
  waitsForCaller(): boolean;
  /** Whether a second attempt could send the same body, because all of it is kept. */
  isReplayable(): boolean;
  /** Lets go of the caller's stream without touching its connection. */
  release(): void;
}

/** A body up to this size is kept until the answer begins, bytes: a JSON request, not an upload. */
const KEPT_BYTES = 65_536;

/** Whole bodies of requests that may be attempted again. Weak: they go with their request. */
const kept = new WeakMap<IncomingMessage, Buffer>();

/** The body that an earlier attempt of this request kept. */
export function keptBody(incoming: IncomingMessage): Buffer | undefined {
  return kept.get(incoming);
}

/**
 * Wraps the caller's stream instead of handing it on: the HTTP client destroys the stream it was given when it
 * fails, and with it would go the connection on which the caller waits for an answer.
 */
export function openRequestBody(incoming: IncomingMessage, options: RequestBodyOptions): RequestBody {
  let received = 0;
  let wanted = false;
  let ended = false;
  let chunks: Buffer[] | undefined = [];

  const onData = (chunk: Buffer) => {
    received += chunk.length;
    chunkPassed(chunk);
    if (received > options.maxBytes) {
      stream.destroy(bodyTooLarge());
      return;
    }
    if (received > KEPT_BYTES) chunks = undefined;
    chunks?.push(chunk);
    options.onChunk();
    if (!stream.push(chunk)) incoming.pause();
  };
  const onEnd = () => {
    ended = true;
    if (chunks !== undefined) kept.set(incoming, Buffer.concat(chunks));
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
  // The HTTP client hears errors while it reads. One that comes before or after that has nobody else to hear it.
  stream.on("error", () => {});

  return {
    stream,
    received: () => received,
    waitsForCaller: () => wanted && !ended && !incoming.isPaused(),
    isReplayable: () => kept.has(incoming),
    release: () => {
      stream.destroy();
    },
  };
}

/** Forgets a kept body, once the answer has begun and no second attempt can come. */
export function forgetBody(incoming: IncomingMessage): void {
  kept.delete(incoming);
}

/** How much more than the limit is read of a body that nobody wants, bytes. */
const LINGER_BYTES = 1024 * 1024;

/**
 * Reads the rest of a body that nobody wants, so that the caller, who may still be sending, gets to read its answer
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

/** The refusal of a message whose end two servers could see in two places. */
export function ambiguousFraming(): GatewayError {
  return new GatewayError("request_malformed", {
    detail: "The request does not say unambiguously where its body ends.",
    reason: "framing",
  });
}
