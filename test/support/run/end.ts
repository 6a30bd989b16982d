/** Runs after all tests: no key outlives the run that made it. */

import { rmSync } from "node:fs";
import { RSA_KEYS_DIRECTORY } from "../../emulator/rsa-keys.ts";

export default function end(): void {
  const directory = process.env[RSA_KEYS_DIRECTORY];
  if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
}
