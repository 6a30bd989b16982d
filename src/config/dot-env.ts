/** The `.env` file beside package.json, for local runs: one rule for every command that reads configuration. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseEnv } from "node:util";
import { ConfigurationError } from "../errors.ts";
import { decodeText } from "../foundation/text.ts";

type Environment = Readonly<Record<string, string | undefined>>;

const PACKAGE = new URL("../../", import.meta.url);

/**
 * Two folders up, from the sources as from what is built of them. As a dependency of another project, the gateway reads
 * the file of the directory in which that project was started: its package directory is not the operator's to write.
 */
export const DOT_ENV_FILE = dotEnvFile(PACKAGE.pathname, process.cwd());

export function dotEnvFile(packagePath: string, workingDirectory: string): URL {
  return packagePath.includes("/node_modules/")
    ? pathToFileURL(join(workingDirectory, ".env"))
    : new URL(".env", PACKAGE);
}

/**
 * The environment wins over the file. A missing file is no fault. UTF-8 and UTF-16 are read, with or without a byte
 * order mark: the mark would otherwise become part of the first variable's name, which is then missing.
 *
 * @throws {ConfigurationError} when the file is there and cannot be read.
 */
export function withDotEnv(env: Environment, file: URL = DOT_ENV_FILE): Environment {
  try {
    const text = decodeText(readFileSync(file)).replaceAll(/\r\n?/g, "\n");
    return { ...parseEnv(text), ...env };
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT") return env;
    throw new ConfigurationError([{ path: ".env", problem: `cannot be read (${code})` }], { cause });
  }
}
