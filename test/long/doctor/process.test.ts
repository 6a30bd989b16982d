/** The doctor as a command: exit codes, text and JSON. */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import {
  type EmulatorProcess,
  environmentFor,
  runDoctor,
  startEmulatorProcess,
} from "../../support/processes.ts";

const LIMIT_MS = 60_000;

let emulator: EmulatorProcess;
let directory: string;
beforeAll(async () => {
  [emulator, directory] = await Promise.all([startEmulatorProcess(), mkdtemp(join(tmpdir(), "doctor-"))]);
}, LIMIT_MS);
afterAll(async () => {
  await emulator.stop();
  await rm(directory, { recursive: true });
});

const healthy = () => ({
  ...environmentFor(emulator.facts, "workload-identity"),
  GATEWAY_CONFIG: "config/demo.yaml",
  PORT: "0",
  ADMIN_PORT: "0",
});

async function tokenFile(): Promise<string> {
  const response = await fetch(`${emulator.facts.controlUrl}/tokens`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ user: "ada", capabilities: ["cp1"] }),
  });
  const path = join(directory, "user-token");
  await writeFile(path, `Bearer ${((await response.json()) as { token: string }).token}\n`);
  return path;
}

test(
  "exits 0 when the gateway would work, with a line for each check",
  async () => {
    const { code, stdout, stderr } = await runDoctor(healthy(), ["--token-file", await tokenFile()]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^ok {6} token-request \(workload-identity\): Entra accepts the gateway/m);
    expect(stdout).toMatch(/^ok {6} exchange \(graph\): Entra exchanges the user's token$/m);
    expect(stdout).toMatch(/^The gateway would work: 0 faults/m);
    expect(stdout).not.toMatch(/eyJ/);
  },
  LIMIT_MS,
);

test(
  "exits 1 when a fault was found, with the command that corrects it",
  async () => {
    const { code, stdout } = await runDoctor(healthy(), ["--expect-audience", "api://azureadtokenexchange"]);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^fault {4}federated-token: .*they differ in letter case only/m);
    expect(stdout).toMatch(/^ +\$ az ad app federated-credential list --id [0-9a-f-]{36}/m);
    expect(stdout).toMatch(/^The gateway would not work: 1 fault,/m);
  },
  LIMIT_MS,
);

test.each(["--config", "-c"])(
  "%s names the file in the place of GATEWAY_CONFIG, as it does for every other subcommand",
  async (option) => {
    const [read, missing] = await Promise.all([
      runDoctor({ ...healthy(), GATEWAY_CONFIG: "/nowhere/a.yaml" }, [option, "config/demo.yaml", "--json"]),
      runDoctor(healthy(), [option, "/nowhere/b.yaml"]),
    ]);
    expect(JSON.parse(read.stdout)).toMatchObject({ configured: true, works: true });
    expect(missing.code).toBe(2);
    expect(missing.stdout).toContain("cannot read /nowhere/b.yaml");
    expect(missing.stdout).toContain("docs/configuration.md says what it means");
  },
  LIMIT_MS,
);

test(
  "exits 2 when there is no configuration to go by, and prints one JSON document where it was asked to",
  async () => {
    const { code, stdout } = await runDoctor({ ...healthy(), AZURE_TENANT_ID: "contoso" }, ["--json"]);
    expect(code).toBe(2);
    expect(JSON.parse(stdout)).toMatchObject({
      works: false,
      configured: false,
      verdicts: expect.arrayContaining([
        expect.objectContaining({
          check: "configuration",
          outcome: "fault",
          finding: expect.stringMatching(/^AZURE_TENANT_ID: must be a GUID/),
        }),
      ]),
    });
  },
  LIMIT_MS,
);

test.each([
  ["an unknown option", ["--tokenfile", "x"], /Unknown option '--tokenfile'/],
  ["a check that does not exist", ["--skip", "prots"], /no check is named prots; there are .*ports/],
  ["a token file that does not exist", ["--token-file", "/nowhere/token"], /no such file/],
])(
  "exits 2 and shows its usage for %s",
  async (_, args, message) => {
    const { code, stdout, stderr } = await runDoctor({}, args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(message);
    expect(stderr).toContain("npm run doctor -- [options]");
  },
  LIMIT_MS,
);
