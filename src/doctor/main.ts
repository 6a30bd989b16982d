/** Process edge of the doctor in the image, where no npm and no command on PATH exists. */

import { runDoctor } from "./command.ts";

await runDoctor(process.argv.slice(2));
