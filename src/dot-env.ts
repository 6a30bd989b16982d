/** The `.env` file beside package.json, for local runs: one rule for every command that reads configuration. */

import { readFileSync } from "node:fs";
import { parseEnv } from "node:util";

type Environment = Readonly<Record<string, string | undefined>>;

/** What the environment says wins over the file. A missing file is no fault; one that may not be read is. */
export function withDotEnv(env: Environment): Environment {
  try {
    return { ...parseEnv(readFileSync(new URL("../.env", import.meta.url), "utf8")), ...env };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return env;
    throw error;
  }
}
