/** What the doctor says of configurations that work. */

import { X509Certificate } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import forge from "node-forge";
import { Secret } from "../../src/foundation/secret.ts";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { createPatient, type Patient } from "./support.ts";

let emulator: Emulator;
let patient: Patient;
beforeAll(async () => {
  emulator = await startEmulator();
  patient = await createPatient(emulator);
});
afterAll(async () => {
  await patient.close();
  await emulator.close();
});

test("a healthy configuration with workload identity is found to work, without a word of warning", async () => {
  const report = await patient.diagnose();
  expect(report).toMatchObject({ works: true, configured: true, text: "" });
  expect(report.of("token-request", "workload-identity").outcome).toBe("ok");
  expect(report.of("federated-token").facts).toMatchObject({
    issuer: emulator.kubernetes.issuer,
    subject: "system:serviceaccount:obo-gateway:obo-gateway",
    audience: "api://AzureADTokenExchange",
  });
});

test("a healthy certificate is shown with both thumbprints, to be compared with the registration", async () => {
  const report = await patient.diagnose({
    env: {
      AZURE_FEDERATED_TOKEN_FILE: "",
      AZURE_CLIENT_CERTIFICATE_PATH: emulator.files.clientCertificate,
    },
  });
  expect(report).toMatchObject({ works: true, text: "" });
  expect(report.of("certificate")).toMatchObject({
    facts: {
      sha256Thumbprint: emulator.clientCertificate.thumbprintSha256,
      sha1Thumbprint: emulator.clientCertificate.thumbprintSha1,
    },
    commands: [expect.stringContaining(`az ad app credential list --id ${emulator.clientId} --cert`)],
  });
});

test("a certificate in a variable is checked and tried like one of a file, and its text is not shown", async () => {
  const report = await patient.diagnose({
    env: { AZURE_FEDERATED_TOKEN_FILE: "", AZURE_CLIENT_CERTIFICATE: emulator.clientCertificate.pem },
  });
  expect(report).toMatchObject({ works: true, text: "" });
  expect(report.of("certificate")).toMatchObject({
    outcome: "ok",
    facts: { sha256Thumbprint: emulator.clientCertificate.thumbprintSha256 },
  });
  expect(report.of("token-request", "certificate").outcome).toBe("ok");
});

test("every route that is served is listed: those that forward, and those that a handler answers", async () => {
  const report = await patient.diagnose({
    yaml: [
      [
        'allow: ["/me"]',
        'allow: ["/me"]\n  - { path: /api/profile, handler: profile }\n  - { path: /second, downstreamApi: graph, methods: [GET, POST], allow: ["/me"] }',
      ],
    ],
  });
  const { finding } = report.of("assembly");
  expect(finding).toMatch(/^3 routes, 1 downstream APIs: /);
  expect(
    finding
      .replace(/^[^:]*: /, "")
      .split("; ")
      .sort(),
  ).toEqual([
    "GET /graph/** (API graph)",
    "GET,HEAD /api/profile (handler profile)",
    "GET,POST /second/** (API graph)",
  ]);
});

test("a handler of the module that GATEWAY_HANDLERS names is served, and a module at fault is a finding", async () => {
  const HELLO = 'handlers = { hello: { method: "get", uses: [], handler() {} } };';
  const yaml = [['allow: ["/me"]', 'allow: ["/me"]\n  - { path: /hello, handler: hello }']] as const;
  const handlers = await patient.file("handlers.mjs", `export const ${HELLO}`);
  const report = await patient.diagnose({ yaml, env: { GATEWAY_HANDLERS: handlers } });
  expect(report.of("assembly")).toMatchObject({
    outcome: "ok",
    finding: expect.stringContaining("GET,HEAD /hello (handler hello)"),
  });
  const broken = await patient.file("broken.mjs", `export const ${HELLO.replace('"get"', '"fetch"')}`);
  const faulty = await patient.diagnose({ yaml, env: { GATEWAY_HANDLERS: broken } });
  expect(faulty.configured).toBe(false);
  expect(faulty.text).toMatch(/GATEWAY_HANDLERS: .*exports hello, which is no handler/);
});

test("of a PKCS#12 file the same thumbprints are shown as of a PEM file", async () => {
  const { certificatePem, privateKeyPem } = emulator.clientCertificate;
  // Written anew by the library, byte for byte another certificate.
  const certificate = forge.pki.certificateFromPem(certificatePem);
  const { fingerprint, fingerprint256 } = new X509Certificate(forge.pki.certificateToPem(certificate));
  const pfx = forge.pkcs12.toPkcs12Asn1(
    forge.pki.privateKeyFromPem(privateKeyPem) as forge.pki.rsa.PrivateKey,
    [certificate],
    "s3cret",
    { algorithm: "aes256" },
  );
  const der = Buffer.from(forge.asn1.toDer(pfx).getBytes(), "latin1");
  const report = await patient.diagnose({
    env: {
      AZURE_FEDERATED_TOKEN_FILE: "",
      AZURE_CLIENT_CERTIFICATE_PATH: await patient.file("gateway.pfx", der),
      AZURE_CLIENT_CERTIFICATE_PASSWORD: "s3cret",
    },
  });
  expect(report.of("certificate")).toMatchObject({
    outcome: "ok",
    facts: {
      sha256Thumbprint: fingerprint256.replaceAll(":", ""),
      sha1Thumbprint: fingerprint.replaceAll(":", ""),
    },
  });
});

test("a client secret works, outside production without a warning", async () => {
  const secret = emulator.addClientSecret(emulator.clientId);
  const env = { AZURE_FEDERATED_TOKEN_FILE: "", AZURE_CLIENT_SECRET: secret };
  expect(await patient.diagnose({ env })).toMatchObject({ works: true, text: "" });
});

test("every source is proven to Entra, the one that stands by as well", async () => {
  const report = await patient.diagnose({
    env: { AZURE_CLIENT_CERTIFICATE_PATH: emulator.files.clientCertificate },
  });
  expect(report.of("credential").finding).toBe("workload-identity serves; certificate stands by");
  expect(report.of("token-request", "certificate").outcome).toBe("ok");
});

test("a user's token is verified and exchanged, and the claims of no person are shown", async () => {
  const token = emulator.mintUserToken({ user: "ada", capabilities: ["cp1"] });
  const report = await patient.diagnose({ options: { userToken: new Secret(token) } });
  expect(report).toMatchObject({ works: true, text: "" });
  expect(report.of("exchange", "graph").finding).toBe("Entra exchanges the user's token");
  expect(report.of("user-token").facts).toMatchObject({ ver: "2.0", scp: "access_as_user", xms_cc: "cp1" });
  expect(JSON.stringify(report)).not.toMatch(/ada/i);
});

test("an expectation that is met byte for byte is confirmed", async () => {
  const report = await patient.diagnose({
    options: {
      expected: {
        issuer: emulator.kubernetes.issuer,
        subject: "system:serviceaccount:obo-gateway:obo-gateway",
        audience: "api://AzureADTokenExchange",
      },
    },
  });
  expect(report).toMatchObject({ works: true, text: "" });
});

test("what the doctor asks leaves no trace of a user: one client-credential request per source and resource", async () => {
  emulator.requests.clear();
  await patient.diagnose();
  expect(emulator.requests.token).toEqual([expect.objectContaining({ status: 200 })]);
});
