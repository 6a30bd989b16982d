/** Puts the tiny chunks of a request's body together: each of them would be an object of its own in every queue on its way. */

import type { IncomingMessage } from "node:http";

/** Chunks of fewer bytes are put together. */
const TINY = 1024;
/** As soon as so many bytes are together, they are passed on. */
const MOST = 16_384;

/**
 * For a body in chunks: its sender decides how many there are, and one byte in each makes 10 000 of one read, which would
 * be 3 MB as objects. What came in one turn of the event loop is passed on at its end, so nothing waits for more to come.
 */
export function joinTinyChunks(request: IncomingMessage): void {
  const push = request.push.bind(request);
  let waiting: Buffer[] = [];
  let length = 0;

  /** As a copy: a byte that waits to be read must not keep the packet that it came in. */
  function passOn(): void {
    if (length === 0) return;
    const bytes = Buffer.concat(waiting, length);
    waiting = [];
    length = 0;
    if (!request.destroyed) push(bytes);
  }

  function add(chunk: Buffer): void {
    if (length === 0) setImmediate(passOn);
    waiting.push(chunk);
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
