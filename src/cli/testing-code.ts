/** The emulator's code, which the package holds beside the gateway's; the image and a build of the sources alone lack it. */

import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { ConfigurationError } from "../errors.ts";

interface EmulatorCommand {
  runEmulator(args: readonly string[]): Promise<void>;
}

const PLACE = new URL("../testing/emulator/command.js", import.meta.url);

/** @throws {ConfigurationError} where the code is not part of the installation. */
export async function loadEmulator(): Promise<EmulatorCommand> {
  if (!existsSync(fileURLToPath(PLACE)))
    throw new ConfigurationError([
      {
        path: "emulator",
        problem:
          "is not part of this build; install the npm package, or run npm run build:testing in a clone",
      },
    ]);
  return import(PLACE.href);
}
