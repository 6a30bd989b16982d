/** Puts the tiny chunks of a request's body together: each of them would be an object of its own in every queue on its way. */

import type { IncomingMessage } from "node:http";

/** Chunks of fewer bytes are put together. */
const TINY = 1024;
/** As soon as so many bytes are together, they are passed on. */
const MOST = 16_384;
/** Bytes that the first of them takes. */
const LEAST = 64;

/**
 * For a body in chunks: its sender decides how many there are, and one byte in each makes 10 000 of one read, which would
 * be 3 MB as objects. What came in one turn of the event loop is passed on at its end, so nothing waits for more to come.
 */
export function joinTinyChunks(request: IncomingMessage, onTinyChunk: () => void = () => {}): void {
  const push = request.push.bind(request);
  let together: Buffer | undefined;
  let length = 0;

  function passOn(): void {
    if (together === undefined) return;
    const bytes = together.subarray(0, length);
    together = undefined;
    length = 0;
    if (!request.destroyed) push(bytes);
  }

  /** Copied at once: neither ten thousand objects nor the packet that they came in wait with the bytes. */
  function add(chunk: Buffer): void {
    onTinyChunk();
    if (together === undefined) setImmediate(passOn);
    together = withRoom(together, length, chunk.length);
    together.set(chunk, length);
    length += chunk.length;
    if (length >= MOST) passOn();
  }

  request.push = (chunk: Buffer | null, encoding) => {
    if (chunk !== null && chunk.length < TINY) {
      add(chunk);
      return request.readableLength < request.readableHighWaterMark;
    }
    passOn();
    return push(chunk, encoding);
  };
}

/** At least twice as large where it has to grow, so that each byte is copied a few times at most. */
function withRoom(buffer: Buffer | undefined, length: number, more: number): Buffer {
  if (buffer !== undefined && buffer.length >= length + more) return buffer;
  const larger = Buffer.allocUnsafe(Math.max(LEAST, 2 * length, length + more));
  buffer?.copy(larger, 0, 0, length);
  return larger;
}
