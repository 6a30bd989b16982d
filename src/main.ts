/** Process edge of the image: the gateway of the configuration, with the handlers that the environment names. */

import { runGateway } from "./run.ts";

await runGateway();
