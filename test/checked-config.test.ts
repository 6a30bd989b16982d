/** One start shows every fault of the file, the environment and the credential. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { loadCheckedConfig } from "../src/checked-config.ts";
import { ConfigurationError } from "../src/errors.ts";
import { startGateway } from "../src/start.ts";

const FILE = `
identity: { tenants: ["*"], audiences: [a] }
downstreamApis:
  graph: { baseUrl: "https://graph.microsoft.com/v1.0", scopes: [https://graph.microsoft.com/.default] }
routes:
  - { path: /graph, downstreamApi: graph, allow: ["/me"] }
`;
const BAD_FILE = FILE.replace("audiences", "audience");
const NO_TENANT = { AZURE_TENANT_ID: "contoso" };

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "checked-config-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

const place = (name: string, content: string) => {
  const path = join(directory, name);
  writeFileSync(path, content, { mode: 0o600 });
  return path;
};

const variables = (yaml: string, env: Record<string, string>) => ({
  GATEWAY_CONFIG: place("gateway.yaml", yaml),
  AZURE_TENANT_ID: "11111111-1111-4111-8111-111111111111",
  AZURE_CLIENT_ID: "22222222-2222-4222-8222-222222222222",
  PORT: "0",
  ADMIN_PORT: "0",
  ...env,
});

/** Settings at fault, each once. */
async function faulty(yaml: string, env: Record<string, string>): Promise<string[]> {
  try {
    await loadCheckedConfig(variables(yaml, env));
    return [];
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    return error.faults.map(({ path }) => path.replace(directory, "")).sort();
  }
}

describe("beside faults of the file and the environment stands", () => {
  const both = ["AZURE_TENANT_ID", "identity.audience", "identity.audiences"];
  test.each<[name: string, env: Record<string, string>, found: string]>([
    [
      "a token file that does not exist",
      { AZURE_FEDERATED_TOKEN_FILE: "/nowhere" },
      "AZURE_FEDERATED_TOKEN_FILE",
    ],
    [
      "a certificate that does not exist",
      { AZURE_CLIENT_CERTIFICATE_PATH: "/nowhere" },
      "AZURE_CLIENT_CERTIFICATE_PATH",
    ],
    [
      "a certificate in a variable that is none",
      { AZURE_CLIENT_CERTIFICATE: "none" },
      "AZURE_CLIENT_CERTIFICATE",
    ],
    ["the lack of any credential", {}, "credential.sources"],
  ])("%s", async (_, env, found) => {
    expect(await faulty(BAD_FILE, { ...NO_TENANT, ...env })).toEqual([...both, found].sort());
  });

  test("a token file that is empty, and a certificate that cannot be parsed, both", async () => {
    const env = {
      ...NO_TENANT,
      AZURE_FEDERATED_TOKEN_FILE: place("token", ""),
      AZURE_CLIENT_CERTIFICATE_PATH: place("certificate.pem", "no certificate"),
    };
    expect(await faulty(FILE, env)).toEqual([
      "AZURE_CLIENT_CERTIFICATE_PATH",
      "AZURE_FEDERATED_TOKEN_FILE",
      "AZURE_TENANT_ID",
    ]);
  });

  test("a named source without its settings", async () => {
    const yaml = `${FILE}credential: { sources: [certificate] }\n`;
    expect(await faulty(yaml, NO_TENANT)).toEqual(["AZURE_TENANT_ID", "credential.sources[0]"]);
  });
});

describe("no fault of the credential is made up", () => {
  test("where its settings are right, files included", async () => {
    expect(await faulty(FILE, { ...NO_TENANT, AZURE_CLIENT_SECRET: "s" })).toEqual(["AZURE_TENANT_ID"]);
  });

  test("for a source that is asked over the network", async () => {
    const identity = "credential: { managedIdentityClientId: 33333333-3333-4333-8333-333333333333 }\n";
    expect(await faulty(FILE + identity, NO_TENANT)).toEqual(["AZURE_TENANT_ID"]);
  });

  test("for a source that the file does not choose", async () => {
    const yaml = `${FILE}credential: { sources: [client-secret] }\n`;
    const env = { ...NO_TENANT, AZURE_CLIENT_SECRET: "s", AZURE_FEDERATED_TOKEN_FILE: "/nowhere" };
    expect(await faulty(yaml, env)).toEqual(["AZURE_TENANT_ID"]);
  });

  test.each([
    ["cannot be parsed", "identity: ["],
    ["has a faulty part credential", `${FILE}credential: { sources: [certficate] }\n`],
  ])("of the lack of sources, where the file %s", async (_, yaml) => {
    const found = await faulty(yaml, {});
    expect(found).toHaveLength(1);
    expect(found).not.toContain("credential.sources");
  });

  test("but files that the environment names are looked at then, too", async () => {
    expect(await faulty("identity: [", { AZURE_FEDERATED_TOKEN_FILE: "/nowhere" })).toContain(
      "AZURE_FEDERATED_TOKEN_FILE",
    );
  });
});

test("a valid configuration is the loaded one, and its credential is opened by the start alone", async () => {
  const config = await loadCheckedConfig(variables(FILE, { AZURE_FEDERATED_TOKEN_FILE: "/nowhere" }));
  expect(config.credential.federatedTokenFile).toBe("/nowhere");
});

test("a handler that does not exist and a credential that cannot be opened are reported together", async () => {
  const yaml = `${FILE}  - { path: /x, handler: profil }\n`;
  const config = await loadCheckedConfig(variables(yaml, { AZURE_FEDERATED_TOKEN_FILE: "/nowhere" }));
  const error = await startGateway(config).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(ConfigurationError);
  expect((error as ConfigurationError).faults.map(({ path }) => path)).toEqual([
    "routes[1].handler",
    "AZURE_FEDERATED_TOKEN_FILE",
  ]);
});
