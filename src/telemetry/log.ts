/** JSON logs. Secrets are opaque before they get here; what text remains is scrubbed of anything that looks like a token. */

import { type DestinationStream, destination, type Logger, pino } from "pino";
import { GatewayError } from "../errors.ts";
import { isoTime } from "./clock-text.ts";

export type { Logger };

/** Receives whole lines of JSON; `flush` calls back when those so far are on their way. */
export interface LogSink extends DestinationStream {
  flush?(done?: (error?: Error) => void): void;
}

/** A JWT's first two parts in any text: error messages of libraries have been seen to quote their input. */
const TOKEN = /eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,4}/g;

/** How long the last lines may take, ms. */
const END_LIMIT_MS = 2_000;

const MAX_UNREAD_BYTES = 8 * 1024 * 1024;

export function createLogger(level: string, sink: LogSink): Logger {
  const options = {
    level,
    base: null,
    timestamp: () => `,"time":"${isoTime()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
    serializers: { err: describeError },
  };
  return pino(options, sink);
}

/**
 * An open file. Lines go out together, at the latest after a tenth of a second; what is left when the process ends is
 * written then. When they cannot be written they are dropped past MAX_UNREAD_BYTES.
 */
export function toDescriptor(
  fd: number,
  onLoss: (error?: Error) => void,
): LogSink & { end(done: () => void): void } {
  // As bytes: to count those of text, the stream would look at all that is gathered again for each line.
  const stream = destination({
    fd,
    sync: false,
    minLength: 16_000,
    periodicFlush: 100,
    maxLength: MAX_UNREAD_BYTES,
    contentMode: "buffer",
  });
  stream.on("error", onLoss).on("drop", () => onLoss());
  let ended = false;
  return {
    write(line) {
      // A flight that outlives the gateway may still have something to tell.
      if (!ended) stream.write(Buffer.from(line) as never);
    },
    flush: (done) => stream.flush(done),
    end(done) {
      ended = true;
      // What cannot be written would be tried for ever.
      const limit = setTimeout(() => stream.destroy(), END_LIMIT_MS);
      stream.once("close", () => {
        clearTimeout(limit);
        done();
      });
      stream.end();
    },
  };
}

/** An error and its causes, without the properties that libraries hang on them (requests, tokens, headers). */
function describeError(error: unknown, depth = 0): object {
  if (!(error instanceof Error)) return { type: typeof error };
  const { code } = error as NodeJS.ErrnoException;
  return {
    type: error.name,
    message: scrub(error.message),
    ...(typeof code === "string" && { code }),
    // A refusal of ours says where it stands by its code; a stack is for what nobody foresaw.
    ...(error.stack !== undefined &&
      depth === 0 &&
      !(error instanceof GatewayError) && { stack: scrub(error.stack) }),
    ...(error.cause !== undefined && depth < 4 && { cause: describeError(error.cause, depth + 1) }),
  };
}

function scrub(text: string): string {
  return text.replace(TOKEN, "[token]").slice(0, 4_096);
}
