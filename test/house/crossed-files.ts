/**
 * Counts the files of src whose code runs for one request, by V8's own coverage: `npx tsx test/house/crossed-files.ts`
 * prints them for a cache hit and for a miss. A newcomer who follows a request reads these.
 */

import { Agent } from "node:http";
import { Session } from "node:inspector/promises";
import { fileURLToPath } from "node:url";
import { startEmulator } from "../emulator/emulator.ts";
import { startTestGateway } from "../support/gateway.ts";

const source = fileURLToPath(new URL("../../src/", import.meta.url));

/** Functions of src that ran while `work` did, as `file:offset`, files relative to src. */
async function functionsRunBy(session: Session, work: () => Promise<void>): Promise<string[]> {
  // What ran before is forgotten by taking it.
  await session.post("Profiler.takePreciseCoverage");
  await work();
  const { result } = await session.post("Profiler.takePreciseCoverage");
  return result
    .filter(({ url }) => url.startsWith("file:") && fileURLToPath(url).startsWith(source))
    .flatMap(({ url, functions }) =>
      functions
        // A module's body is a function that begins where the file does: loading is not crossing. Arrow functions
        // without a name count.
        .filter(({ ranges: [range] }) => range !== undefined && range.startOffset > 0 && range.count > 0)
        .map(({ ranges: [range] }) => `${fileURLToPath(url).slice(source.length)}:${range?.startOffset}`),
    );
}

const emulator = await startEmulator();
const gateway = await startTestGateway({ emulator });
const session = new Session();
session.connect();
await session.post("Profiler.enable");
await session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: false });

// Callers keep their connections; what opens and closes one is no part of a request.
const agent = new Agent({ keepAlive: true, maxSockets: 1 });
const call = async (token: string) => {
  await gateway.get("/graph/me", token).agent(agent).expect(200);
  // The log line and the metrics of the request follow its answer.
  await new Promise((resolve) => setTimeout(resolve, 50));
};
// Timers are no part of a request.
const timers = new Set(
  await functionsRunBy(session, () => new Promise((resolve) => setTimeout(resolve, 2_000))),
);
// Loads what is loaded lazily, opens connections, and lets everything be called once.
await call(emulator.mintUserToken({ user: emulator.addUser() }));
const token = emulator.mintUserToken({ user: emulator.addUser() });
for (const [title, work] of [
  ["miss", () => call(token)],
  ["hit", () => call(token)],
] as const) {
  const functions = (await functionsRunBy(session, work)).filter((name) => !timers.has(name));
  const files = [...new Set(functions.map((name) => name.replace(/:\d+$/, "")))].sort();
  console.log(`${title}: ${files.length} files\n  ${files.join("\n  ")}\n`);
}
session.disconnect();
agent.destroy();
await gateway.stop();
await emulator.close();
