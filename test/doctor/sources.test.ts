/** Every source is opened as the gateway opens it, and tried at Entra. */

import { once } from "node:events";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { Agent, fetch as undiciFetch } from "undici";
import type { Fetch } from "../../src/foundation/bounded-fetch.ts";
import { createCertificateAuthority } from "../emulator/certificate-authority.ts";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { type Changes, createPatient, type Patient } from "./support.ts";

const AUDIENCE = "api://AzureADTokenExchange";
const IDENTITY = "99999999-8888-4777-8666-555555555555";

let emulator: Emulator;
let patient: Patient;
let agent: Agent;
beforeAll(async () => {
  emulator = await startEmulator();
  patient = await createPatient(emulator);
  agent = new Agent({ connect: { ca: emulator.caCertificate } });
});
afterAll(async () => {
  await agent.close();
  await patient.close();
  await emulator.close();
});

/** Answers in the place of the platforms that issue tokens: GitHub and Azure Pipelines. */
const platform = (status: number): Fetch =>
  (async (url, init) => {
    if (!String(url).startsWith("https://platform.example/"))
      return undiciFetch(url, { ...init, dispatcher: agent } as object);
    const token = emulator.kubernetes.issueServiceAccountToken({});
    return new Response(JSON.stringify({ value: token, oidcToken: token }), { status });
  }) as Fetch;

test("managed identity is opened with what the gateway opens it with: no setting is said to be missing", async () => {
  const report = await patient.diagnose({
    env: { AZURE_FEDERATED_TOKEN_FILE: "" },
    yaml: [
      [
        "downstreamApis:",
        `credential: { sources: [managed-identity], managedIdentityClientId: ${IDENTITY} }\ndownstreamApis:`,
      ],
    ],
  });
  expect(JSON.stringify(report.verdicts)).not.toMatch(/is not set|are not all set/);
  // No platform is here to issue a token.
  expect(report.of("issued-token", "managed-identity")).toMatchObject({
    outcome: "fault",
    fix: expect.stringContaining("assign the user-assigned identity"),
  });
  expect(report.of("token-request", "managed-identity").outcome).toBe("skipped");
});

const github = (status: number): Changes => ({
  options: { fetch: platform(status) },
  env: {
    AZURE_FEDERATED_TOKEN_FILE: "",
    ACTIONS_ID_TOKEN_REQUEST_URL: "https://platform.example/token?x=1",
    ACTIONS_ID_TOKEN_REQUEST_TOKEN: "s3cret",
  },
  yaml: [["downstreamApis:", "credential: { sources: [github-actions] }\ndownstreamApis:"]],
});
const pipelines = (status: number): Changes => ({
  options: { fetch: platform(status) },
  env: {
    AZURE_FEDERATED_TOKEN_FILE: "",
    SYSTEM_OIDCREQUESTURI: "https://platform.example/oidc",
    SYSTEM_ACCESSTOKEN: "s3cret",
    AZURESUBSCRIPTION_SERVICE_CONNECTION_ID: IDENTITY,
  },
  yaml: [["downstreamApis:", "credential: { sources: [azure-pipelines] }\ndownstreamApis:"]],
});

test("a source of a platform gets a token request of its own", async () => {
  for (const [source, changes] of [
    ["github-actions", github(200)],
    ["azure-pipelines", pipelines(200)],
  ] as const) {
    const report = await patient.diagnose(changes);
    expect([
      source,
      report.of("issued-token", source).outcome,
      report.of("token-request", source).outcome,
    ]).toEqual([source, "ok", "ok"]);
  }
});

test("a platform that issues no token is a fault, with what to look at", async () => {
  const report = await patient.diagnose(github(403));
  expect(report.of("issued-token", "github-actions")).toMatchObject({
    outcome: "fault",
    fix: expect.stringContaining("id-token: write"),
  });
  expect(report.of("token-request", "github-actions").outcome).toBe("skipped");
});

describe("identity binding", () => {
  const SNI = "binding.aks.internal";
  const authority = createCertificateAuthority(() => Date.now());
  let server: Server;
  let answer: { status: number; body: object };
  let changes: Changes;
  let asked: number;
  beforeAll(async () => {
    const { key, cert } = authority.issueServerCertificate([SNI]);
    server = createServer({ key, cert }, (incoming, outgoing) => {
      asked += 1;
      incoming.resume();
      outgoing.writeHead(answer.status, { "content-type": "application/json" });
      outgoing.end(JSON.stringify(answer.body));
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    changes = {
      env: {
        AZURE_KUBERNETES_TOKEN_PROXY: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
        AZURE_KUBERNETES_SNI_NAME: SNI,
        AZURE_KUBERNETES_CA_DATA: authority.certificatePem,
      },
      yaml: [["downstreamApis:", `credential: { managedIdentityClientId: ${IDENTITY} }\ndownstreamApis:`]],
    };
  });
  beforeEach(() => {
    asked = 0;
  });
  afterAll(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  });

  test("is opened by the cluster's proxy, and its token is tried at Entra", async () => {
    const token = emulator.mintUserToken({ appOnly: true, audience: AUDIENCE, expiresInSeconds: 86_400 });
    const { sub } = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());
    emulator.addFederatedCredential(emulator.clientId, {
      issuer: `${emulator.authorityHost}${emulator.tenantId}/v2.0`,
      subject: sub,
      audience: AUDIENCE,
    });
    answer = { status: 200, body: { token_type: "Bearer", access_token: token } };
    const report = await patient.diagnose(changes);
    expect(report).toMatchObject({ works: true, text: "" });
    expect(report.of("credential").finding).toBe("identity-binding serves");
    expect(report.of("issued-token", "identity-binding")).toMatchObject({
      outcome: "ok",
      finding: "the cluster's token proxy issues a token to prove the gateway with",
      facts: { expiresAt: expect.stringMatching(/^20\d\d-/) },
    });
    expect(report.of("token-request", "identity-binding").outcome).toBe("ok");
    expect(asked).toBeGreaterThan(0);
    // The pod's token is for the proxy alone, so it is no source by itself.
    expect(() => report.of("federated-token")).toThrow("no check named");
  });

  test("that the cluster does not allow is a fault that says what to label, annotate and bind", async () => {
    answer = { status: 403, body: {} };
    const report = await patient.diagnose(changes);
    expect(report.works).toBe(false);
    expect(report.of("issued-token", "identity-binding")).toMatchObject({
      outcome: "fault",
      finding: expect.stringMatching(/AZURE_KUBERNETES_TOKEN_PROXY: the proxy answered 403/),
      fix: expect.stringMatching(/use-identity-binding=true, and bind the identity to the cluster$/),
    });
    expect(report.of("token-request", "identity-binding").outcome).toBe("skipped");
  });
});

test("an assertion that a program makes is left to that program", async () => {
  const report = await patient.diagnose({
    yaml: [
      ["downstreamApis:", "credential: { sources: [client-assertion, workload-identity] }\ndownstreamApis:"],
    ],
  });
  expect(report.of("issued-token", "client-assertion").outcome).toBe("skipped");
  expect(report.of("token-request", "workload-identity").outcome).toBe("ok");
});
