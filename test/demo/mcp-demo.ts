/** `npm run demo -- --mcp`: emulator, a real MCP server and the gateway between them, a tour, then up until Ctrl-C. */

import { fileURLToPath } from "node:url";
import { PERMISSION_TABLE } from "../emulator/graph/permissions.ts";
import { startEverythingServer } from "../support/everything-server.ts";
import { freePort } from "../support/free-port.ts";
import { type CredentialChoice, startEmulatorProcess, startGatewayProcess } from "../support/processes.ts";
import { createMcpTour } from "./mcp-tour.ts";
import { runSteps } from "./run-steps.ts";
import { controlOf } from "./tour.ts";

/** Never resolves where the demo stays up: a signal ends the process. */
export async function runMcpDemo(options: {
  readonly once: boolean;
  readonly credential: CredentialChoice;
}): Promise<never> {
  const running: { stop(): Promise<void> }[] = [];
  let isStopping = false;
  let toured = false;
  const stop = async (exitCode: number): Promise<never> => {
    isStopping = true;
    for (const one of running) await one.stop();
    process.exit(exitCode);
  };
  for (const signal of ["SIGINT", "SIGTERM"])
    process.on(signal, () => {
      if (!isStopping) void stop(toured ? 0 : 1);
    });

  const [emulator, everything, port] = await Promise.all([
    startEmulatorProcess(),
    startEverythingServer(),
    freePort(),
  ]);
  running.unshift(everything, emulator);
  const { facts } = emulator;
  const publicUrl = `http://127.0.0.1:${port}`;
  const gateway = await startGatewayProcess(facts, {
    credential: options.credential,
    entry: ["dist/main.js"],
    env: {
      GATEWAY_CONFIG: fileURLToPath(new URL("mcp.yaml", import.meta.url)),
      PORT: String(port),
      PUBLIC_URL: publicUrl,
      EVERYTHING_URL: everything.url,
      MCP_CLIENT_ID: facts.publicClientId,
      ORDERS_CLIENT_ID: facts.ordersClientId,
      PERMISSIONS_TABLE: fileURLToPath(PERMISSION_TABLE),
    },
  }).catch(async (error: unknown) => {
    console.error(error);
    return stop(1);
  });
  running.unshift(gateway);
  console.log(`
obo-gateway demo of MCP, proving itself with: ${options.credential}
`);
  const tour = createMcpTour(facts, gateway, controlOf(facts.controlUrl));
  const failures = await runSteps(tour.steps, () => isStopping);
  await tour.close();
  toured = true;
  if (options.once || failures > 0) return stop(failures === 0 ? 0 : 1);
  console.log(`
MCP servers, for a client of your own (its browser has to accept the emulator's certificate):
  ${publicUrl}/mcp/everything
  ${publicUrl}/mcp/graph

Stays up until Ctrl-C.
`);
  return new Promise<never>(() => {});
}
