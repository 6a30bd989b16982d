/** Standard output as a place for log lines: gathered for a moment, and never waited for. */

import type { Writable } from "node:stream";
import type { LogSink } from "./log.ts";

/** As many lines as are written at once, characters. */
const PIECE = 16_384;
const LONGEST_DELAY_MS = 100;
const MAX_UNREAD_BYTES = 8 * 1024 * 1024;

let shared: LogSink | undefined;

/** What is left when the process ends is written then. */
export function standardOutput(): LogSink {
  if (shared === undefined) {
    const sink = gatherLines(process.stdout);
    process.once("exit", () => sink.flush());
    shared = sink;
  }
  return shared;
}

/**
 * Lines go out together, at the latest after a tenth of a second. When nobody takes them they are dropped past
 * MAX_UNREAD_BYTES: a stalled log must not take the gateway with it.
 *
 * Made for Node's own stream of a pipe, which is written to by a system call. Writing to its descriptor as to a file
 * would wake another thread for every piece, which costs as much as all the rest of a line.
 */
export function gatherLines(stream: Writable): LogSink & { flush(done?: () => void): void } {
  let gathered = "";
  let timer: NodeJS.Timeout | undefined;

  function send(done?: () => void): void {
    clearTimeout(timer);
    timer = undefined;
    const lines = stream.writableLength > MAX_UNREAD_BYTES ? "" : gathered;
    gathered = "";
    if (lines !== "" || done !== undefined) stream.write(lines, () => done?.());
  }

  return {
    write(line) {
      gathered += line;
      if (gathered.length >= PIECE) send();
      else timer ??= setTimeout(send, LONGEST_DELAY_MS).unref();
    },
    flush: (done) => send(done),
  };
}
