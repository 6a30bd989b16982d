import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { decodeJws, isSignedBy } from "./jws.ts";
import { aadsts, type Client, GRAPH_DEFAULT, NOON, startClient } from "./support.ts";

let client: Client;
beforeAll(async () => {
  client = await startClient();
});
afterAll(() => client.close());

const CORRELATION = "0b5c7f8e-3f0e-4c36-8d0f-2b6a4f5e9c11";
const CP1 = JSON.stringify({ access_token: { xms_cc: { values: ["cp1"] } } });

describe("an issued token", () => {
  test("comes with numbers, the granted scopes by full name, and headers that forbid storing", async () => {
    const { status, headers, body } = await client.exchange();
    expect(status).toBe(200);
    expect(body).toMatchObject({ token_type: "Bearer", expires_in: 4500, ext_expires_in: 4500 });
    expect(String(body.scope).split(" ")).toEqual(
      expect.arrayContaining(["https://graph.microsoft.com/User.Read", GRAPH_DEFAULT]),
    );
    expect(headers.get("cache-control")).toBe("no-store, no-cache");
    expect(headers.get("x-ms-request-id")).toMatch(/^[0-9a-f-]{36}$/);
    expect(headers.get("x-ms-clitelem")).toMatch(/^1,0,0,/);
    expect(headers.getSetCookie()).toHaveLength(3);
  });

  test("has a refresh token, an ID token and client info only when they were asked for", async () => {
    const plain = (await client.exchange()).body;
    expect(Object.keys(plain).sort()).toEqual([
      "access_token",
      "expires_in",
      "ext_expires_in",
      "scope",
      "token_type",
    ]);
    const { body } = await client.exchange({
      scope: `${GRAPH_DEFAULT} openid profile offline_access`,
      client_info: "1",
    });
    expect(body.refresh_token).toEqual(expect.any(String));
    expect(decodeJws(String(body.id_token))?.payload).toMatchObject({
      aud: client.emulator.clientId,
      ver: "2.0",
    });
    expect(JSON.parse(Buffer.from(String(body.client_info), "base64url").toString())).toEqual({
      uid: client.emulator.users.ada.objectId,
      utid: client.emulator.tenantId,
    });
  });

  test("lives long and says so when the client declared cp1", async () => {
    const { body } = await client.exchange({ claims: CP1 });
    expect(body.expires_in).toBe(86_399);
    expect(decodeJws(String(body.access_token))?.payload.xms_cc).toEqual(["CP1"]);
  });

  test("for Graph is of version 1, speaks for the user, and nobody but Graph can verify it", async () => {
    const token = String((await client.exchange()).body.access_token);
    const jws = decodeJws(token);
    expect(jws?.header).toMatchObject({ typ: "JWT", alg: "RS256", nonce: expect.any(String) });
    expect(jws?.payload).toMatchObject({
      aud: "https://graph.microsoft.com",
      iss: `https://sts.windows.net/${client.emulator.tenantId}/`,
      appid: client.emulator.clientId,
      appidacr: "2",
      oid: client.emulator.users.ada.objectId,
      tid: client.emulator.tenantId,
      ver: "1.0",
      iat: NOON / 1000,
      exp: NOON / 1000 + 4500,
    });
    const key = client.emulator.publicKey(String(jws?.header.kid));
    expect(jws !== undefined && isSignedBy(jws, key, ["RS256"])).toBe(false);
  });

  test("for another API is of version 2 with that API's client id as audience", async () => {
    const { ordersApi } = client.emulator;
    const { body } = await client.exchange({ scope: `api://${ordersApi.clientId}/orders.read` });
    expect(body.scope).toBe(`api://${ordersApi.clientId}/orders.read`);
    const jws = decodeJws(String(body.access_token));
    expect(jws?.payload).toMatchObject({ aud: ordersApi.clientId, ver: "2.0", scp: "orders.read" });
    const key = client.emulator.publicKey(String(jws?.header.kid));
    expect(jws !== undefined && isSignedBy(jws, key, ["RS256"])).toBe(true);
  });
});

