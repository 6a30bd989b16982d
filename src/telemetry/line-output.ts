/** Lines on their way to a file or a pipe: gathered for a moment, never waited for, never torn, and counted when lost. */

import type { LogSink } from "./contract.ts";

/** What becomes of lines when the output fails: they are dropped at once, or they wait until it works again. */
export type OnFailure = "drop" | "hold";

export type OutputEvent =
  /** So many lines will never be written. `reason` is a system error's code, `blocked`, or `ended`. */
  | { readonly type: "lost"; readonly lines: number; readonly reason: string }
  /** The output failed; with `hold` nothing is lost yet. */
  | { readonly type: "failed"; readonly reason: string }
  /** Everything that waited has been written. `lost` counts the lines that were not, since the last such event. */
  | { readonly type: "restored"; readonly lost: number };

/** Writes some of the bytes, at least one of them, and calls back once with how many, or with what went wrong. */
export type Put = (
  bytes: Buffer,
  done: (error: NodeJS.ErrnoException | null, written: number) => void,
) => void;

export interface LineOutputOptions {
  readonly put: Put;
  /** The same without waiting, for the end of the process. */
  readonly putAtExit?: (bytes: Buffer) => void;
  readonly onFailure: OnFailure;
  readonly onEvent: (event: OutputEvent) => void;
}

export interface LineOutput extends LogSink {
  write(line: string): void;
  /** Calls back when the lines so far are written, or could not be. Waits for a blocked output: bound the wait. */
  flush(done?: () => void): void;
  /** Takes no more lines, and calls back when those so far are written, or lost; after `limitMs` they are lost. */
  end(limitMs: number, done: () => void): void;
  /** Writes what is left without waiting for anything; for the `exit` event of the process. */
  writeAtExit(): void;
  /** What is written from now on goes elsewhere, where the end of a torn line would be out of place. */
  beginAfresh(): void;
  /** Whether lines written now might be lost: the output failed at the last attempt, or half of the room is taken. */
  isFailing(): boolean;
}

/** As many lines as are written at once, characters. */
const PIECE = 16_384;
const LONGEST_DELAY_MS = 100;
/** Bytes that wait for an output that takes none; lines past it are lost. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024;
/** Pause after a failed attempt with lines that wait. */
const RETRY_MS = 1_000;
const NEWLINE = 0x0a;

interface Piece {
  readonly bytes: Buffer;
  readonly lines: number;
}

