/** `npm run demo`: emulator and gateway as two processes, a tour of real calls, then up until Ctrl-C. */

import { parseArgs } from "node:util";
import { type CredentialChoice, startEmulatorProcess, startGatewayProcess } from "../support/processes.ts";
import { createTour } from "./tour.ts";

const USAGE = "npm run demo -- [--once] [--credential certificate|workload-identity]";

const { once, credential } = readArguments();

/** In the order in which they are to be stopped. */
const running: { stop(): Promise<void> }[] = [];
let stopping = false;
let toured = false;
// From the beginning: the two processes are in groups of their own, so Ctrl-C reaches neither of them.
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => void stop(toured ? 0 : 1));

const emulator = await startEmulatorProcess();
running.unshift(emulator);
const gateway = await startGatewayProcess(emulator.facts, { credential, entry: ["dist/main.js"] }).catch(
  async (error: unknown) => {
    await emulator.stop();
    throw error;
  },
);
running.unshift(gateway);

const { facts } = emulator;
console.log(`
obo-gateway demo, proving itself with: ${credential}

  Entra     ${facts.authorityHost}
  Graph     ${facts.graphUrl}
  gateway   ${gateway.url}, ready ${gateway.readyAfterMs.toFixed(0)} ms after its process began
`);

let failures = 0;
for (const [index, step] of createTour(facts, gateway, credential).entries()) {
  const began = performance.now();
  try {
    const seen = await step.run();
    console.log(
      `  ✓ ${index + 1}. ${step.title} (${(performance.now() - began).toFixed(0)} ms)\n       ${seen}`,
    );
  } catch (error) {
    if (stopping) break;
    failures++;
    console.log(`  ✗ ${index + 1}. ${step.title}\n       ${error instanceof Error ? error.message : error}`);
  }
}
if (!stopping) {
  console.log(failures === 0 ? "\nEverything is as promised." : `\n${failures} step(s) not as promised.`);
  toured = true;
  if (once) {
    await stop(failures === 0 ? 0 : 1);
  } else {
    console.log(`
Stays up until Ctrl-C. Try, in another terminal:

  TOKEN=$(curl -s -X POST ${facts.controlUrl}/tokens | sed 's/.*:"//; s/".*//')
  curl -i -H "Authorization: Bearer $TOKEN" ${gateway.url}/graph/me

  metrics   ${gateway.adminUrl}/metrics
  ready?    ${gateway.adminUrl}/readyz
`);
  }
}

async function stop(exitCode: number): Promise<void> {
  if (stopping) return;
  stopping = true;
  for (const child of running) await child.stop();
  process.exit(exitCode);
}

function readArguments(): { once: boolean; credential: CredentialChoice } {
  const { values } = parseArgs({
    options: {
      once: { type: "boolean", default: false },
      credential: { type: "string", default: "workload-identity" },
    },
  });
  const { once: ends, credential: chosen } = values;
  if (chosen === "workload-identity" || chosen === "certificate") return { once: ends, credential: chosen };
  console.error(USAGE);
  process.exit(2);
}