describe("a refusal", () => {
  test("names its trace, correlation and time the way Entra does", async () => {
    const { headers, body } = await client.exchange(
      { client_assertion: "x.y.z" },
      { query: `?client-request-id=${CORRELATION}` },
    );
    expect(body).toEqual({
      error: "invalid_client",
      error_description: expect.stringMatching(
        /^AADSTS50012: .* Trace ID: [0-9a-f-]{36} Correlation ID: 0b5c7f8e-.* Timestamp: 2026-06-01 12:00:00Z$/,
      ),
      error_codes: [50012],
      timestamp: "2026-06-01 12:00:00Z",
      trace_id: headers.get("x-ms-request-id"),
      correlation_id: CORRELATION,
      error_uri: `${client.emulator.authorityHost}error?code=50012`,
    });
    expect(headers.get("x-ms-clitelem")).toMatch(/^1,50012,0,/);
    expect(headers.get("client-request-id")).toBeNull();
  });

  test("echoes the correlation id as a header when asked", async () => {
    const headers = { "client-request-id": CORRELATION, "return-client-request-id": "true" };
    expect((await client.exchange({}, { headers })).headers.get("client-request-id")).toBe(CORRELATION);
  });

  test("has no error_uri for the codes that come without one", async () => {
    expect((await client.exchange({ grant_type: "password" })).body).not.toHaveProperty("error_uri");
  });
});

describe("scopes", () => {
  test.each<[string, number, string]>([
    ["an unknown resource", 500011, "https://nowhere.example/.default"],
    ["the resource in another case", 500011, "https://Graph.microsoft.com/.default"],
    ["an unknown permission", 70011, "https://graph.microsoft.com/Nothing.Read"],
    [
      "two resources",
      28000,
      "https://graph.microsoft.com/User.Read api://b2d0f6e4-5a1c-4c38-9d27-3e8f4a6b1c03/orders.read",
    ],
    [".default beside another scope", 70011, `${GRAPH_DEFAULT} https://graph.microsoft.com/User.Read`],
    ["OpenID scopes alone", 70011, "openid profile offline_access"],
    ["a permission without consent", 65001, "https://graph.microsoft.com/Calendars.Read"],
  ])("%s: AADSTS%i", async (_, code, scope) => {
    expect(aadsts(await client.exchange({ scope }))).toBe(code);
  });

  test.each<[string, () => string]>([
    ["the emulator's own Graph origin", () => `${new URL(client.emulator.graphUrl).origin}/.default`],
    ["Graph with a slash at its end", () => "https://graph.microsoft.com//.default"],
    ["a name without a resource, which is Graph's", () => "User.Read"],
    ["Graph's client id", () => "00000003-0000-0000-c000-000000000000/.default"],
  ])("accepted: %s", async (_, scope) => {
    expect(aadsts(await client.exchange({ scope: scope() }))).toBe(0);
  });

  test("name everything that was granted for the resource, not only what was asked for", async () => {
    const { body } = await client.exchange({ scope: "https://graph.microsoft.com/User.Read" });
    expect(String(body.scope).split(" ")).toContain("https://graph.microsoft.com/Mail.Read");
  });
});

test("the log tells who asked for what, and holds no token", async () => {
  const { emulator } = client;
  const assertion = emulator.mintUserToken({ user: "grace" });
  await client.exchange({ assertion, claims: CP1 });
  expect(emulator.requests.token.at(-1)).toMatchObject({
    tenant: emulator.tenantId,
    clientId: emulator.clientId,
    userObjectId: emulator.users.grace.objectId,
    scopes: [GRAPH_DEFAULT],
    claims: CP1,
    credential: "certificate",
    thumbprint: emulator.clientCertificate.thumbprintSha256,
    status: 200,
    aadsts: 0,
  });
  expect(JSON.stringify(emulator.requests)).not.toContain(assertion.split(".")[2]);
});
