import { afterAll, describe, expect, test } from "@jest/globals";
import type { Canary, CredentialOptions, CredentialSource } from "../../src/credential/contract.ts";
import { findCredentialFaults, openCredential } from "../../src/credential/credential.ts";
import { chooseSources } from "../../src/credential/sources.ts";
import { ConfigurationError } from "../../src/errors.ts";
import { Secret } from "../../src/foundation/secret.ts";
import { createDirectory } from "./files.ts";
import { DAY_MS, generateRsa, keyAndCertificate, NOON } from "./keys.ts";
import { SETTINGS } from "./settings.ts";

const directory = createDirectory();
afterAll(directory.remove);

const secret = new Secret("s");
const empty = new Secret("");
const canary: Canary = {
  request: { clientId: "c", tokenEndpoint: "https://login.example/token" },
  proveWith: async () => ({ verdict: "accepted" }),
};

/** Everything that each source needs. */
const SET_UP: Readonly<Record<CredentialSource, Partial<CredentialOptions>>> = {
  "workload-identity": { federatedTokenFile: "/token" },
  certificate: { certificatePath: "/gateway.pem" },
  "client-assertion": { clientAssertion: async () => "" },
  "github-actions": { githubActions: { requestUrl: "https://github.example", requestToken: secret } },
  "azure-pipelines": {
    azurePipelines: { requestUri: "https://ado.example", accessToken: secret, serviceConnectionId: "1" },
  },
  "identity-binding": {
    tokenProxy: { url: "https://proxy.example" },
    federatedTokenFile: "/token",
    managedIdentityClientId: "i",
    canary,
  },
  "managed-identity": { managedIdentityToken: async () => ({ token: "" }) },
  "client-secret": { clientSecret: secret },
};
const NEEDS: Readonly<Record<CredentialSource, string>> = {
  "workload-identity": "AZURE_FEDERATED_TOKEN_FILE, which is not set",
  certificate: "AZURE_CLIENT_CERTIFICATE_PATH, which is not set",
  "client-assertion": "a clientAssertion callback, which is not set",
  "github-actions": "ACTIONS_ID_TOKEN_REQUEST_URL, ACTIONS_ID_TOKEN_REQUEST_TOKEN, which are not all set",
  "azure-pipelines":
    "SYSTEM_OIDCREQUESTURI, SYSTEM_ACCESSTOKEN, AZURESUBSCRIPTION_SERVICE_CONNECTION_ID, which are not all set",
  "identity-binding":
    "AZURE_KUBERNETES_TOKEN_PROXY, AZURE_FEDERATED_TOKEN_FILE, credential.managedIdentityClientId, which are not all set",
  "managed-identity": "credential.managedIdentityClientId, which is not set",
  "client-secret": "AZURE_CLIENT_SECRET, which is not set",
};
const NAMES = Object.keys(SET_UP) as CredentialSource[];
const OFF_THIS_MACHINE: readonly CredentialSource[] = [
  "client-assertion",
  "github-actions",
  "azure-pipelines",
  "identity-binding",
  "managed-identity",
];

const choose = (options: Partial<CredentialOptions>) => chooseSources({ ...SETTINGS, ...options });

