/** A whole process notices a changed gateway.yaml: as a file, as the volume of a ConfigMap, and by SIGHUP. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import {
  type EmulatorProcess,
  environmentFor,
  type GatewayProcess,
  startEmulatorProcess,
  startGatewayProcess,
} from "../../support/processes.ts";

const LIMIT_MS = 60_000;
const TAKEN_OVER = "the changed configuration is taken over";
const REFUSED = "the changed configuration is refused; the one before serves on";

const yaml = (routes: string) => `
identity: { tenants: ["\${AZURE_TENANT_ID}"], audiences: ["\${AZURE_CLIENT_ID}"] }
downstreamApis:
  graph:
    baseUrl: "\${GRAPH_URL}"
    scopes: [https://graph.microsoft.com/.default]
    allowPrivateNetwork: true
routes:
${routes}`;
const route = (path: string) => `  - { path: ${path}, downstreamApi: graph, allow: ["/me"] }\n`;

let emulator: EmulatorProcess;
let gateway: GatewayProcess;
let directory: string;
let version = 0;

/** As the kubelet does it: a new directory, and the link `..data` exchanged in one step. */
async function publish(content: string): Promise<void> {
  version += 1;
  const data = `..version-${version}`;
  await mkdir(join(directory, data));
  await writeFile(join(directory, data, "gateway.yaml"), content);
  await symlink(data, join(directory, "..data_tmp"));
  await rename(join(directory, "..data_tmp"), join(directory, "..data"));
}

const file = () => join(directory, "gateway.yaml");
const statusOf = async (path: string) => (await fetch(gateway.url + path)).status;

beforeAll(async () => {
  [emulator, directory] = await Promise.all([startEmulatorProcess(), mkdtemp(join(tmpdir(), "config-map-"))]);
  await publish(yaml(route("/one")));
  await symlink("..data/gateway.yaml", file());
  gateway = await startGatewayProcess(emulator.facts, {
    credential: "certificate",
    env: { GATEWAY_CONFIG: file() },
  });
}, LIMIT_MS);
afterAll(async () => {
  await gateway.stop();
  await emulator.stop();
  await rm(directory, { recursive: true });
}, LIMIT_MS);

test(
  "the exchanged link of a ConfigMap, a file written anew, and a file at fault",
  async () => {
    expect([await statusOf("/one"), await statusOf("/two")]).toEqual([401, 404]);
    await publish(yaml(route("/one") + route("/two")));
    expect(await gateway.logged(TAKEN_OVER)).toMatchObject({ generation: 2, changed: ["routes"] });
    expect([await statusOf("/one"), await statusOf("/two")]).toEqual([401, 401]);

    await publish(yaml(route("/one").replace("graph", "grpah") + route("two")));
    const refused = await gateway.logged(REFUSED);
    expect({ faults: refused.faults, code: 2 }).toEqual(await check());
    expect(refused.faults).toHaveLength(2);
    expect((await fetch(`${gateway.adminUrl}/readyz`)).status).toBe(200);
    expect([await statusOf("/one"), await statusOf("/two")]).toEqual([401, 401]);
  },
  LIMIT_MS,
);

test(
  "SIGHUP reads the configuration too",
  async () => {
    await publish(yaml(route("/one") + route("/two")));
    gateway.signal("SIGHUP");
    expect(await gateway.logged("reloaded")).toMatchObject({ signal: "SIGHUP" });
    expect(await gateway.logged("the configuration was read again and serves as before")).toMatchObject({
      generation: 2,
    });
  },
  LIMIT_MS,
);

/** What `obo-gateway check` says of the same file. */
async function check(): Promise<{ readonly faults: readonly string[]; readonly code: number | null }> {
  const child = spawn(process.execPath, ["--import", "tsx", "src/cli/main.ts", "check", "--config", file()], {
    env: { ...process.env, ...environmentFor(emulator.facts, "certificate") },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let printed = "";
  child.stderr.on("data", (chunk) => {
    printed += chunk;
  });
  const [code] = await once(child, "close");
  return { faults: printed.trimEnd().split("\n"), code };
}
