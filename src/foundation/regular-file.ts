/** Small files that others write and replace: opened only when they are regular files, and distinguished by version. */

import type { BigIntStats } from "node:fs";
import { open, stat } from "node:fs/promises";
import { ConfigurationError } from "../errors.ts";

export interface RegularFileOptions {
  readonly path: string;
  /** Environment variable that names the file, for messages. */
  readonly setting: string;
  /** Largest content, bytes. */
  readonly maxBytes: number;
}

export interface FileContent {
  readonly content: Buffer;
  readonly mode: number;
  /** Differs between two contents of one path. */
  readonly version: string;
}

/** @throws {ConfigurationError} when there is no such file, or one that cannot be what the setting is for. */
export async function readRegularFile(options: RegularFileOptions): Promise<FileContent> {
  await statFile(options);
  const handle = await open(options.path, "r").catch((cause: unknown) => refuse(options, cause));
  try {
    // Taken from the open file before it is read, so that a write during the read shows as a change later.
    const stats = await handle.stat({ bigint: true });
    const content = await handle.readFile();
    return { content, mode: Number(stats.mode), version: versionOf(stats) };
  } catch (cause) {
    return refuse(options, cause);
  } finally {
    await handle.close();
  }
}

/**
 * The version of the content that is there now, for the price of a look at the file.
 *
 * @throws {ConfigurationError} as `readRegularFile` does.
 */
export async function versionOfFile(options: RegularFileOptions): Promise<string> {
  return versionOf(await statFile(options));
}

/** Refuses what must not even be opened: opening a pipe would hang, and a device never ends. */
async function statFile(options: RegularFileOptions): Promise<BigIntStats> {
  const { path, setting, maxBytes } = options;
  const stats = await stat(path, { bigint: true }).catch((cause: unknown) => refuse(options, cause));
  const problem = !stats.isFile()
    ? `${path} is not a regular file`
    : stats.size === 0n
      ? `${path} is empty`
      : stats.size > maxBytes
        ? `${path} is larger than ${maxBytes} bytes, so it is not what this setting is for`
        : undefined;
  if (problem !== undefined) throw new ConfigurationError([{ path: setting, problem }]);
  return stats;
}

/** The inode is what changes when the kubelet swaps `..data`. */
function versionOf(stats: BigIntStats): string {
  return [stats.dev, stats.ino, stats.size, stats.mtimeNs, stats.ctimeNs].join(":");
}

const READ_FAILURES: Readonly<Record<string, string>> = {
  ENOENT: "does not exist",
  ENOTDIR: "does not exist",
  EACCES: "may not be read by the user this process runs as (in Kubernetes, set fsGroup)",
  EPERM: "may not be read by the user this process runs as",
};

function refuse({ path, setting }: RegularFileOptions, cause: unknown): never {
  // Not `instanceof Error`: errors of node:fs may come from another realm.
  const code =
    typeof cause === "object" && cause !== null && "code" in cause ? String(cause.code) : "no code";
  const problem = `${path} ${READ_FAILURES[code] ?? `cannot be read (${code})`}`;
  throw new ConfigurationError([{ path: setting, problem }], { cause });
}
