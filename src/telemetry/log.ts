/** JSON logs. Secrets are opaque before they get here; what text remains is scrubbed of anything that looks like a token. */

import { type DestinationStream, type Logger, pino } from "pino";
import { GatewayError } from "../errors.ts";
import { isoTime } from "./clock-text.ts";

export type { Logger };

/** Receives whole lines of JSON; `flush` calls back when those so far are on their way. */
export interface LogSink extends DestinationStream {
  flush?(done?: (error?: Error) => void): void;
}

/** A JWT's first two parts in any text: error messages of libraries have been seen to quote their input. */
const TOKEN = /eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,4}/g;

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

/** An error and its causes, without the properties that libraries hang on them (requests, tokens, headers). */
function describeError(error: unknown, depth = 0): object {
  if (!(error instanceof Error)) return { type: typeof error };
  const { code } = error as NodeJS.ErrnoException;
  return {
    type: error.name,
    message: scrub(error.message),
    ...(typeof code === "string" && { code }),
    // What tells one cause of a refusal from another: its message is for callers, and the same for all of them.
    ...(error instanceof GatewayError &&
      error.reason !== undefined && { reason: error.reason, ...error.diagnostics }),
    // A refusal's code says where it was thrown; a stack is for errors that the code does not foresee.
    ...(error.stack !== undefined &&
      depth === 0 &&
      !(error instanceof GatewayError) && { stack: scrub(error.stack) }),
    ...(error.cause !== undefined && depth < 4 && { cause: describeError(error.cause, depth + 1) }),
  };
}

function scrub(text: string): string {
  return text.replace(TOKEN, "[token]").slice(0, 4_096);
}
