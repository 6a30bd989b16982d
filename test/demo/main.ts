/** `npm run demo`: emulator and gateway as two processes, a tour of real calls, then up until Ctrl-C. */

import { parseArgs } from "node:util";
import { type CredentialChoice, startEmulatorProcess, startGatewayProcess } from "../support/processes.ts";
import { runMcpDemo } from "./mcp-demo.ts";
import { createPageTour } from "./page-tour.ts";
import { runSteps } from "./run-steps.ts";
import { type DemoSite, startDemoSite } from "./site.ts";
import { controlOf, createTour } from "./tour.ts";

const USAGE = `npm run demo -- [options]

  --once               end after the tour, with exit code 1 when a step failed
  --mcp                an agent that calls tools, in place of the page
  --credential KIND    certificate or workload-identity: how the gateway proves itself (default workload-identity)
`;

const PAGE_PORT = 3000;

const { once, credential, mcp } = readArguments();
if (mcp) await runMcpDemo({ once, credential });

/** In the order in which they are to be stopped. */
const running: { stop(): Promise<void> }[] = [];
let stopping = false;
let toured = false;
// From the beginning: the two processes are in groups of their own, so Ctrl-C reaches neither of them.
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => void stop(toured ? 0 : 1));

const emulator = await startEmulatorProcess();
running.unshift(emulator);
const { facts } = emulator;
const site = await startSite();
running.push(site);
const gateway = await startGatewayProcess(facts, {
  credential,
  entry: ["dist/main.js"],
  env: { PAGE_ORIGIN: site.url },
}).catch(async (error: unknown) => {
  await stopAll();
  throw error;
});
running.unshift(gateway);
site.serve({ url: gateway.url, adminUrl: gateway.adminUrl });
console.log(`
obo-gateway demo, proving itself with: ${credential}; ready ${gateway.readyAfterMs.toFixed(0)} ms after its process began
`);

const steps = [...createTour(facts, gateway, credential), ...(await createPageTour(site, gateway))];
const failures = await runSteps(steps, () => stopping);
if (!stopping) {
  toured = true;
  if (once) {
    await stop(failures === 0 ? 0 : 1);
  } else {
    console.log(`
Open in a browser: ${site.url}

Stays up until Ctrl-C.
`);
  }
}

/** The same address each time, where it can be had. */
async function startSite(): Promise<DemoSite> {
  const control = controlOf(facts.controlUrl);
  try {
    return await startDemoSite(facts, control, PAGE_PORT);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
    return await startDemoSite(facts, control);
  }
}

async function stopAll(): Promise<void> {
  for (const child of running) await child.stop();
}

async function stop(exitCode: number): Promise<void> {
  if (stopping) return;
  stopping = true;
  await stopAll();
  process.exit(exitCode);
}

function readArguments(): { once: boolean; credential: CredentialChoice; mcp: boolean } {
  const read = parsed();
  if (read?.help) {
    console.log(USAGE);
    process.exit(0);
  }
  if (read?.credential === "workload-identity" || read?.credential === "certificate")
    return { once: read.once, credential: read.credential, mcp: read.mcp };
  console.error(USAGE);
  process.exit(2);
}

/** Undefined where an option is unknown or lacks its value; the message is on standard error by then. */
function parsed() {
  try {
    return parseArgs({
      options: {
        once: { type: "boolean", default: false },
        mcp: { type: "boolean", default: false },
        credential: { type: "string", default: "workload-identity" },
        help: { type: "boolean", short: "h", default: false },
      },
    }).values;
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    return undefined;
  }
}
