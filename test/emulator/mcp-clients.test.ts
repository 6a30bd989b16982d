/** What Entra is reported to do to clients of the Model Context Protocol; none of it was seen at the real service. */

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { deviceRequest, gatewayScope, personAt } from "./sign-in-requests.ts";
import { aadsts, type Client, startClient } from "./support.ts";

let client: Client;
beforeAll(async () => {
  client = await startClient();
});
afterAll(() => client.close());

const open = async (changes: Record<string, string | undefined>) =>
  (await personAt(client).signIn(deviceRequest(client.emulator, changes).url, { user: "ada" })).answer;

describe("the resource parameter", () => {
  test.each<[string, () => string]>([
    ["the address of an MCP server", () => "http://localhost:3000/mcp"],
    ["another API", () => "https://graph.microsoft.com"],
    ["nothing", () => ""],
  ])("that names %s beside the gateway's scope is AADSTS9010010, invalid_target", async (_, resource) => {
    const answer = await open({ resource: resource() });
    expect(answer).toMatchObject({
      error: "invalid_target",
      error_description: expect.stringMatching(/^AADSTS9010010: /),
      state: "as-sent",
    });
  });

  test("that names the API of the scopes is let through", async () => {
    expect((await open({ resource: `api://${client.emulator.clientId}` })).code).toBeDefined();
  });

  test("is refused at the token endpoint as well, for a code and for a refresh token", async () => {
    const { url, redeem } = deviceRequest(client.emulator);
    const resource = "http://localhost:3000/mcp";
    const codes = [];
    for (let count = 0; count < 2; count++) {
      codes.push((await personAt(client).signIn(url, { user: "ada" })).answer.code);
    }
    expect(aadsts(await client.postToken({ ...redeem, code: codes[0], resource }))).toBe(9010010);
    const { body } = await client.postToken({ ...redeem, code: codes[1] });
    const refused = await client.postToken({
      grant_type: "refresh_token",
      client_id: client.emulator.publicClientId,
      refresh_token: String(body.refresh_token),
      scope: gatewayScope(client.emulator),
      resource,
    });
    expect([refused.status, refused.body.error, aadsts(refused)]).toEqual([400, "invalid_target", 9010010]);
  });
});

describe("a client that is the API itself", () => {
  const asItself = (scope: string) => ({
    client_id: client.emulator.clientId,
    redirect_uri: "http://localhost:8080/consented",
    scope,
  });

  test("may not ask by its App ID URI: AADSTS90009", async () => {
    const answer = await open(asItself(gatewayScope(client.emulator)));
    expect(answer.error_description).toMatch(/^AADSTS90009: /);
  });

  test("may ask by its GUID", async () => {
    client.emulator.grantConsent({ scopes: ["access_as_user"], resource: client.emulator.clientId });
    expect((await open(asItself(`${client.emulator.clientId}/access_as_user`))).code).toBeDefined();
  });
});

test.each([
  ["a bare scope, which is taken for one of Graph's", "access_as_user"],
  ["a scope that the API does not expose", "api://b2d0f6e4-5a1c-4c38-9d27-3e8f4a6b1c01/mcp.read"],
])("%s is AADSTS650053", async (_, scope) => {
  const answer = await open({ scope });
  expect(answer).toMatchObject({
    error: "invalid_client",
    error_description: expect.stringMatching(/^AADSTS650053: .*does not exist on the resource/),
  });
});

test("metadata names neither PKCE methods nor a registration endpoint, and no other document exists", async () => {
  const { authorityHost, tenantId } = client.emulator;
  const base = `${authorityHost}${tenantId}`;
  const { body, headers } = await client.getJson(`${base}/v2.0/.well-known/openid-configuration`);
  expect(body).not.toHaveProperty("code_challenge_methods_supported");
  expect(body).not.toHaveProperty("registration_endpoint");
  expect(body).not.toHaveProperty("client_id_metadata_document_supported");
  expect(body).toMatchObject({
    authorization_endpoint: `${base}/oauth2/v2.0/authorize`,
    token_endpoint: `${base}/oauth2/v2.0/token`,
    end_session_endpoint: `${base}/oauth2/v2.0/logout`,
    response_modes_supported: ["query", "fragment", "form_post"],
  });
  // Browser clients read it from any origin.
  expect(headers.get("access-control-allow-origin")).toBe("*");
  for (const path of [
    `${authorityHost}.well-known/oauth-authorization-server/${tenantId}/v2.0`,
    `${base}/v2.0/.well-known/oauth-authorization-server`,
  ]) {
    expect((await client.getJson(path)).status).toBe(404);
  }
  const registration = await client.fetch(`${base}/oauth2/v2.0/register`, { method: "POST", body: "{}" });
  expect(registration.status).toBe(404);
});

test("a client id that is an address of a metadata document is refused on a page", async () => {
  const { pages } = await personAt(client).open(
    deviceRequest(client.emulator, { client_id: "https://client.example/mcp.json" }).url,
  );
  expect(pages[0]?.fault).toMatch(/^AADSTS700016: /);
});
