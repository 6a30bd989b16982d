/** A file of its own for the audit stream: added to, never begun anew, and opened again when it has been rotated. */

import { closeSync, constants, openSync } from "node:fs";
import { ConfigurationError } from "../errors.ts";
import { createLineOutput, type LineOutput, type LineOutputOptions } from "./line-output.ts";
import { toDescriptor, writeAll } from "./standard-output.ts";

export interface AuditFile extends LineOutput {
  /**
   * Opens the file's path again, so that lines go to a new file after the old one was renamed. The old file serves on
   * when the new one cannot be opened.
   *
   * @throws {ConfigurationError} in that case.
   */
  reopen(): void;
}

/** A full pipe in the file's place must not hold a thread, and a pipe without a reader must not hold the start. */
const FLAGS = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK;

/** @throws {ConfigurationError} when the file cannot be written. */
export function openAuditFile(
  file: string,
  options: Pick<LineOutputOptions, "onFailure" | "onEvent">,
): AuditFile {
  let descriptor = open(file);
  let isWriting = false;
  /** Replaced, and still that of a write which is under way; once closed, its number could be another file's. */
  const outdated: number[] = [];

  function closeOutdated(): void {
    for (const one of outdated.splice(0)) closeSync(one);
  }

  const put = toDescriptor(() => descriptor);
  const output = createLineOutput({
    ...options,
    put(bytes, done) {
      isWriting = true;
      put(bytes, (error, written) => {
        isWriting = false;
        closeOutdated();
        done(error, written);
      });
    },
    putAtExit: (bytes) => writeAll(descriptor, bytes),
  });

  return {
    ...output,
    reopen() {
      const next = open(file);
      outdated.push(descriptor);
      descriptor = next;
      output.beginAfresh();
      if (!isWriting) closeOutdated();
    },
    end(limitMs, done) {
      output.end(limitMs, () => {
        if (!isWriting) closeSync(descriptor);
        done();
      });
    },
  };
}

function open(file: string): number {
  try {
    return openSync(file, FLAGS, 0o600);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const problem = `cannot write ${file} (${code})`;
    throw new ConfigurationError([{ path: "AUDIT_LOG_FILE", problem }], { cause });
  }
}
