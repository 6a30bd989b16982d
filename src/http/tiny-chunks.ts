/** Puts the tiny chunks of a request's body together: each of them would be an object of its own in every queue on its way. */

import type { IncomingMessage } from "node:http";

/** Chunks of fewer bytes are put together. */
const TINY = 1024;
/** Bytes that are put together at most before they are passed on. */
const MOST = 16_384;

/**
 * For a body in chunks: its sender decides how many there are, and one byte in each makes 10 000 of one read, which would
 * be 3 MB as objects. What came in one turn of the event loop is passed on at its end, so nothing waits for more to come.
 */
export function joinTinyChunks(request: IncomingMessage): void {
  const push = request.push.bind(request);
  let joined: Buffer | undefined;
  let length = 0;

  function passOn(): void {
    if (joined === undefined) return;
    const bytes = joined.subarray(0, length);
    joined = undefined;
    length = 0;
    if (!request.destroyed) push(bytes);
  }

  function add(chunk: Buffer): void {
    if (joined === undefined) {
      joined = Buffer.allocUnsafe(MOST);
      setImmediate(passOn);
    }
    length += chunk.copy(joined, length);
    if (length > MOST - TINY) passOn();
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
