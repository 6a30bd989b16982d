/** Every way of proving the gateway, from its settings in the environment to an answer of Graph. */

import { X509Certificate } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import type { Fetch } from "../../src/foundation/bounded-fetch.ts";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import {
  startTestGateway,
  TEST_YAML,
  type TestGateway,
  type TestGatewayOptions,
} from "../support/gateway.ts";
import { until } from "../support/until.ts";

let emulator: Emulator;
let gateway: TestGateway | undefined;
beforeAll(async () => {
  emulator = await startEmulator();
});
afterAll(() => emulator.close());
beforeEach(() => emulator.requests.clear());
afterEach(async () => {
  await gateway?.stop();
  gateway = undefined;
});

const start = async (options: Omit<TestGatewayOptions, "emulator" | "credential">): Promise<TestGateway> => {
  gateway = await startTestGateway({ emulator, credential: "none", ...options });
  return gateway;
};

/** What `/readyz` says of the one source that there is. */
async function sourceOf(admin: TestGateway["admin"]): Promise<Record<string, unknown>> {
  const { body } = await admin("/readyz").expect(200);
  return body.checks.find(({ name }: { name: string }) => name === "credential").detail.sources[0];
}

/** What a platform gives for an assertion: a token that the emulator's federated credential accepts. */
const federatedToken = () => emulator.kubernetes.issueServiceAccountToken();

const platform =
  (origin: string, answer: () => object): Fetch =>
  async (url) =>
    url.startsWith(origin) ? Response.json(answer()) : new Response(undefined, { status: 404 });

describe("a gateway proves itself by", () => {
  test.each<[string, string, () => Omit<TestGatewayOptions, "emulator">]>([
    [
      "github-actions",
      "federated",
      () => ({
        env: {
          ACTIONS_ID_TOKEN_REQUEST_URL: "https://actions.example/idtoken?api-version=2.0",
          ACTIONS_ID_TOKEN_REQUEST_TOKEN: "token-of-the-job",
        },
        platform: platform("https://actions.example/", () => ({ value: federatedToken() })),
      }),
    ],
    [
      "azure-pipelines",
      "federated",
      () => ({
        env: {
          SYSTEM_OIDCREQUESTURI: "https://dev.example/oidctoken",
          SYSTEM_ACCESSTOKEN: "token-of-the-job",
          AZURESUBSCRIPTION_SERVICE_CONNECTION_ID: "8f1c1b6e-0000-4000-8000-000000000001",
        },
        platform: platform("https://dev.example/", () => ({ oidcToken: federatedToken() })),
      }),
    ],
    ["client-assertion", "federated", () => ({ clientAssertion: async () => federatedToken() })],
    [
      "client-secret",
      "secret-in-body",
      () => ({ env: { AZURE_CLIENT_SECRET: emulator.addClientSecret(emulator.clientId) } }),
    ],
  ])("%s as soon as its settings are there", async (source, credential, options) => {
    const { get, admin } = await start(options());
    await get("/graph/me", emulator.mintUserToken()).expect(200);
    expect(emulator.requests.token.at(-1)).toMatchObject({ credential, aadsts: 0 });
    const { body } = await admin("/readyz").expect(200);
    expect(body.checks).toContainEqual({
      name: "credential",
      ready: true,
      detail: { serving: source, sources: [expect.objectContaining({ source, generation: 1 })] },
    });
  });
});

test("a platform's source that lacks a setting is told with all that it needs", async () => {
  const yaml = `${TEST_YAML}credential: { sources: [azure-pipelines] }\n`;
  const env = { SYSTEM_OIDCREQUESTURI: "https://dev.example/oidctoken" };
  await expect(start({ yaml, env })).rejects.toThrow(
    "credential.sources[0]: azure-pipelines needs SYSTEM_OIDCREQUESTURI, SYSTEM_ACCESSTOKEN, " +
      "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID, which are not all set",
  );
});

test("a client secret in production is worth a warning that says what to use instead", async () => {
  const { logs } = await start({ env: { AZURE_CLIENT_SECRET: "development", NODE_ENV: "production" } });
  expect(logs).toContainEqual(
    expect.objectContaining({
      level: "warn",
      event: "secret_in_production",
      msg: expect.stringContaining("certificate"),
    }),
  );
});

describe("a certificate that is replaced while the gateway runs", () => {
  /** Milliseconds that both clocks are ahead, so that the file is looked at again. */
  let aheadMs = 0;
  const now = () => Date.now() + aheadMs;

  test("takes over once Entra has accepted it, and until then stays out with a reason", async () => {
    const own = await startEmulator({ now });
    try {
      gateway = await startTestGateway({ emulator: own, credential: "certificate", now });
      const { get, admin } = gateway;
      const call = () => get("/graph/me", own.mintUserToken()).expect(200);
      const source = () => sourceOf(admin);
      await call();
      const next = await own.issueClientCertificate();
      await writeFile(own.files.clientCertificate, next.pem);
      aheadMs += 5_000;
      await call();
      await until(async () => (await source()).fault !== undefined);
      await call();
      expect(await source()).toMatchObject({
        state: "usable",
        generation: 1,
        candidate: { generation: 2, state: "refused" },
        fault: { problem: expect.stringContaining("AADSTS700027") },
      });

      own.registerCertificate(own.clientId, next);
      aheadMs += 60_000;
      await call();
      await until(async () => (await source()).generation === 2);
      await call();
      const { text: metrics } = await admin("/metrics").expect(200);
      const expiry = Math.floor(Date.parse(new X509Certificate(next.certificatePem).validTo) / 1000);
      for (const [name, value] of [
        ["serving", 1],
        ["usable", 1],
        ["generation", 2],
        ["expiry_timestamp_seconds", expiry],
      ])
        expect(metrics).toContain(`obo_gateway_credential_${name}{source="certificate"} ${value}\n`);
      expect(own.requests.token.at(-1)).toMatchObject({ thumbprint: next.thumbprintSha256, aadsts: 0 });
      expect(await source()).not.toHaveProperty("fault");
    } finally {
      await gateway?.stop();
      gateway = undefined;
      await own.close();
    }
  });
});
