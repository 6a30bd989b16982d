/** The emulator on its own: `npm run emulator -- --help`. */

import { runEmulator } from "./command.ts";

await runEmulator(process.argv.slice(2));
