/** Standard output as a place for lines: a pipe's by Node's own stream, a file's by its descriptor. */

import { fstatSync, write, writeSync } from "node:fs";
import type { Writable } from "node:stream";
import { createLineOutput, type LineOutput, type LineOutputOptions, type Put } from "./line-output.ts";

const STDOUT = 1;

export interface StandardOutput extends LineOutput {
  /** No longer writes when the process ends. */
  close(): void;
}

/** What is left when the process ends is written then. */
export function openStandardOutput(
  options: Pick<LineOutputOptions, "onFailure" | "onEvent">,
): StandardOutput {
  const output = createLineOutput({
    ...options,
    ...(isFile()
      ? { put: toDescriptor(() => STDOUT), putAtExit: (bytes) => writeAll(STDOUT, bytes) }
      : pipe()),
  });
  const atExit = () => output.writeAtExit();
  process.once("exit", atExit);
  return Object.assign(output, { close: () => void process.off("exit", atExit) });
}

/**
 * Node writes to a file by one system call, takes no notice when only a part was taken, and throws or not by version.
 * A device such as /dev/full is a file here.
 */
function isFile(): boolean {
  try {
    const stdout = fstatSync(STDOUT);
    return !stdout.isFIFO() && !stdout.isSocket() && !process.stdout.isTTY;
  } catch {
    // Closed by the parent process: every write fails, and is counted.
    return true;
  }
}

/**
 * Node's stream of a pipe writes by a system call and waits for a full one without blocking. Writing to the descriptor
 * as to a file would wake another thread for every piece, which costs as much as all the rest of a line.
 */
function pipe(): Pick<LineOutputOptions, "put" | "putAtExit"> {
  const { stdout } = process;
  // The error reaches the write's callback too; as an event without a listener it would end the process.
  if (stdout.listenerCount("error", ignore) === 0) stdout.on("error", ignore);
  return { put: toStream(stdout), putAtExit: (bytes) => void stdout.write(bytes) };
}

function ignore(): void {}

export function toStream(stream: Writable): Put {
  return (bytes, done) => {
    stream.write(bytes, (error) => done(error ?? null, error ? 0 : bytes.length));
  };
}

/** @param descriptor Asked for each write, since a file may be opened anew. */
export function toDescriptor(descriptor: () => number): Put {
  return (bytes, done) =>
    write(descriptor(), bytes, 0, bytes.length, null, (error, written) => {
      // Nothing taken and no error would be tried for ever.
      if (error === null && written === 0)
        done(Object.assign(new Error("nothing was written"), { code: "EIO" }), 0);
      else done(error, written);
    });
}

/** At the end of the process: what fails now can no longer be counted anywhere. */
export function writeAll(descriptor: number, bytes: Buffer): void {
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(descriptor, bytes, at);
  } catch {
    // The disk is full, or the reader gone: nothing else is left to be done about it.
  }
}
