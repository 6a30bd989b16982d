/** Writes a large answer in slices, at its caller's pace and without holding up other requests. */

import type { ServerResponse } from "node:http";
import { LARGE_PIECE, loopTurns } from "../../foundation/turns.ts";
import type { BodyRewriter } from "../contract.ts";

/** Bytes that are rewritten and written before the event loop turns: well under a millisecond's work. */
const SLICE = 65_536;

export interface SliceOptions {
  readonly rewriter: BodyRewriter | undefined;
  /** Longest time in which the caller takes nothing, ms. */
  readonly idleMs: number;
  /** For whom it is written; see `Turns`. */
  readonly owner: string;
}

/**
 * Writes the pieces through the rewriter. The next slice waits until the caller has taken the one before, so that an
 * answer which is not read takes no second copy of itself; a caller who takes nothing for `idleMs` is cut off.
 *
 * Rejects when the connection is gone.
 */
export async function writeInTurns(
  outgoing: ServerResponse,
  pieces: readonly Buffer[],
  { rewriter, idleMs, owner }: SliceOptions,
): Promise<void> {
  for (const piece of pieces) {
    for (let at = 0; at < piece.length; at += SLICE) {
      const slice = piece.subarray(at, at + SLICE);
      const bytes = rewriter === undefined ? slice : rewriter.push(slice);
      if (outgoing.destroyed) throw new Error("the caller has gone");
      // The system often takes all at once, and the drain comes in the same turn of the event loop.
      if (bytes.length > 0 && !outgoing.write(bytes)) await drained(outgoing, idleMs);
      if (slice.length >= LARGE_PIECE) await loopTurns.pause(owner);
    }
  }
}

function drained(outgoing: ServerResponse, idleMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (settled: () => void) => {
      clearTimeout(timer);
      outgoing.off("drain", onDrain).off("close", onClose);
      settled();
    };
    const onDrain = () => settle(resolve);
    const onClose = () => settle(() => reject(new Error("the caller has gone")));
    const timer = setTimeout(
      () => settle(() => reject(new Error("the caller took nothing of the answer for too long"))),
      idleMs,
    );
    outgoing.on("drain", onDrain).on("close", onClose);
  });
}
