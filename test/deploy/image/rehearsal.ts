/**
 * A hardened container against the emulator and a Redis that is signed in to by Entra: ready, a call, no secret but the
 * projected token, a rotation that the next call depends on, new sealing keys, a graceful end.
 */

import { createHash, randomBytes } from "node:crypto";
import { chmodSync, chownSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Emulator } from "../../emulator/emulator.ts";
import { startEmulator } from "../../emulator/emulator.ts";
import { type EntraRedis, startEntraRedis } from "../../support/entra-redis.ts";
import { freePort } from "../../support/free-port.ts";
import { redisServerPath } from "../../support/redis-server.ts";
import type { Container, Engine } from "./engine.ts";
import { type Held, secretFaults } from "./rules.ts";

const USER_ID = 10001;
/** Where the workload identity webhook mounts the token. */
const TOKEN_MOUNT = "/var/run/secrets/azure/tokens";
const TOKEN_FILE = `${TOKEN_MOUNT}/azure-identity-token`;
/** Where the component redis-entra mounts the keys. */
const KEYS_MOUNT = "/var/run/secrets/obo-gateway-redis";
const KEYS_FILE = `${KEYS_MOUNT}/token-cache-keys`;
/** Of the emulator's certificates. */
const CA_FILE = "/var/run/secrets/ca.pem";
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
  const redis = redisServerPath === undefined ? undefined : await startEntraRedis();
  if (redis === undefined) {
    expectThat(process.env.CI !== "true", "no redis-server on PATH, and CI leaves nothing out");
    say("left out, for there is no redis-server on PATH: Redis by Entra");
  }
  redis?.grant(emulator.gatewayPrincipalId);
  let container: Container | undefined;
  try {
    const projected = join(directory, "projected");
    const volume = await mountToken(emulator, projected);
    const keys = join(directory, "keys");
    mkdirSync(keys);
    replaceKeys(keys);
    const [port, adminPort] = [await freePort(), await freePort()];
    const environment = {
      GATEWAY_CONFIG: "config/demo.yaml",
      HOST: "127.0.0.1",
      PORT: String(port),
      ADMIN_PORT: String(adminPort),
      GRAPH_URL: emulator.graphUrl,
      NODE_EXTRA_CA_CERTS: CA_FILE,
      AZURE_AUTHORITY_HOST: emulator.authorityHost,
      AZURE_TENANT_ID: emulator.tenantId,
      AZURE_CLIENT_ID: emulator.clientId,
      AZURE_FEDERATED_TOKEN_FILE: TOKEN_FILE,
      ...(redis !== undefined && {
        REDIS_URL: redis.url,
        REDIS_AUTH: "entra",
        TOKEN_CACHE_KEYS_FILE: KEYS_FILE,
      }),
    };
    // The user is deliberately left to the image: it must not need to be told.
    container = engine.start(image, [
      "--read-only",
      "--cap-drop=ALL",
      "--security-opt=no-new-privileges",
      "--tmpfs=/tmp:size=64m",
      `--memory=${memoryMib}m`,
      "--network=host",
      `--volume=${projected}:${TOKEN_MOUNT}:ro`,
      `--volume=${keys}:${KEYS_MOUNT}:ro`,
      `--volume=${emulator.files.caCertificate}:${CA_FILE}:ro`,
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
    const held = JSON.parse(container.run(HELD)) as Held;
    const faults = secretFaults(held, { token: TOKEN_FILE, keys: KEYS_FILE });
    expectThat(faults.length === 0, faults.join("\n"));
    say(
      `no secret in ${Object.keys(held.environment).length} variables and ${Object.keys(held.files).length} mounted files but the projected token, and the sealing keys as the vault's driver mounts them`,
    );
    if (redis !== undefined) await rehearseRedis({ redis, emulator, container, keys, url, say });

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
    await Promise.all([redis?.close(), emulator.close()]);
  }
}

/** Prints what `Held` names: the environment of the gateway's own process, and every file that is mounted for it. */
const HELD = `
  const { readdirSync, readFileSync, realpathSync } = require("node:fs");
  const environment = Object.fromEntries(
    readFileSync("/proc/1/environ", "utf8").split("\\0").filter(Boolean).map((one) => one.split(/=(.*)/s).slice(0, 2)),
  );
  const files = {};
  const read = (path) => { files[realpathSync(path)] = readFileSync(path, "utf8"); };
  for (const directory of ["${TOKEN_MOUNT}", "${KEYS_MOUNT}"])
    for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true }))
      if (entry.isFile()) read(\`\${entry.parentPath}/\${entry.name}\`);
  read("${CA_FILE}");
  process.stdout.write(JSON.stringify({ environment, files, token: realpathSync("${TOKEN_FILE}") }));
`;

/** A token is shared under a sign-in by Entra, before and after Redis was gone, and under new keys. */
async function rehearseRedis({
  redis,
  emulator,
  container,
  keys,
  url,
  say,
}: {
  readonly redis: EntraRedis;
  readonly emulator: Emulator;
  readonly container: Container;
  readonly keys: string;
  readonly url: string;
  readonly say: (line: string) => void;
}): Promise<void> {
  const shared = () => redis.server.inspect.keys("*:token");
  /** Each call is another token's, and so an exchange. */
  const sharesOneMore = async (user: string) => {
    const before = (await shared()).length;
    expectThat((await callAs(emulator, url, user)).status === 200, "a call beside Redis");
    for (let look = 0; look < 20; look += 1) {
      if ((await shared()).length > before) return true;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    return false;
  };
  await until(STOP_LIMIT_MS, "a token in Redis", () => sharesOneMore("ada"));
  const identities = new Set(redis.signIns.map(({ objectId, outcome }) => `${objectId} ${outcome}`));
  expectThat(
    identities.size === 1 && identities.has(`${emulator.gatewayPrincipalId} accepted`),
    `sign-ins to Redis: ${[...identities].join(", ")}`,
  );
  say(
    "Redis is signed in to with a token of Entra, as the gateway's service principal, and holds sealed tokens",
  );

  const before = redis.signIns.length;
  await redis.server.kill();
  expectThat((await callAs(emulator, url, "ada")).status === 200, "a call while Redis is gone");
  await redis.server.restart();
  await until(STOP_LIMIT_MS, "a token in Redis again", () => sharesOneMore("ada"));
  expectThat(redis.signIns.length > before, "Redis was not signed in to again");
  replaceKeys(keys);
  container.signal("SIGHUP");
  await until(STOP_LIMIT_MS, "under new keys", async () =>
    container.logs().includes("its first key seals from now on"),
  );
  expectThat(await sharesOneMore("ada"), "no token is shared under the new keys");
  say(
    "Redis gone and back: no call is refused, it is signed in to again; a swap of the key file changes keys",
  );
}

/** As a driver of secrets does it: a new file in the place of the one before. */
function replaceKeys(directory: string): void {
  const file = join(directory, "token-cache-keys");
  writeFileSync(`${file}.new`, randomBytes(32).toString("base64"), { mode: 0o644 });
  renameSync(`${file}.new`, file);
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
