/** The `.env` file beside package.json, for local runs: one rule for every command that reads configuration. */

import { readFileSync } from "node:fs";
import { parseEnv } from "node:util";
import { ConfigurationError } from "../errors.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * What the environment says wins over the file. A missing file is no fault.
 *
 * @throws {ConfigurationError} when there is one that cannot be read.
 */
export function withDotEnv(env: Environment): Environment {
  try {
    return { ...parseEnv(readFileSync(new URL("../.env", import.meta.url), "utf8")), ...env };
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT") return env;
    throw new ConfigurationError([{ path: ".env", problem: `cannot be read (${code})` }], { cause });
  }
}
