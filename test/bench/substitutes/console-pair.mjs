/**
 * Two gateways in one process, which differ in the console alone: they share compiled code, heap and luck, so that a
 * difference of a hundredth is theirs. Two processes of the very same build differ by more than that.
 */

import { loadConfig, startGateway } from "../../../dist/index.js";

const gateways = [];
for (const enabled of ["false", "true"])
  gateways.push(await startGateway(await loadConfig({ ...process.env, CONSOLE: enabled })));

process.on("message", (message) => {
  if (message === "ports") process.send(gateways.map(({ port, adminPort }) => ({ port, adminPort })));
});
process.on("SIGTERM", () => {
  Promise.all(gateways.map((gateway) => gateway.stop())).then(() => process.exit(0));
});
