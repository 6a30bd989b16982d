/** A credential file that is read again when it changes, however it is replaced. */

import { createHash } from "node:crypto";
import type { BigIntStats } from "node:fs";
import { open, stat } from "node:fs/promises";
import { ConfigurationError } from "../errors.ts";
import type { CredentialSource } from "./contract.ts";
import { openReloadingValue, type ReloadingValue, type ReloadingValueOptions } from "./reloading-value.ts";
import type { SourcePorts } from "./source.ts";

export interface ReloadingFileOptions<Value> {
  readonly source: CredentialSource;
  /** Environment variable that names the file, for messages. */
  readonly setting: string;
  readonly path: string;
  /** Largest content, bytes. */
  readonly maxBytes: number;
  /** Shortest time between two looks at the file, ms. 0 looks on each use. */
  readonly intervalMs: number;
  /** How long before its `expiresAt` a value is no longer handed out, ms. */
  readonly marginMs: number;
  /** Parses and checks a content. Rejects with ConfigurationError, whose text never quotes the content. */
  readonly parse: (
    content: Buffer,
    file: { readonly mode: number; readonly generation: number },
  ) => Promise<Value>;
  readonly trial?: ReloadingValueOptions<Value>["trial"];
}

/** @throws {ConfigurationError} when the file is not usable right now. */
export function openReloadingFile<Value extends { readonly expiresAt: number }>(
  options: ReloadingFileOptions<Value>,
  ports: SourcePorts,
): Promise<ReloadingValue<Value>> {
  const { source, path, marginMs, intervalMs, trial } = options;
  // Of the last content that was good, so that a bad one is parsed again at each look: a certificate that is not
  // valid yet will be.
  let good: { readonly version: string; readonly digest: string } | undefined;

  async function load(force: boolean, generation: number): Promise<Value | undefined> {
    if (!force && versionOf(await statFile(options)) === good?.version) return undefined;
    const { content, mode, version } = await readRegularFile(options);
    const digest = createHash("sha256").update(content).digest("base64");
    // A file that was only touched gives nothing new: what Entra refused, it would refuse again.
    const value = digest === good?.digest ? undefined : await options.parse(content, { mode, generation });
    good = { version, digest };
    return value;
  }

  return openReloadingValue(
    {
      source,
      origin: path,
      marginMs,
      // A clock that was set back must not postpone the next look.
      isDue: ({ force, at, previousAt }) => force || at < previousAt || at - previousAt >= intervalMs,
      load,
      trial,
    },
    ports,
  );
}

type FileOptions = Pick<ReloadingFileOptions<unknown>, "path" | "setting" | "maxBytes">;

interface FileContent {
  readonly content: Buffer;
  readonly mode: number;
  readonly version: string;
}

async function readRegularFile(options: FileOptions): Promise<FileContent> {
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

/** Refuses what must not even be opened: opening a pipe would hang, and a device never ends. */
async function statFile(options: FileOptions): Promise<BigIntStats> {
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

/** Tells one content of a path from the next. The inode is what changes when the kubelet swaps `..data`. */
function versionOf(stats: BigIntStats): string {
  return [stats.dev, stats.ino, stats.size, stats.mtimeNs, stats.ctimeNs].join(":");
}

const READ_FAILURES: Readonly<Record<string, string>> = {
  ENOENT: "does not exist",
  ENOTDIR: "does not exist",
  EACCES: "may not be read by the user this process runs as (in Kubernetes, set fsGroup)",
  EPERM: "may not be read by the user this process runs as",
};

function refuse({ path, setting }: FileOptions, cause: unknown): never {
  // Not `instanceof Error`: errors of node:fs may come from another realm.
  const code =
    typeof cause === "object" && cause !== null && "code" in cause ? String(cause.code) : "no code";
  const problem = `${path} ${READ_FAILURES[code] ?? `cannot be read (${code})`}`;
  throw new ConfigurationError([{ path: setting, problem }], { cause });
}
