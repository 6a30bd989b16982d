/** Reads the body of a request whole: within a size, and within a time where its listener sets none. */

import type { IncomingMessage } from "node:http";
import { ByteCollector } from "./byte-collector.ts";
import { LARGE_PIECE, loopTurns } from "./turns.ts";

export type BodyFailure = "too_large" | "cut" | "stalled";

export interface BoundedBodyOptions {
  readonly maxBytes: number;
  /** Accounts for each piece before it is kept. What it throws is the failure. */
  readonly take?: ((bytes: number) => void) | undefined;
  /** Longest pause within the body, ms. Default: none but `timeoutMs`. */
  readonly idleMs?: number;
  /** Time for the whole body, ms. Default: as long as the listener lets it take. */
  readonly timeoutMs?: number;
  /** For whom it is read; see `Turns`. Default: a caller who is not known yet. */
  readonly owner?: string | undefined;
  readonly failed: (failure: BodyFailure) => Error;
}

/**
 * Rejects with what `failed` makes of a failure, or with what `take` throws. What is left of a body that is too large is
 * taken off the wire unread, so that the caller gets to read the refusal.
 */
export function readBoundedBody(incoming: IncomingMessage, options: BoundedBodyOptions): Promise<Buffer> {
  const { maxBytes, take, idleMs, timeoutMs, owner, failed } = options;
  return new Promise((resolve, reject) => {
    let body = new ByteCollector();
    let length = 0;
    const settle = (settled: () => void) => {
      clearTimeout(idle);
      clearTimeout(deadline);
      incoming.off("data", onData).off("end", onEnd).off("close", onClose);
      settled();
    };
    const fail = (error: unknown) => {
      settle(() => reject(error));
      body = new ByteCollector();
    };
    const onData = (chunk: Buffer) => {
      idle?.refresh();
      length += chunk.length;
      if (length > maxBytes) return fail(failed("too_large"));
      try {
        take?.(chunk.length);
        body.add(chunk);
      } catch (error) {
        fail(error);
      }
    };
    const onEnd = () =>
      settle(() => {
        const whole = () => resolve(body.whole());
        // Of bodies that end in the same turn of the event loop each is put together in one of its own.
        if (length < LARGE_PIECE) whole();
        else loopTurns.wait(owner, whole);
      });
    const onClose = () => fail(failed("cut"));
    const onLate = () => fail(failed("stalled"));
    const idle = idleMs === undefined ? undefined : setTimeout(onLate, idleMs);
    const deadline = timeoutMs === undefined ? undefined : setTimeout(onLate, timeoutMs);
    // A caller who left before this is not announced again.
    if (incoming.destroyed && !incoming.readableEnded) return onClose();
    incoming.on("data", onData).on("end", onEnd).on("close", onClose);
  });
}