export function createLineOutput({ put, putAtExit, onFailure, onEvent }: LineOutputOptions): LineOutput {
  let gathered = "";
  let gatheredLines = 0;
  const waiting: Piece[] = [];
  let waitingBytes = 0;
  /** End of a line whose beginning is in the output: it goes first, or the next line would be glued to the torn one. */
  let rest: Buffer | undefined;
  let writing = false;
  let failing = false;
  let failedSinceRestored = false;
  let ended = false;
  let lostSinceRestored = 0;
  let timer: NodeJS.Timeout | undefined;
  let emptied: (() => void)[] = [];

  function lose(lines: number, reason: string): void {
    if (lines === 0) return;
    lostSinceRestored += lines;
    onEvent({ type: "lost", lines, reason });
  }

  function gather(): void {
    if (gathered === "") return;
    const bytes = Buffer.from(gathered);
    waiting.push({ bytes, lines: gatheredLines });
    waitingBytes += bytes.length;
    gathered = "";
    gatheredLines = 0;
  }

  function send(): void {
    clearTimeout(timer);
    timer = undefined;
    if (gathered.length >= PIECE) gather();
    writeNext();
  }

  function writeNext(): void {
    if (writing) return;
    // While a write is under way lines go on gathering, so that an output that is blocked is not owed a crumb for each.
    if (waiting.length === 0) gather();
    const bytes = rest ?? waiting[0]?.bytes;
    if (bytes === undefined) {
      caughtUp();
      return;
    }
    writing = true;
    put(bytes, (error, written) => {
      writing = false;
      if (error !== null) failed(error.code ?? "unknown");
      else took(bytes, written);
    });
  }

  function took(bytes: Buffer, written: number): void {
    failing = false;
    const left = bytes.subarray(written);
    if (rest !== undefined) {
      rest = left.length === 0 ? undefined : left;
    } else {
      const [piece] = waiting;
      waiting.shift();
      waitingBytes -= bytes.length;
      if (left.length > 0 && piece !== undefined) keepLeft(left, bytes[written - 1] !== NEWLINE);
    }
    writeNext();
  }

  /** A short write, as of a disk that is filling up: what is left is a torn line's end, and whole lines after it. */
  function keepLeft(left: Buffer, isTorn: boolean): void {
    const end = isTorn ? left.indexOf(NEWLINE) + 1 : 0;
    if (end > 0) rest = left.subarray(0, end);
    const whole = left.subarray(end);
    if (whole.length === 0) return;
    waiting.unshift({ bytes: whole, lines: countLines(whole) });
    waitingBytes += whole.length;
  }

  function failed(reason: string): void {
    // A pipe that is full says so: its reader is slow, and nothing has failed.
    const isBlocked = reason === "EAGAIN";
    if (!isBlocked && !failing) onEvent({ type: "failed", reason });
    failing = !isBlocked;
    failedSinceRestored ||= failing;
    if (!isBlocked && (onFailure === "drop" || ended)) dropWaiting(reason);
    if (waiting.length === 0) {
      // The end of a torn line stays, for the next attempt to begin with.
      settle();
      return;
    }
    timer ??= setTimeout(send, isBlocked ? LONGEST_DELAY_MS : RETRY_MS).unref();
    if (!isBlocked) settle();
  }

  function dropWaiting(reason: string): void {
    let lines = 0;
    for (const piece of waiting.splice(0)) lines += piece.lines;
    waitingBytes = 0;
    lose(lines, reason);
  }

  function caughtUp(): void {
    if (!failing && (failedSinceRestored || lostSinceRestored > 0)) {
      const lost = lostSinceRestored;
      lostSinceRestored = 0;
      failedSinceRestored = false;
      onEvent({ type: "restored", lost });
    }
    settle();
  }

  function settle(): void {
    const done = emptied;
    emptied = [];
    for (const one of done) one();
  }

  return {
    write(line) {
      // A flight that outlives the gateway may still have something to log.
      if (ended) return;
      if (waitingBytes + gathered.length + line.length > MAX_WAITING_BYTES) {
        lose(1, "blocked");
        return;
      }
      gathered += line;
      gatheredLines += 1;
      if (gathered.length >= PIECE) {
        // After a failure the next attempt is the timer's.
        if (failing && timer !== undefined) gather();
        else send();
      } else timer ??= setTimeout(send, LONGEST_DELAY_MS).unref();
    },

    flush(done = () => {}) {
      emptied.push(done);
      send();
    },

    end(limitMs, done) {
      ended = true;
      const limit = setTimeout(() => {
        clearTimeout(timer);
        emptied = [];
        gather();
        dropWaiting("ended");
        done();
      }, limitMs);
      emptied.push(() => {
        clearTimeout(limit);
        done();
      });
      send();
    },

    writeAtExit() {
      gather();
      const left = [...(rest === undefined ? [] : [rest]), ...waiting.map(({ bytes }) => bytes)];
      if (writing || left.length === 0) return;
      waiting.length = 0;
      rest = undefined;
      putAtExit?.(Buffer.concat(left));
    },

    beginAfresh() {
      if (rest === undefined || writing) return;
      rest = undefined;
      lose(1, "torn");
    },

    isFailing: () => failing || waitingBytes > MAX_WAITING_BYTES / 2,
  };
}

function countLines(bytes: Buffer): number {
  let lines = 0;
  for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) lines += 1;
  return lines;
}
