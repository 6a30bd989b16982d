import { createPublicKey } from "node:crypto";
import { inspect } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { jwtVerify } from "jose";
import type { CredentialEvent, CredentialOptions, CredentialSource } from "../../src/credential/contract.ts";
import { openCredential } from "../../src/credential/credential.ts";
import { ConfigurationError } from "../../src/errors.ts";
import { Secret } from "../../src/foundation/secret.ts";
import { createDirectory, type Directory } from "./files.ts";
import { generateRsa, issue, keyAndCertificate, NOON, serviceAccountToken } from "./keys.ts";
import { SETTINGS } from "./settings.ts";

const HOUR_MS = 3_600_000;
const key = generateRsa();
const request = { clientId: "client", tokenEndpoint: "https://login.example/token" };

let directory: Directory;
beforeEach(() => {
  directory = createDirectory();
});
afterEach(() => directory.remove());

const open = (options: Partial<CredentialOptions>) =>
  openCredential({ ...SETTINGS, now: () => NOON, ...options });

async function faultsOf(options: Partial<CredentialOptions>) {
  const error: unknown = await open(options).catch((cause: unknown) => cause);
  if (!(error instanceof ConfigurationError)) throw new Error("no ConfigurationError", { cause: error });
  return error.faults;
}

async function allSettings() {
  return {
    certificatePath: directory.write("gateway.pem", keyAndCertificate(key)),
    federatedTokenFile: directory.write("token", await serviceAccountToken(key, NOON + HOUR_MS)),
    clientSecret: new Secret("development"),
  };
}

describe("which sources there are", () => {
  test("is, unless told otherwise, every one with its setting: workload identity, certificate, secret", async () => {
    const settings = await allSettings();
    const all = await open(settings);
    expect(all.status().sources.map(({ source }) => source)).toEqual([
      "workload-identity",
      "certificate",
      "client-secret",
    ]);
    expect(all.source).toBe("workload-identity");
    const credential = await open({ clientSecret: settings.clientSecret });
    expect(await credential.authenticate(request)).toEqual({
      method: "client_secret",
      clientSecret: settings.clientSecret,
    });
  });

  test("is what the operator lists, in that order", async () => {
    const credential = await open({ ...(await allSettings()), sources: ["client-secret", "certificate"] });
    expect(credential.status().sources.map(({ source }) => source)).toEqual(["client-secret", "certificate"]);
  });

  test("is a fault that lists what can be set when there is none", async () => {
    const faults = await faultsOf({ certificatePath: "", clientSecret: new Secret("") });
    expect(faults).toHaveLength(1);
    for (const setting of [
      "AZURE_FEDERATED_TOKEN_FILE",
      "AZURE_CLIENT_CERTIFICATE_PATH",
      "AZURE_CLIENT_SECRET",
    ]) {
      expect(faults[0]?.problem).toContain(setting);
    }
    expect(await faultsOf({ sources: [] })).toEqual(faults);
  });

  test("is a fault at its place in the list for each that is unknown or repeated", async () => {
    const sources = ["client-secret", "certifcate" as CredentialSource, "client-secret"] as const;
    expect(await faultsOf({ sources, clientSecret: new Secret("development") })).toEqual([
      { path: "credential.sources[1]", problem: expect.stringContaining('no source is named "certifcate"') },
      { path: "credential.sources[2]", problem: "client-secret is named twice" },
    ]);
  });

  test("leaves out a listed source without its setting while another can serve, and says so", async () => {
    const events: CredentialEvent[] = [];
    const { clientSecret } = await allSettings();
    const credential = await open({
      sources: ["workload-identity", "client-secret"],
      clientSecret,
      onEvent: (event) => events.push(event),
    });
    expect(credential.status().sources.map(({ source }) => source)).toEqual(["client-secret"]);
    expect(events).toEqual([
      {
        type: "absent",
        source: "workload-identity",
        generation: 0,
        message: "workload-identity needs AZURE_FEDERATED_TOKEN_FILE, which is not set; it is not used",
      },
    ]);
  });

  test("is a fault for each listed source without its setting when none can serve", async () => {
    expect(await faultsOf({ sources: ["workload-identity", "certificate"] })).toEqual([
      { path: "credential.sources[0]", problem: expect.stringContaining("AZURE_FEDERATED_TOKEN_FILE") },
      { path: "credential.sources[1]", problem: expect.stringContaining("AZURE_CLIENT_CERTIFICATE_PATH") },
    ]);
  });

  test("does not stop the faults of all of them from being told together", async () => {
    const faults = await faultsOf({
      sources: ["certificate", "workload-identity", "toString" as CredentialSource],
      certificatePath: directory.write("gateway.pem", ""),
      federatedTokenFile: `${directory.path}/nowhere`,
    });
    expect(faults.map(({ path }) => path)).toEqual([
      "credential.sources[2]",
      "AZURE_CLIENT_CERTIFICATE_PATH",
      "AZURE_FEDERATED_TOKEN_FILE",
    ]);
  });
});

test("a credential that Entra refuses hands over to the next source, which proves the gateway", async () => {
  const events: CredentialEvent[] = [];
  const credential = await open({ ...(await allSettings()), onEvent: (event) => events.push(event) });
  const federated = await credential.authenticate(request);
  expect(await credential.refused(federated)).toBe(true);
  const signed = await credential.authenticate(request);
  if (signed.method !== "client_assertion") throw new Error("not an assertion");
  await jwtVerify(signed.clientAssertion.reveal(), createPublicKey(key), {
    algorithms: ["PS256"],
    audience: request.tokenEndpoint,
    currentDate: new Date(NOON),
  });
  expect(events.map(({ type, source }) => `${type} ${source}`)).toEqual([
    "refused workload-identity",
    "switched certificate",
  ]);
});

