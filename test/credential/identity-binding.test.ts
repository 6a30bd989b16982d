import { once } from "node:events";
import { createServer, type Server } from "node:https";
import type { TLSSocket } from "node:tls";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import type { CredentialEvent, CredentialOptions } from "../../src/credential/contract.ts";
import { openCredential } from "../../src/credential/credential.ts";
import { createCertificateAuthority } from "../emulator/certificate-authority.ts";
import { createDirectory, type Directory } from "./files.ts";
import { generateRsa, NOON, serviceAccountToken } from "./keys.ts";
import { SETTINGS } from "./settings.ts";

const HOUR_MS = 3_600_000;
const SNI = "binding.aks.internal";
const IDENTITY = "7b0f6c1e-0000-4000-8000-00000000a1d1";
const AUDIENCE = "api://AzureADTokenExchange";
const request = { clientId: "client", tokenEndpoint: "https://login.example/home/oauth2/v2.0/token" };
const key = generateRsa();
const authority = createCertificateAuthority(() => NOON);
const { key: serverKey, cert } = authority.issueServerCertificate([SNI]);

let directory: Directory;
let clock: { now: number };
let events: CredentialEvent[];
let podToken: string;
let server: Server;
let port: number;
let asked: { readonly path: string | undefined; readonly sni: unknown; readonly form: object }[];
let answer: () => Promise<{ readonly status: number; readonly body: string }>;