describe("a named source", () => {
  test.each(NAMES)(
    "%s is opened where its settings are there, and a fault names them where they are not",
    (name) => {
      const chosen = choose({ sources: [name], ...SET_UP[name] });
      expect([chosen.openers.length, chosen.absent, chosen.faults]).toEqual([1, [], []]);
      expect(chosen.openers[0]?.asksNetwork).toBe(OFF_THIS_MACHINE.includes(name));

      const missing = choose({ sources: [name] });
      expect(missing.openers).toEqual([]);
      expect(missing.absent).toEqual([
        expect.objectContaining({ source: name, problem: `${name} needs ${NEEDS[name]}` }),
      ]);
      expect(missing.faults).toEqual([
        {
          path: "credential.sources[0]",
          problem: expect.stringMatching(new RegExp(`^${name} needs [^;]*which `)),
        },
      ]);
    },
  );

  test("without its setting is passed over while another one serves", () => {
    const chosen = choose({ sources: ["workload-identity", "client-secret"], clientSecret: secret });
    expect([chosen.openers.length, chosen.faults]).toEqual([1, []]);
    expect(chosen.absent).toMatchObject([
      { source: "workload-identity", problem: `workload-identity needs ${NEEDS["workload-identity"]}` },
    ]);
  });

  test("that has a usual reason to be absent gives it, when none can serve", () => {
    const [workload, certificate] = choose({ sources: ["workload-identity", "certificate"] }).faults;
    expect(workload).toEqual({
      path: "credential.sources[0]",
      problem: expect.stringMatching(
        /^workload-identity needs .*, which is not set; on AKS the workload identity webhook sets it: .*kubectl rollout restart\)$/,
      ),
    });
    expect(certificate).toEqual({
      path: "credential.sources[1]",
      problem: `certificate needs ${NEEDS.certificate}`,
    });
  });

  test("may be named once", () => {
    const { faults, openers } = choose({ sources: ["client-secret", "client-secret"], clientSecret: secret });
    expect(faults).toEqual([{ path: "credential.sources[1]", problem: "client-secret is named twice" }]);
    expect(openers).toHaveLength(1);
  });

  test.each(["client_secret", "toString", ""])("has to be one that there is: %j", (name) => {
    const { faults } = choose({ sources: [name as CredentialSource, "client-secret"], clientSecret: secret });
    expect(faults).toEqual([
      {
        path: "credential.sources[0]",
        problem: `no source is named ${JSON.stringify(name)}; there are ${NAMES.join(", ")}`,
      },
    ]);
  });

  test("has to be there: an empty list is a fault", () => {
    expect(choose({ sources: [] }).faults).toEqual([
      {
        path: "credential.sources",
        problem: expect.stringMatching(/^no credential is configured; set AZURE_/),
      },
    ]);
  });
});

describe("of the settings of a source", () => {
  const without: [CredentialSource, string, Partial<CredentialOptions>][] = [
    ["workload-identity", "an empty path", { federatedTokenFile: "" }],
    ["certificate", "an empty path", { certificatePath: "" }],
    ["certificate", "an empty text", { certificate: empty }],
    ["client-secret", "an empty secret", { clientSecret: empty }],
    ["github-actions", "no address", { githubActions: { requestToken: secret } }],
    ["github-actions", "no token", { githubActions: { requestUrl: "https://github.example" } }],
    [
      "github-actions",
      "an empty token",
      { githubActions: { requestUrl: "https://x.example", requestToken: empty } },
    ],
    ...(["requestUri", "accessToken", "serviceConnectionId"] as const).map(
      (name): [CredentialSource, string, Partial<CredentialOptions>] => [
        "azure-pipelines",
        `no ${name}`,
        { azurePipelines: { ...SET_UP["azure-pipelines"].azurePipelines, [name]: undefined } },
      ],
    ),
    [
      "azure-pipelines",
      "an empty token",
      { azurePipelines: { ...SET_UP["azure-pipelines"].azurePipelines, accessToken: empty } },
    ],
    ...(["tokenProxy", "federatedTokenFile", "managedIdentityClientId", "canary"] as const).map(
      (name): [CredentialSource, string, Partial<CredentialOptions>] => [
        "identity-binding",
        `no ${name}`,
        { ...SET_UP["identity-binding"], [name]: undefined },
      ],
    ),
    ["identity-binding", "a proxy without an address", { ...SET_UP["identity-binding"], tokenProxy: {} }],
  ];
  test.each(without)("%s needs all: %s", (name, _, options) => {
    expect(choose({ sources: [name], ...options }).absent).toMatchObject([{ source: name }]);
  });

  test("a certificate may come as text", () => {
    expect(choose({ sources: ["certificate"], certificate: secret }).openers).toHaveLength(1);
  });
});

