/** A hardened container against the emulator: ready, a call, a rotation that the next call depends on, a graceful end. */

import { createHash } from "node:crypto";
import { chmodSync, chownSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Emulator } from "../../emulator/emulator.ts";
import { startEmulator } from "../../emulator/emulator.ts";
import { freePort } from "../../support/free-port.ts";
import type { Container, Engine } from "./engine.ts";

const USER_ID = 10001;
/** Where the workload identity webhook mounts the token, and where the test mounts its own directory. */
const MOUNT = "/var/run/secrets/azure/wi";
const START_LIMIT_MS = 30_000;
const STOP_LIMIT_MS = 20_000;
const HOUR_MS = 3_600_000;

export interface Rehearsal {
  readonly engine: Engine;
  readonly image: string;
  /** For the emulator's files; may be kept, nothing is removed from it. */
  readonly directory: string;
  readonly memoryMib: number;
  /** Looks at the container while it serves. */
  readonly inspect: (container: Container) => void;
  readonly say: (line: string) => void;
}

/** @throws {Error} at the first step that is not as promised, with the container's log in the message. */
export async function rehearse({
  engine,
  image,
  directory,
  memoryMib,
  inspect,
  say,
}: Rehearsal): Promise<void> {
  const state = join(directory, "state");
  const emulator = await startEmulator({ stateDirectory: state });
  let container: Container | undefined;
  try {
    const volume = await mountToken(emulator, join(state, "projected"));
    const [port, adminPort] = [await freePort(), await freePort()];
    const environment = {
      GATEWAY_CONFIG: "config/demo.yaml",
      HOST: "127.0.0.1",
      PORT: String(port),
      ADMIN_PORT: String(adminPort),
      GRAPH_URL: emulator.graphUrl,
      NODE_EXTRA_CA_CERTS: `${MOUNT}/ca.pem`,
      AZURE_AUTHORITY_HOST: emulator.authorityHost,
      AZURE_TENANT_ID: emulator.tenantId,
      AZURE_CLIENT_ID: emulator.clientId,
      AZURE_FEDERATED_TOKEN_FILE: `${MOUNT}/projected/azure-identity-token`,
    };
    // The user is deliberately left to the image: it must not need to be told.
    container = engine.start(image, [
      "--read-only",
      "--cap-drop=ALL",
      "--security-opt=no-new-privileges",
      "--tmpfs=/tmp:size=64m",
      `--memory=${memoryMib}m`,
      "--network=host",
      `--volume=${state}:${MOUNT}:ro`,
      ...Object.entries(environment).map(([name, value]) => `--env=${name}=${value}`),
    ]);
    const url = `http://127.0.0.1:${port}`;

    await until(
      START_LIMIT_MS,
      "ready",
      async () => (await get(`http://127.0.0.1:${adminPort}/readyz`)) === 200,
    );
    say("ready: signing keys and the projected token are read");

    const first = await callAs(emulator, url, "ada");
    expectThat(first.status === 200 && first.name === "ada", `a user's call: ${JSON.stringify(first)}`);
    const firstToken = digest(volume.tokenFile);
    expectThat(seen(emulator).has(firstToken), "Entra was not shown the token of the volume");
    say("a user's call reached Graph, and the projected token was the client assertion");

    inspect(container);

    // From here on Entra takes the first token for an old one: without the rotation nothing can be exchanged.
    emulator.advanceClock(HOUR_MS + 10 * 60_000);
    const stale = await callAs(emulator, url, "grace");
    expectThat(stale.status === 503, `a call with an expired token: ${JSON.stringify(stale)}`);
    say("with an expired token a new user's call is refused, so the next step proves something");

    // Issued by the machine's clock, expiring by the emulator's.
    const seconds = Math.floor(Date.now() / 1000);
    await volume.rotate({ claims: { iat: seconds, nbf: seconds } });
    const secondToken = digest(volume.tokenFile);
    await until(STOP_LIMIT_MS, "a call after the rotation", async () => {
      return (await callAs(emulator, url, "grace")).status === 200;
    });
    expectThat(seen(emulator).has(secondToken), "Entra was not shown the token after the rotation");
    say("after the rotation the same call succeeds, with the new token");

    const hold = emulator.faults.inject({ endpoint: "graph", behaviour: { kind: "hold" } });
    const inFlight = callAs(emulator, url, "ada");
    await emulator.requests.until(({ pending }) => pending.graph === 1);
    container.signal("SIGTERM");
    hold.release();
    const last = await inFlight;
    expectThat(last.status === 200, `the request in flight at SIGTERM: ${JSON.stringify(last)}`);
    const code = container.wait(STOP_LIMIT_MS);
    expectThat(code === 0, `exit code ${code} after SIGTERM`);
    say("SIGTERM: the request in flight was served, exit code 0");
  } catch (error) {
    const log = container?.logs() ?? "the container did not start";
    throw new Error(`${error instanceof Error ? error.message : error}\n${log}`, { cause: error });
  } finally {
    container?.remove();
    await emulator.close();
  }
}

/** As the kubelet does it for a pod with an fsGroup: mode 0640, that group, and no right for others. */
async function mountToken(emulator: Emulator, directory: string) {
  mkdirSync(directory, { recursive: true });
  if (process.getuid?.() !== 0)
    return await emulator.kubernetes.mountServiceAccountToken({ directory, fileMode: 0o644 });
  chownSync(directory, 0, USER_ID);
  // What is made below inherits the group.
  chmodSync(directory, 0o2755);
  return await emulator.kubernetes.mountServiceAccountToken({ directory, fileMode: 0o640 });
}

async function callAs(
  emulator: Emulator,
  url: string,
  user: string,
): Promise<{ status: number; name?: string }> {
  const now = Math.floor(Date.now() / 1000);
  // By the machine's clock as well as the emulator's, which may be ahead.
  const token = emulator.mintUserToken({ user, claims: { iat: now, nbf: now } });
  const answer = await fetch(`${url}/graph/me`, {
    headers: { authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(STOP_LIMIT_MS),
  });
  const { userPrincipalName } = (await answer.json()) as { userPrincipalName?: string };
  return { status: answer.status, ...(userPrincipalName && { name: userPrincipalName.split("@")[0] ?? "" }) };
}

function seen({ requests }: Emulator): ReadonlySet<string | undefined> {
  return new Set(requests.token.filter(({ aadsts }) => aadsts === 0).map((one) => one.clientAssertionSha256));
}

function digest(file: string): string {
  return createHash("sha256").update(readFileSync(file)).digest("hex");
}

async function get(url: string): Promise<number> {
  const answer = await fetch(url, { signal: AbortSignal.timeout(2_000) }).catch(() => undefined);
  await answer?.body?.cancel();
  return answer?.status ?? 0;
}

async function until(limitMs: number, what: string, holds: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + limitMs;
  while (!(await holds())) {
    expectThat(performance.now() < end, `not ${what} within ${limitMs / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

function expectThat(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(otherwise);
}
