import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { FederatedCredential, ServiceAccountTokenOptions } from "./handle.ts";
import { decodeJws } from "./jws.ts";
import { aadsts, type Client, NOON, startClient } from "./support.ts";

let client: Client;
beforeAll(async () => {
  client = await startClient();
});
afterAll(() => client.close());

const exchangeWith = (token: string) => client.exchange({ client_assertion: token });
const issue = (options?: ServiceAccountTokenOptions) =>
  client.emulator.kubernetes.issueServiceAccountToken(options);

test("the mounted token is accepted, though its sub is not the client id", async () => {
  const answer = await exchangeWith(readFileSync(client.emulator.files.federatedToken, "utf8"));
  expect(aadsts(answer)).toBe(0);
  expect(client.emulator.requests.token.at(-1)?.credential).toBe("federated");
});

test("the token looks like one of a cluster: no typ, an audience array, a slash after the issuer", () => {
  const jws = decodeJws(issue());
  expect(jws?.header).toEqual({ alg: "RS256", kid: expect.any(String) });
  expect(jws?.payload).toMatchObject({
    aud: ["api://AzureADTokenExchange"],
    iss: expect.stringMatching(/\/$/),
    sub: "system:serviceaccount:obo-gateway:obo-gateway",
    "kubernetes.io": { namespace: "obo-gateway", serviceaccount: { name: "obo-gateway" } },
  });
});

test("the issuer's keys stand on another host than the issuer", () => {
  const { issuer, jwksUri } = client.emulator.kubernetes;
  expect(new URL(jwksUri).hostname).not.toBe(new URL(issuer).hostname);
});

describe("each mismatch has its own code", () => {
  test.each<[string, number, ServiceAccountTokenOptions]>([
    ["another namespace", 700213, { namespace: "other" }],
    ["the subject in another case", 7002138, { serviceAccount: "OBO-gateway" }],
    ["another audience", 700212, { audience: "api://AzureADTokenExchangeUSGov" }],
    ["the audience in another case", 700212, { audience: "api://azureadtokenexchange" }],
    ["a token past its exp", 700024, { expirationSeconds: 0 }],
    ["a token before its nbf", 700024, { claims: { nbf: NOON / 1000 + 60 } }],
  ])("%s (AADSTS%i)", async (_, code, options) => {
    const answer = await exchangeWith(issue(options));
    expect([answer.status, answer.body.error, aadsts(answer)]).toEqual([401, "invalid_client", code]);
  });

  test("an issuer that differs by its last slash (AADSTS700211)", async () => {
    const iss = client.emulator.kubernetes.issuer.replace(/\/$/, "");
    expect(aadsts(await exchangeWith(issue({ claims: { iss } })))).toBe(700211);
  });

  test("an application without any federated credential (AADSTS70025)", async () => {
    const credential: FederatedCredential = {
      issuer: client.emulator.kubernetes.issuer,
      subject: "system:serviceaccount:obo-gateway:obo-gateway",
      audience: "api://AzureADTokenExchange",
    };
    client.emulator.removeFederatedCredential(client.emulator.clientId, credential);
    expect(aadsts(await exchangeWith(issue()))).toBe(70025);
    client.emulator.addFederatedCredential(client.emulator.clientId, credential, { effectiveInMs: 1 });
    expect(aadsts(await exchangeWith(issue()))).toBe(70025);
    client.emulator.addFederatedCredential(client.emulator.clientId, credential);
    expect(aadsts(await exchangeWith(issue()))).toBe(0);
  });
});

describe("the issuer is asked for its own keys", () => {
  test("a changed payload is refused", async () => {
    const [header, , signature] = issue().split(".");
    const [, payload] = issue().split(".");
    expect(aadsts(await exchangeWith(`${header}.${payload}.${signature}`))).toBe(50012);
  });

  test("a new key of the cluster is found at once, a retired one is refused once keys are fetched again", async () => {
    const before = issue();
    await client.emulator.kubernetes.rollKey({ retireOld: true });
    expect(aadsts(await exchangeWith(issue()))).toBe(0);
    expect(aadsts(await exchangeWith(before))).toBe(50012);
  });

  test("keys are kept for a while, then fetched again; an unreachable issuer is AADSTS90061", async () => {
    await exchangeWith(issue());
    const fetched = client.emulator.requests.counts.kubernetes;
    await exchangeWith(issue());
    expect(client.emulator.requests.counts.kubernetes).toBe(fetched);

    client.emulator.advanceClock(10 * 60_000);
    const outage = await client.emulator.faults.refuseConnections("kubernetes");
    expect(aadsts(await exchangeWith(issue()))).toBe(90061);
    await outage.end();
    expect(aadsts(await exchangeWith(issue()))).toBe(0);
  });

  test("a discovery document that names another issuer is not trusted", async () => {
    client.emulator.advanceClock(10 * 60_000);
    const fault = client.emulator.faults.inject({
      endpoint: "kubernetes-discovery",
      behaviour: { kind: "patch", set: { issuer: "https://elsewhere.example/" } },
    });
    expect(aadsts(await exchangeWith(issue()))).toBe(90061);
    fault.remove();
  });
});

describe("Entra itself as issuer, for a managed identity as credential", () => {
  const identity = "4a8e2c6d-7b1f-4e39-a5c0-8d2f6b9e1a77";
  const identityToken = (claims: Record<string, unknown> = {}) =>
    client.emulator.mintUserToken({
      appOnly: true,
      audience: "api://AzureADTokenExchange",
      claims: { oid: identity, sub: identity, ...claims },
    });

  test("an app-only token is accepted, a user's is AADSTS700229", async () => {
    client.emulator.addFederatedCredential(client.emulator.clientId, {
      issuer: `${client.emulator.authorityHost}${client.emulator.tenantId}/v2.0`,
      subject: identity,
      audience: "api://AzureADTokenExchange",
    });
    expect(aadsts(await exchangeWith(identityToken()))).toBe(0);
    expect(aadsts(await exchangeWith(identityToken({ scp: "access_as_user" })))).toBe(700229);
  });
});
