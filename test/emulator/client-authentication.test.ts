import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { type Claims, encode } from "./jws.ts";
import { type Answer, aadsts, type Client, GRAPH_DEFAULT, NOON, startClient } from "./support.ts";

let client: Client;
beforeAll(async () => {
  client = await startClient();
});
afterAll(() => client.close());

const seconds = NOON / 1000;
const withAssertion = (changes: Parameters<Client["clientAssertion"]>[0]): Promise<Answer> =>
  client.exchange({ client_assertion: client.clientAssertion(changes) });

describe("a certificate assertion is accepted", () => {
  test("as MSAL Node makes it", async () => {
    expect(aadsts(await withAssertion({}))).toBe(0);
  });

  test("a second time with the same jti, for MSAL reuses it for ten minutes", async () => {
    const assertion = client.clientAssertion();
    await client.exchange({ client_assertion: assertion });
    expect(aadsts(await client.exchange({ client_assertion: assertion }))).toBe(0);
  });

  test.each<[string, () => Parameters<Client["clientAssertion"]>[0]]>([
    ["with nbf a second ahead", () => ({ claims: { nbf: seconds + 1 } })],
    ["with aud as an array", () => ({ claims: { aud: [tokenEndpoint()] } })],
    ["with the tenant's issuer as aud", () => ({ claims: { aud: issuer() } })],
    [
      "with the tenant in capitals",
      () => ({ claims: { aud: tokenEndpoint(client.emulator.tenantId.toUpperCase()) } }),
    ],
    ["with an exp far ahead", () => ({ claims: { exp: seconds + 86_400 } })],
    [
      "under RS256 with a padded SHA-1 thumbprint",
      () => ({ header: { alg: "RS256", "x5t#S256": undefined, x5t: sha1Padded() } }),
    ],
    ["with PEM newlines inside x5c", () => ({ header: { x5c: [leafBase64().replace(/.{64}/g, "$&\n")] } })],
  ])("%s", async (_, changes) => {
    expect(aadsts(await withAssertion(changes()))).toBe(0);
  });
});

describe("a certificate assertion is refused", () => {
  test.each<[string, number, () => Parameters<Client["clientAssertion"]>[0]]>([
    ["whose thumbprint nobody registered", 700027, () => ({ header: { "x5t#S256": "A".repeat(43) } })],
    ["whose x5c is another certificate", 700027, () => ({ header: { x5c: ["AAAA"] } })],
    ["that names another algorithm than it was signed with", 700027, () => ({ header: { alg: "ES256" } })],
    [
      "for another tenant's endpoint",
      700023,
      () => ({ claims: { aud: tokenEndpoint(client.emulator.secondTenant.id) } }),
    ],
    [
      "for the production endpoint, when it is sent elsewhere",
      700023,
      () => ({
        claims: { aud: `https://login.microsoftonline.com/${client.emulator.tenantId}/oauth2/v2.0/token` },
      }),
    ],
    [
      "for the v1 endpoint of the tenant",
      700023,
      () => ({ claims: { aud: `${client.emulator.authorityHost}${client.emulator.tenantId}/oauth2/token` } }),
    ],
    ["without aud", 700023, () => ({ claims: { aud: undefined } })],
    ["whose sub is not its iss", 50048, () => ({ claims: { sub: client.emulator.frontEndClientId } })],
    [
      "of another application",
      700021,
      () => ({ claims: { iss: client.emulator.frontEndClientId, sub: client.emulator.frontEndClientId } }),
    ],
    ["at the second of its exp", 700024, () => ({ claims: { exp: seconds } })],
    ["without exp", 700024, () => ({ claims: { exp: undefined } })],
    ["a minute before its nbf", 700024, () => ({ claims: { nbf: seconds + 60 } })],
  ])("%s (AADSTS%i)", async (_, code, changes) => {
    const answer = await withAssertion(changes());
    expect([answer.status, answer.body.error, aadsts(answer)]).toEqual([401, "invalid_client", code]);
  });

  test("signed by a key other than the one it names", async () => {
    const other = await client.emulator.issueClientCertificate();
    const { thumbprintSha256 } = client.emulator.clientCertificate;
    expect(aadsts(await withAssertion({ certificate: { ...other, thumbprintSha256 } }))).toBe(700027);
  });

  test("outside the certificate's own validity", async () => {
    const expired = await client.emulator.issueClientCertificate({ notAfter: NOON - 1000 });
    client.emulator.registerCertificate(client.emulator.clientId, expired);
    expect(aadsts(await withAssertion({ certificate: expired }))).toBe(1000502);
  });

  test("after the certificate was taken out of the registration", async () => {
    const other = await client.emulator.issueClientCertificate();
    client.emulator.registerCertificate(client.emulator.clientId, other);
    expect(aadsts(await withAssertion({ certificate: other }))).toBe(0);
    client.emulator.revokeCertificate(client.emulator.clientId, other);
    expect(aadsts(await withAssertion({ certificate: other }))).toBe(700027);
  });

  test("when it is no JWT at all", async () => {
    expect(aadsts(await client.exchange({ client_assertion: "no.jwt" }))).toBe(50012);
  });
});

