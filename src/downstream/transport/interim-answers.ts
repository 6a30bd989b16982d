/** Takes interim answers of an API off the wire, before the HTTP client sees them. */

import type { Socket } from "node:net";

export interface InterimFilter {
  /** A request goes out on the socket: interim answers may come before the final one. */
  expectAnswer(): void;
}

const HEAD_END = Buffer.from("\r\n\r\n");
const VERSION = Buffer.from("HTTP/1.");
/** Bytes of `HTTP/1.1 100`, which decide what kind of answer begins. */
const DECISIVE = 12;

/**
 * RFC 9110 §15.2: a client must be able to read past interim answers, an unasked `100 Continue` included. undici ends the
 * connection at that one (`onHeadersComplete` of its client-h1.js), so all but 101 are skipped here, wherever the
 * packets are cut. undici reads by `socket.read()` alone, which is why that one method is replaced.
 */
export function skipInterimAnswers(socket: Socket, maxHeadBytes: number): InterimFilter {
  const read = socket.read.bind(socket);
  let expecting = false;
  let held: Buffer | undefined;

  /** The part of the bytes that belongs to the final answer; undefined while that is not known, or none is here. */
  function passed(chunk: Buffer): Buffer | undefined {
    let bytes = held === undefined ? chunk : Buffer.concat([held, chunk]);
    held = undefined;
    while (isInterim(bytes)) {
      const end = bytes.indexOf(HEAD_END);
      if (end === -1 && bytes.length <= maxHeadBytes) {
        held = bytes;
        return undefined;
      }
      if (end === -1) break;
      bytes = bytes.subarray(end + HEAD_END.length);
      if (bytes.length === 0) return undefined;
    }
    if (bytes.length < DECISIVE && mayBecomeInterim(bytes)) {
      held = bytes;
      return undefined;
    }
    expecting = false;
    return bytes;
  }

  socket.read = (size?: number) => {
    for (let chunk = read(size); ; chunk = read(size)) {
      if (chunk === null || !expecting) return chunk;
      const bytes = passed(chunk);
      if (bytes !== undefined) return bytes;
    }
  };

  return {
    expectAnswer() {
      expecting = true;
      held = undefined;
    },
  };
}

function isInterim(bytes: Buffer): boolean {
  // Switching protocols is refused by the HTTP client, for the gateway offers no upgrade.
  return (
    bytes.length >= DECISIVE &&
    bytes[9] === 0x31 &&
    mayBecomeInterim(bytes) &&
    bytes.toString("latin1", 9, 12) !== "101"
  );
}

/** Whether the bytes are the beginning of a head with a status of 1xx, as far as they go. */
function mayBecomeInterim(bytes: Buffer): boolean {
  const known = Math.min(bytes.length, VERSION.length);
  if (bytes.compare(VERSION, 0, known, 0, known) !== 0) return false;
  return bytes.length < 10 || bytes[9] === 0x31;
}
