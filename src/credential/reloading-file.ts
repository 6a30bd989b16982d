/** A credential file that is read again when it changes, however it is replaced. */

import { createHash } from "node:crypto";
import { type RegularFileOptions, readRegularFile, versionOfFile } from "../foundation/regular-file.ts";
import type { CredentialSource } from "./contract.ts";
import { openReloadingValue, type ReloadingValue, type ReloadingValueOptions } from "./reloading-value.ts";
import type { SourcePorts } from "./source.ts";

export interface ReloadingFileOptions<Value> extends RegularFileOptions {
  readonly source: CredentialSource;
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
    if (!force && (await versionOfFile(options)) === good?.version) return undefined;
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