test("the chain is sent when the setting says so", async () => {
  const { certificatePath } = await allSettings();
  const credential = await open({ certificatePath, sendCertificateChain: true });
  const proof = await credential.authenticate(request);
  if (proof.method !== "client_assertion") throw new Error("not an assertion");
  const [header = ""] = proof.clientAssertion.reveal().split(".");
  expect(JSON.parse(Buffer.from(header, "base64url").toString())).toHaveProperty("x5c.0");
});

test.each([
  [
    "is worth a warning in production",
    true,
    [
      {
        type: "secret_in_production",
        source: "client-secret",
        generation: 1,
        message:
          "AZURE_CLIENT_SECRET: a client secret is meant for development; use a federated token or a certificate in production",
      },
    ],
  ],
  ["is no news in development", false, []],
])("a client secret %s", async (_, production, expected) => {
  const events: CredentialEvent[] = [];
  const credential = await open({
    clientSecret: new Secret("development"),
    production,
    onEvent: (event) => events.push(event),
  });
  expect(events).toEqual(expected);
  const proof = await credential.authenticate(request);
  expect(credential.originOf?.(proof)).toEqual({ source: "client-secret", generation: 1 });
  expect(credential.status().sources).toEqual([{ source: "client-secret", state: "usable", generation: 1 }]);
  // It cannot change, so a refusal is never answered by another look.
  expect(await credential.refused(proof)).toBe(false);
});

test("one source that cannot be opened ends the start, although another one could serve", async () => {
  const settings = await allSettings();
  expect(await faultsOf({ ...settings, certificatePath: "/nowhere/gateway.pem" })).toHaveLength(1);
});

test("a defect while a source is opened is no fault of the configuration", async () => {
  const defect = new RangeError("a bug");
  const opening = open({
    clientSecret: new Secret("development"),
    production: true,
    onEvent: () => {
      throw defect;
    },
  });
  await expect(opening).rejects.toBe(defect);
});

describe("nothing secret shows", () => {
  const password = "pass-phrase-of-the-key";
  const encrypted = key
    .export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: password })
    .toString();
  const plain = key.export({ type: "pkcs8", format: "pem" }).toString();
  const fragments = [encrypted, plain].map((pem) => pem.split("\n")[3] ?? "");

  test.each([
    ["a wrong password", encrypted, "wrong-pass-phrase"],
    ["a key that belongs to another certificate", plain, password],
    ["a damaged key", `${plain.slice(0, 300)}*${plain.slice(301)}`, password],
    ["a key that is cut short", plain.slice(0, 900), password],
  ])("in the error about %s", async (_, keyPem, passphrase) => {
    const stranger = issue({ key: generateRsa() });
    const certificatePath = directory.write("gateway.pem", keyPem + stranger.pem);
    const options = { certificatePath, certificatePassword: new Secret(passphrase) };
    const error: unknown = await open(options).catch((cause: unknown) => cause);
    expect(error).toBeInstanceOf(ConfigurationError);
    const everything = inspect(error, { depth: Infinity, showHidden: true });
    for (const fragment of [...fragments, passphrase]) expect(everything).not.toContain(fragment);
  });

  test("in the error about a file that holds something else", async () => {
    const error: unknown = await open({
      federatedTokenFile: directory.write("token", "confidential.confidential.confidential"),
    }).catch((cause: unknown) => cause);
    expect(inspect(error, { depth: Infinity, showHidden: true })).not.toContain("confidential.confidential");
  });

  test("in what an opened credential, its proofs, its status and its events print", async () => {
    const events: CredentialEvent[] = [];
    const settings = await allSettings();
    const credential = await open({ ...settings, onEvent: (event) => events.push(event) });
    const proof = await credential.authenticate(request);
    directory.write("token", "broken.token.file");
    await credential.authenticate(request);
    const everything = inspect([credential, proof, credential.status(), events], {
      depth: Infinity,
      showHidden: true,
    });
    expect(events).toHaveLength(1);
    expect(everything).toContain("[redacted]");
    for (const text of ["broken.token", "eyJ", "development", ...fragments])
      expect(everything).not.toContain(text);
  });
});

describe("workload identity that the webhook did not set up", () => {
  test("is answered with what people forget: the label on the pod, the annotation, and a new pod", async () => {
    const [fault] = await faultsOf({ sources: ["workload-identity"] });
    expect(fault?.path).toBe("credential.sources[0]");
    for (const part of [
      "AZURE_FEDERATED_TOKEN_FILE, which is not set",
      'azure.workload.identity/use: "true"',
      "azure.workload.identity/client-id",
      "serviceAccountName",
      "rollout restart",
    ])
      expect(fault?.problem).toContain(part);
  });

  test("is passed over in one short sentence where another source serves", async () => {
    const events: CredentialEvent[] = [];
    await open({
      sources: ["workload-identity", "client-secret"],
      clientSecret: new Secret("development"),
      onEvent: (event) => events.push(event),
    });
    expect(events[0]?.message).not.toContain("azure.workload.identity/use");
  });
});

test("a certificate in a variable is a source, and a file wins where both are given", async () => {
  const text = new Secret(keyAndCertificate(key));
  const fromText = await open({ certificate: text });
  expect(fromText.status().sources).toMatchObject([{ source: "certificate", state: "usable" }]);
  const error: unknown = await open({ certificate: text, certificatePath: "/nowhere.pem" }).catch(
    (cause) => cause,
  );
  expect(error).toMatchObject({ faults: [{ path: "AZURE_CLIENT_CERTIFICATE_PATH" }] });
});