beforeAll(async () => {
  podToken = await serviceAccountToken(key, NOON + HOUR_MS, "pod");
});
beforeEach(async () => {
  directory = createDirectory();
  clock = { now: NOON };
  events = [];
  asked = [];
  answer = async () => ({
    status: 200,
    body: JSON.stringify({
      token_type: "Bearer",
      access_token: await serviceAccountToken(key, clock.now + 24 * HOUR_MS, asked.length),
    }),
  });
  server = createServer({ key: serverKey, cert }, async (incoming, outgoing) => {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    asked.push({
      path: incoming.url,
      sni: (incoming.socket as TLSSocket & { servername?: unknown }).servername,
      form: Object.fromEntries(new URLSearchParams(Buffer.concat(chunks).toString())),
    });
    const { status, body } = await answer();
    outgoing.writeHead(status, { "content-type": "application/json" }).end(body);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  port = typeof address === "object" && address !== null ? address.port : 0;
});
afterEach(async () => {
  directory.remove();
  server.closeAllConnections();
  server.close();
  await once(server, "close");
});

const open = (tokenProxy: CredentialOptions["tokenProxy"] = {}, options: Partial<CredentialOptions> = {}) =>
  openCredential({
    ...SETTINGS,
    now: () => clock.now,
    onEvent: (event) => events.push(event),
    canary: { request, proveWith: async () => ({ verdict: "accepted" }) },
    managedIdentityClientId: IDENTITY,
    federatedTokenFile: directory.write("token", podToken),
    tokenProxy: {
      url: `https://127.0.0.1:${port}/binding`,
      sniName: SNI,
      caData: authority.certificatePem,
      ...tokenProxy,
    },
    ...options,
  });

describe("an identity binding", () => {
  test("buys the identity's token at the proxy, which is then the gateway's proof", async () => {
    const credential = await open();
    expect(credential.status().sources.map(({ source }) => source)).toEqual(["identity-binding"]);
    const proof = await credential.authenticate(request);
    if (proof.method !== "client_assertion") throw new Error("not an assertion");
    expect(asked).toEqual([
      {
        path: "/binding/home/oauth2/v2.0/token",
        sni: SNI,
        form: {
          grant_type: "client_credentials",
          client_id: IDENTITY,
          scope: `${AUDIENCE}/.default`,
          client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
          client_assertion: podToken,
        },
      },
    ]);
    expect(proof.clientAssertion.reveal()).not.toBe(podToken);
    await credential.authenticate(request);
    expect(asked).toHaveLength(1);
  });

  test("renews the token before its end with whatever the pod's file holds by then", async () => {
    const credential = await open();
    const renewed = await serviceAccountToken(key, NOON + 25 * HOUR_MS, "renewed");
    directory.write("token", renewed);
    clock.now += 24 * HOUR_MS - 10 * 60_000;
    const proof = async () => {
      const authentication = await credential.authenticate(request);
      return authentication.method === "client_assertion" && authentication.clientAssertion.reveal();
    };
    const first = await proof();
    expect(asked).toHaveLength(1);
    clock.now += 1;
    // What is still good serves while it is renewed.
    expect(await proof()).toBe(first);
    while (events.length === 0) await new Promise((resolve) => setImmediate(resolve));
    expect(await proof()).not.toBe(first);
    expect(asked[1]?.form).toMatchObject({ client_assertion: renewed });
    expect(events).toMatchObject([{ type: "reloaded", source: "identity-binding", generation: 2 }]);
  });

  test("trusts the CA of a file, which may be renewed, and then no other", async () => {
    const stranger = createCertificateAuthority(() => NOON).certificatePem;
    const caFile = directory.write("ca.crt", stranger);
    await expect(open({ caFile, caData: undefined })).rejects.toThrow(
      "AZURE_KUBERNETES_TOKEN_PROXY: https://127.0.0.1",
    );
    expect(asked).toHaveLength(0);
    directory.write("ca.crt", authority.certificatePem);
    await open({ caFile, caData: undefined });
    expect(asked).toHaveLength(1);
  });

  test.each<[string, CredentialOptions["tokenProxy"], string]>([
    [
      "a proxy without TLS",
      { url: "http://proxy.example/" },
      "AZURE_KUBERNETES_TOKEN_PROXY: is not an https URL",
    ],
    [
      "a query",
      { url: "https://proxy.example/?a=b" },
      "AZURE_KUBERNETES_TOKEN_PROXY: must hold neither query",
    ],
    ["two certificate authorities", { caFile: "/nowhere" }, "only one of them may be"],
    ["a CA file that is not there", { caFile: "/nowhere", caData: undefined }, "/nowhere cannot be read"],
    ["another name than the proxy's", { sniName: "other.internal" }, "ERR_TLS_CERT_ALTNAME_INVALID"],
  ])("is a fault that names the setting when it has %s", async (_, tokenProxy, problem) => {
    await expect(open(tokenProxy)).rejects.toThrow(problem);
  });

  test("that the cluster refuses is a fault that says what to check, and quotes nothing", async () => {
    answer = async () => ({ status: 403, body: "forbidden eyJ" });
    const error: unknown = await open().catch((cause: unknown) => cause);
    expect(error).toMatchObject({
      faults: [
        {
          path: "AZURE_KUBERNETES_TOKEN_PROXY",
          problem: expect.stringMatching(/^the proxy answered 403; is the identity bound to the cluster/),
        },
      ],
    });
    expect(String(error)).not.toContain("eyJ");
  });

  test.each([
    ["a refusal that holds a token", 403, "token", "the proxy answered 403; is"],
    ["an answer without a token", 200, "{}", "the proxy answered 200 without a token; is"],
    ["a token that is no text", 200, '{"access_token":7}', "the proxy answered 200 without a token; is"],
    ["an answer that is no JSON", 200, "eyJ", "the proxy answered 200 without a token; is"],
  ])("%s is a fault", async (_, status, body, problem) => {
    const held = JSON.stringify({ access_token: await serviceAccountToken(key, NOON + HOUR_MS) });
    answer = async () => ({ status, body: body === "token" ? held : body });
    await expect(open()).rejects.toThrow(problem);
  });

  test("says so when the pod's token, which buys the next one, is over", async () => {
    const credential = await open();
    clock.now += 24 * HOUR_MS;
    await expect(credential.authenticate(request)).rejects.toMatchObject({
      diagnostics: { problem: expect.stringMatching(/the pod's token is over or cannot be read/) },
    });
  });

  test("is a fault while the pod's token is missing", async () => {
    await expect(open({}, { federatedTokenFile: "/nowhere" })).rejects.toThrow(
      "AZURE_FEDERATED_TOKEN_FILE: /nowhere",
    );
  });
});

test("a proxy that does not answer is given up after its time", async () => {
  answer = () => new Promise(() => {});
  const began = performance.now();
  const error: unknown = await open({}, { issuerTimeoutMs: 200 }).catch((cause: unknown) => cause);
  expect(asked).toHaveLength(1);
  expect(error).toMatchObject({
    faults: [
      { path: "AZURE_KUBERNETES_TOKEN_PROXY", problem: expect.stringContaining("gave no answer (timeout)") },
    ],
  });
  expect(performance.now() - began).toBeLessThan(4_000);
});