describe("without a list of names", () => {
  test("every source that is set up is opened", () => {
    expect(
      choose(
        Object.assign({}, ...NAMES.filter((name) => name !== "identity-binding").map((name) => SET_UP[name])),
      ).openers,
    ).toHaveLength(7);
    expect(choose({ clientSecret: secret }).openers).toHaveLength(1);
  });

  test("those whose settings an identity binding uses are not: the pod's token is for the proxy alone", () => {
    const bound = { ...SET_UP["identity-binding"], ...SET_UP["managed-identity"] };
    expect(choose(bound).openers.map(({ asksNetwork }) => asksNetwork)).toEqual([true]);
    expect(choose({ ...bound, ...SET_UP["client-secret"] }).openers).toHaveLength(2);
    expect(choose({ ...bound, sources: ["workload-identity", "managed-identity"] }).openers).toHaveLength(2);
  });

  test("nothing that is set up is a fault", () => {
    expect(choose({})).toEqual({
      openers: [],
      absent: [],
      faults: [expect.objectContaining({ path: "credential.sources" })],
    });
  });

  test("what the platform renews by itself serves before a certificate, and a secret last", async () => {
    const path = directory.write("gateway.pem", keyAndCertificate(generateRsa()));
    const credential = await openCredential({
      ...SETTINGS,
      certificatePath: path,
      clientSecret: secret,
      now: () => NOON,
    });
    expect(credential.status().sources.map(({ source }) => source)).toEqual(["certificate", "client-secret"]);
    const all = await openCredential({
      ...SETTINGS,
      ...SET_UP["client-secret"],
      clientAssertion: async () => "",
    });
    expect(all.status().sources.map(({ source }) => source)).toEqual(["client-assertion", "client-secret"]);
  });
});

describe("faults of a credential", () => {
  const asked: string[] = [];
  const elsewhere: Partial<CredentialOptions> = {
    ...SET_UP["github-actions"],
    fetch: (url) => {
      asked.push(url);
      return Promise.reject(new Error("asked"));
    },
  };

  test("are found on this machine without asking a platform, all at once", async () => {
    const faults = await findCredentialFaults({
      ...SETTINGS,
      sources: ["workload-identity", "certificate", "github-actions", "nobody" as CredentialSource],
      federatedTokenFile: "/nowhere/token",
      certificatePath: "/nowhere/gateway.pem",
      ...elsewhere,
    });
    expect(faults.map(({ path }) => path)).toEqual([
      "credential.sources[3]",
      "AZURE_FEDERATED_TOKEN_FILE",
      "AZURE_CLIENT_CERTIFICATE_PATH",
    ]);
    expect(asked).toEqual([]);
  });

  test("are none for a binding and a managed identity whose settings are there", async () => {
    for (const name of ["identity-binding", "managed-identity"] as const) {
      const options = {
        ...SETTINGS,
        sources: [name],
        tokenProxy: { url: "https://proxy.example" },
        federatedTokenFile: "/nowhere/token",
        managedIdentityClientId: "i",
      };
      expect(await findCredentialFaults(options)).toEqual([]);
      expect(await findCredentialFaults({ ...options, managedIdentityClientId: undefined })).toHaveLength(1);
    }
  });

  test("are found by the clock that is given", async () => {
    const certificatePath = directory.write("by-clock.pem", keyAndCertificate(generateRsa()));
    const pathsAt = async (time: number) =>
      (await findCredentialFaults({ ...SETTINGS, certificatePath, now: () => time })).map(({ path }) => path);
    expect(await pathsAt(NOON)).toEqual([]);
    expect(await pathsAt(NOON + 366 * DAY_MS)).toEqual(["AZURE_CLIENT_CERTIFICATE_PATH"]);
  });

  test("of the choice and of opening end the start together", async () => {
    const opening = openCredential({
      ...SETTINGS,
      sources: ["certificate", "client-secret", "client-secret"],
      certificatePath: "/nowhere/gateway.pem",
      clientSecret: secret,
    });
    await expect(opening).rejects.toThrow(ConfigurationError);
    await expect(opening).rejects.toMatchObject({
      faults: [{ path: "credential.sources[2]" }, { path: "AZURE_CLIENT_CERTIFICATE_PATH" }],
    });
  });

  test("a source that is passed over is reported once, with what it needs", async () => {
    const events: unknown[] = [];
    await openCredential({
      ...SETTINGS,
      sources: ["certificate", "client-secret"],
      clientSecret: secret,
      onEvent: (event) => events.push(event),
    });
    expect(events).toEqual([
      {
        type: "absent",
        source: "certificate",
        generation: 0,
        message: `certificate needs ${NEEDS.certificate}; it is not used`,
      },
    ]);
  });
});
