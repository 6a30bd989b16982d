/** What only a whole process can show: exit codes, and the loss of the authority. */

import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { generateRsaPairSync } from "../../emulator/rsa-keys.ts";
import {
  type EmulatorProcess,
  environmentFor,
  runGateway,
  startEmulatorProcess,
  startGatewayProcess,
} from "../../support/processes.ts";

const LIMIT_MS = 60_000;

let emulator: EmulatorProcess;
let directory: string;
beforeAll(async () => {
  [emulator, directory] = await Promise.all([startEmulatorProcess(), mkdtemp(join(tmpdir(), "process-"))]);
}, LIMIT_MS);
afterAll(async () => {
  await emulator.stop();
  await rm(directory, { recursive: true });
});

async function mint(options: object = {}, { facts } = emulator): Promise<string> {
  const response = await fetch(`${facts.controlUrl}/tokens`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(options),
  });
  return ((await response.json()) as { token: string }).token;
}

async function file(name: string, content: string): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, content, { mode: 0o600 });
  return path;
}

describe("a gateway that cannot work says so and ends with code 2", () => {
  const key = generateRsaPairSync().privateKey;
  const { format, type } = { format: "pem", type: "pkcs8" } as const;
  const plainKey = () => key.export({ format, type }).toString();
  const encryptedKey = () =>
    key.export({ format, type, cipher: "aes-256-cbc", passphrase: "right" }).toString();

  /** An environment that would work, but for the changes. */
  function base(changes: Record<string, string>): Record<string, string> {
    const { AZURE_FEDERATED_TOKEN_FILE: _, ...rest } = environmentFor(emulator.facts, "workload-identity");
    return { ...rest, GATEWAY_CONFIG: "config/demo.yaml", PORT: "0", ADMIN_PORT: "0", ...changes };
  }

  test.each<[string, () => Promise<Record<string, string>>, RegExp]>([
    [
      "an environment without tenant and client",
      async () => ({ AZURE_TENANT_ID: "", AZURE_CLIENT_ID: "" }),
      /AZURE_TENANT_ID: is not set/,
    ],
    ["no credential at all", async () => ({}), /no credential is configured; set AZURE_FEDERATED_TOKEN_FILE/],
    [
      "a token file that does not exist",
      async () => ({ AZURE_FEDERATED_TOKEN_FILE: join(directory, "nowhere") }),
      /AZURE_FEDERATED_TOKEN_FILE: .*nowhere/,
    ],
    [
      "a token file that is empty",
      async () => ({ AZURE_FEDERATED_TOKEN_FILE: await file("empty", "") }),
      /AZURE_FEDERATED_TOKEN_FILE: .*empty/,
    ],
    [
      "a certificate without its key",
      async () => {
        const pem = await readFile(emulator.facts.clientCertificateFile, "utf8");
        return {
          AZURE_CLIENT_CERTIFICATE_PATH: await file(
            "no-key.pem",
            pem.replace(/-----BEGIN PRIVATE KEY-----.*?-----END PRIVATE KEY-----/s, ""),
          ),
        };
      },
      /AZURE_CLIENT_CERTIFICATE_PATH: .*key/,
    ],
    [
      "a key without a certificate",
      async () => ({ AZURE_CLIENT_CERTIFICATE_PATH: await file("no-cert.pem", plainKey()) }),
      /AZURE_CLIENT_CERTIFICATE_PATH: .*certificate/,
    ],
    [
      "a wrong password",
      async () => ({
        AZURE_CLIENT_CERTIFICATE_PATH: await file("encrypted.pem", encryptedKey()),
        AZURE_CLIENT_CERTIFICATE_PASSWORD: "wrong-password",
      }),
      /AZURE_CLIENT_CERTIFICATE_PASSWORD/,
    ],
    [
      "a misspelt key in the file",
      async () => ({
        AZURE_CLIENT_SECRET: "s",
        GATEWAY_CONFIG: await file("misspelt.yaml", 'identity:\n  verifer: jose\n  tenants: ["*"]\n'),
      }),
      /identity\.verifer: unknown key; did you mean "verifier"\?/,
    ],
  ])(
    "%s",
    async (_, changes, message) => {
      const { code, stdout, stderr } = await runGateway(base(await changes()));
      expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(message) });
      expect(stderr).not.toMatch(/^\s+at /m);
      expect(stdout + stderr).not.toMatch(/wrong-password|PRIVATE KEY/);
      expect(stdout).not.toContain("listening");
    },
    LIMIT_MS,
  );

  test.each(["PORT", "ADMIN_PORT"])(
    "%s in use, with nothing half-started",
    async (setting) => {
      const taken = createServer().listen(0, "127.0.0.1");
      await once(taken, "listening");
      const { port } = taken.address() as AddressInfo;
      const { code, stdout, stderr } = await runGateway(
        base({ AZURE_CLIENT_SECRET: "s", [setting]: String(port) }),
      );
      expect(code).toBe(2);
      expect(stderr).toContain(`${setting}: port ${port} on 127.0.0.1 is in use`);
      expect(stdout).not.toContain("listening");
      taken.close();
    },
    LIMIT_MS,
  );
});

test(
  "when the authority is killed, users with a cached token are served on and others get a 503 with a problem body",
  async () => {
    const doomed = await startEmulatorProcess();
    // An API that outlives the authority; what it is sent does not matter here.
    const api = createHttpServer((_request, response) => response.end("{}")).listen(0, "127.0.0.1");
    await once(api, "listening");
    const gateway = await startGatewayProcess(doomed.facts, {
      credential: "certificate",
      env: { GRAPH_URL: `http://127.0.0.1:${(api.address() as AddressInfo).port}` },
    });
    try {
      const [known, unknown] = await Promise.all([
        mint({ user: "ada" }, doomed),
        mint({ user: "grace" }, doomed),
      ]);
      const get = (token: string) =>
        fetch(`${gateway.url}/graph/me`, { headers: { authorization: `Bearer ${token}` } });
      expect((await get(known)).status).toBe(200);
      await doomed.kill();

      for (let repeat = 0; repeat < 20; repeat++) expect((await get(known)).status).toBe(200);
      const refused = await get(unknown);
      expect(refused.status).toBe(503);
      // Below a route to Graph, in the form that Graph's SDKs read.
      expect(refused.headers.get("content-type")).toBe("application/problem+json");
      expect(await refused.json()).toMatchObject({ code: "authority_unavailable", status: 503 });
      expect((await get(known)).status).toBe(200);
    } finally {
      api.close();
      await gateway.stop();
      await doomed.kill();
      // Killed, it could not tidy up after itself.
      await rm(dirname(doomed.facts.caFile), { recursive: true });
    }
  },
  LIMIT_MS,
);
