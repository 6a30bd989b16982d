/** Runs before all tests: a directory outside of the repository for the RSA keys that they share. */

import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RSA_KEYS_DIRECTORY } from "../../emulator/rsa-keys.ts";

export default function begin(): void {
  process.env[RSA_KEYS_DIRECTORY] = mkdtempSync(join(tmpdir(), "gateway-test-keys-"));
}
