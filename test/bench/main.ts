/** Runs the scenarios named on the command line, or all of them: npm run bench -- identity */

import { benchDownstream } from "./downstream.ts";
import { benchExchange } from "./exchange.ts";
import { benchHotPath } from "./hot-path.ts";
import { benchHttp2 } from "./http2.ts";
import { benchIdentity } from "./identity.ts";

/** Each prints its own table and resolves to whether its limits were kept. */
const SCENARIOS: Readonly<Record<string, () => Promise<boolean>>> = {
  identity: benchIdentity,
  exchange: benchExchange,
  "hot-path": benchHotPath,
  downstream: benchDownstream,
  http2: benchHttp2,
};

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !Object.hasOwn(SCENARIOS, name));
if (unknown.length > 0) {
  console.error(`no scenario named ${unknown.join(", ")}; there are: ${Object.keys(SCENARIOS).join(", ")}`);
  process.exit(2);
}
for (const [name, run] of Object.entries(SCENARIOS)) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  if (!(await run())) process.exitCode = 1;
}