describe("a client secret", () => {
  const withSecret = (secret: string | undefined, headers: Record<string, string> = {}) =>
    client.exchange({ client_assertion: undefined, client_secret: secret }, { headers });
  const basic = (secret: string, id = client.emulator.clientId) => ({
    authorization: `Basic ${Buffer.from(`${id}:${encodeURIComponent(secret)}`).toString("base64")}`,
  });

  test("is accepted in the body and by Basic authentication", async () => {
    const secret = client.emulator.addClientSecret(client.emulator.clientId, { value: "s~ecret+/%" });
    expect(aadsts(await withSecret(secret))).toBe(0);
    expect(aadsts(await withSecret(undefined, basic(secret)))).toBe(0);
    expect(client.emulator.requests.token.slice(-2).map(({ credential }) => credential)).toEqual([
      "secret-in-body",
      "secret-basic",
    ]);
  });

  test("is refused when wrong, expired or missing", async () => {
    const expired = client.emulator.addClientSecret(client.emulator.clientId, { expiresAt: NOON });
    expect(aadsts(await withSecret("wrong"))).toBe(7000215);
    expect(aadsts(await withSecret(undefined, basic("wrong")))).toBe(7000215);
    expect(aadsts(await withSecret(expired))).toBe(7000222);
    expect(aadsts(await withSecret(undefined))).toBe(7000218);
  });
});

describe("the request itself", () => {
  test.each<[string, number, Record<string, string | undefined>]>([
    ["without grant_type", 900144, { grant_type: undefined }],
    ["with an unknown grant type", 70003, { grant_type: "password" }],
    ["without client_id", 900144, { client_id: undefined }],
    ["without scope", 900144, { scope: undefined }],
    ["without assertion", 900144, { assertion: undefined }],
    ["without requested_token_use", 900144, { requested_token_use: undefined }],
    ["with a client id that is no GUID", 700038, { client_id: "obo-gateway" }],
    ["of an unknown application", 700016, { client_id: "00000000-0000-0000-0000-000000000001" }],
    ["with claims that are no JSON object", 900144, { claims: "[1]" }],
  ])("is refused %s (AADSTS%i)", async (_, code, form) => {
    const answer = await client.exchange(form);
    expect([answer.status, aadsts(answer)]).toEqual([400, code]);
  });

  test.each<[string, number, () => string]>([
    ["an unknown tenant", 90002, () => "6f1c3b52-90a7-4d5e-8f0b-0d6f2c1a7eff"],
    ["a tenant where the gateway is not onboarded", 700016, () => client.emulator.foreignTenant.id],
    ["the common endpoint", 9001023, () => "common"],
  ])("is refused for %s (AADSTS%i)", async (_, code, tenant) => {
    const answer = await client.exchange({}, { tenant: tenant() });
    expect([answer.status, aadsts(answer)]).toEqual([400, code]);
  });

  test("is refused when a parameter stands twice", async () => {
    const body = `grant_type=${encodeURIComponent("urn:ietf:params:oauth:grant-type:jwt-bearer")}&scope=a&scope=b`;
    const url = `${client.emulator.authorityHost}${client.emulator.tenantId}/oauth2/v2.0/token`;
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    const answer = (await (await client.fetch(url, { method: "POST", body, headers })).json()) as Claims;
    expect(answer.error_codes).toEqual([9000411]);
  });

  test("may carry unknown query parameters and a tenant in capitals or by its domain", async () => {
    const query = "?client-request-id=x&x-client-SKU=msal.js.node";
    expect(aadsts(await client.exchange({}, { query, tenant: client.emulator.tenantId.toUpperCase() }))).toBe(
      0,
    );
    expect(aadsts(await client.exchange({}, { tenant: client.emulator.homeTenant.domain }))).toBe(0);
  });

  test("for client credentials is answered without a scope member and with an app-only token", async () => {
    const form = { grant_type: "client_credentials", assertion: undefined, requested_token_use: undefined };
    const answer = await client.exchange({ ...form, scope: GRAPH_DEFAULT });
    expect(Object.keys(answer.body).sort()).toEqual([
      "access_token",
      "expires_in",
      "ext_expires_in",
      "token_type",
    ]);
    expect(aadsts(await client.exchange({ ...form, scope: "https://graph.microsoft.com/User.Read" }))).toBe(
      70011,
    );
  });
});

function tokenEndpoint(tenant = client.emulator.tenantId): string {
  return `${client.emulator.authorityHost}${tenant}/oauth2/v2.0/token`;
}

function issuer(): string {
  return `${client.emulator.authorityHost}${client.emulator.tenantId}/v2.0`;
}

function sha1Padded(): string {
  const bytes = Buffer.from(client.emulator.clientCertificate.thumbprintSha1, "hex");
  return `${bytes.toString("base64url")}=`;
}

function leafBase64(): string {
  return client.emulator.clientCertificate.certificatePem.replace(/-----[^-]+-----|\s/g, "");
}

test("a header that is not signed along changes nothing", async () => {
  const [, payload, signature] = client.clientAssertion().split(".");
  const header = encode({ alg: "PS256", "x5t#S256": "other" });
  expect(aadsts(await client.exchange({ client_assertion: `${header}.${payload}.${signature}` }))).toBe(
    700027,
  );
});
