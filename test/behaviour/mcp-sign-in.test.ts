/** MCP clients sign in through the gateway: documents, endpoints and challenges, by hand. */

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import type { Person } from "../emulator/person.ts";
import { freePort } from "../support/free-port.ts";
import { startTestGateway, TEST_YAML } from "../support/gateway.ts";
import {
  authorizeRequest,
  callTool,
  KNOWN_CLIENT,
  locationOf,
  type McpGateway,
  OTHER_CLIENT,
  personAtEmulator,
  postForm,
  REDIRECT,
  readAnswer,
  scopeOf,
  signIn,
  startMcpGateway,
  startMcpServer,
  type TestMcpServer,
} from "../support/mcp.ts";

let emulator: Emulator;
let server: TestMcpServer;
let gateway: McpGateway;
let person: Person & { close(): Promise<void> };
let clock = Date.now();

beforeAll(async () => {
  [emulator, server] = await Promise.all([startEmulator({ now: () => clock }), startMcpServer()]);
  gateway = await startMcpGateway({ emulator, server, now: () => clock });
  person = personAtEmulator(emulator);
});
afterAll(async () => {
  await person.close();
  await gateway.stop();
  await Promise.all([server.close(), emulator.close()]);
});
beforeEach(() => {
  emulator.clearRefusals();
  // Each test is in a minute of its own, so that none meets the handles of another.
  clock += 61_000;
});

const qualified = () => `api://${emulator.clientId}/access_as_user`;
const getJson = async (path: string, headers: Record<string, string> = {}) =>
  await readAnswer(await fetch(gateway.url + path, { headers }));

describe("documents", () => {
  test("each MCP route has one of its own, with its address and its scopes alone", async () => {
    const { status, body, headers } = await getJson("/.well-known/oauth-protected-resource/mcp");
    expect(status).toBe(200);
    expect(body).toEqual({
      resource: `${gateway.publicUrl}/mcp`,
      authorization_servers: [gateway.publicUrl],
      scopes_supported: [qualified()],
      bearer_methods_supported: ["header"],
    });
    expect(headers.get("access-control-allow-origin")).toBe("*");
    expect(headers.get("cross-origin-resource-policy")).toBe("cross-origin");
    const admin = await getJson("/.well-known/oauth-protected-resource/admin");
    expect(admin.body.scopes_supported).toEqual(
      ["admin.read", "admin.write"].map((scope) => `api://${emulator.clientId}/${scope}`),
    );
  });

  test("a route that is none of an MCP server has none, and the gateway's own stays as it was", async () => {
    expect((await getJson("/.well-known/oauth-protected-resource/plain")).status).toBe(404);
    const { body } = await getJson("/.well-known/oauth-protected-resource");
    expect(body.authorization_servers).toEqual([`${emulator.authorityHost}${emulator.tenantId}/v2.0`]);
  });

  test.each(["oauth-authorization-server", "openid-configuration"])(
    "%s names the endpoints of the gateway",
    async (name) => {
      const { status, body, headers } = await getJson(`/.well-known/${name}`);
      expect(status).toBe(200);
      expect(headers.get("access-control-allow-origin")).toBe("*");
      expect(body).toMatchObject({
        issuer: gateway.publicUrl,
        authorization_endpoint: `${gateway.publicUrl}/oauth2/authorize`,
        token_endpoint: `${gateway.publicUrl}/oauth2/token`,
        registration_endpoint: `${gateway.publicUrl}/oauth2/register`,
        code_challenge_methods_supported: ["S256"],
        token_endpoint_auth_methods_supported: ["none"],
        client_id_metadata_document_supported: true,
      });
      expect(JSON.stringify(body)).not.toContain("offline_access");
    },
  );

  test("a browser may ask beforehand with the field that SDKs send", async () => {
    const response = await fetch(`${gateway.url}/.well-known/oauth-authorization-server`, {
      method: "OPTIONS",
      headers: {
        origin: "https://anywhere.example",
        "access-control-request-headers": "mcp-protocol-version",
      },
    });
    expect(response.status).toBe(204);
    expect(response.headers.get("access-control-allow-headers")).toMatch(/mcp-protocol-version/);
  });

  test("another method is refused with the ones that there are", async () => {
    const { status, headers } = await readAnswer(
      await fetch(`${gateway.url}/.well-known/oauth-authorization-server`, { method: "POST" }),
    );
    expect([status, headers.get("allow")]).toEqual([405, "GET, HEAD"]);
    const authorize = await readAnswer(await fetch(`${gateway.url}/oauth2/authorize`, { method: "POST" }));
    expect([authorize.status, authorize.headers.get("allow")]).toEqual([405, "GET"]);
    expect((await getJson("/oauth2/token")).status).toBe(405);
  });
});

describe("sign-in", () => {
  test("the browser goes to Entra with what Entra takes, and nothing of what it refuses", async () => {
    const { url } = authorizeRequest(gateway, emulator, {
      resource: `${gateway.publicUrl}/mcp`,
      scope: `access_as_user openid offline_access https://graph.microsoft.com/Mail.Read`,
      prompt: "consent",
      claims: '{"access_token":{}}',
      login_hint: "ada@home.example",
    });
    const { location } = await locationOf(url);
    expect(`${location?.origin}${location?.pathname}`).toBe(
      `${emulator.authorityHost}${emulator.tenantId}/oauth2/v2.0/authorize`,
    );
    expect(Object.fromEntries(location?.searchParams ?? [])).toEqual({
      client_id: emulator.publicClientId,
      response_type: "code",
      scope: `${qualified()} openid profile offline_access`,
      redirect_uri: REDIRECT,
      state: "as-sent",
      login_hint: "ada@home.example",
      code_challenge: url.searchParams.get("code_challenge"),
      code_challenge_method: "S256",
    });
  });

  test("a client that is known by URL signs in as the registered one, and its tools answer", async () => {
    const { status, tokens, body } = await signIn(gateway, emulator, person, {
      changes: { client_id: KNOWN_CLIENT, resource: `${gateway.publicUrl}/mcp` },
      redeem: { resource: `${gateway.publicUrl}/mcp` },
    });
    expect(status).toBe(200);
    expect(body.id_token).toBeUndefined();
    const called = await callTool(gateway, "/mcp", tokens.access_token);
    expect(called.status).toBe(200);
    expect(server.calls.at(-1)?.audience).toBe(emulator.ordersApi.clientId);
  });

  test("the refresh token is wrapped, and renews with the scope that it was for", async () => {
    const { tokens } = await signIn(gateway, emulator, person);
    expect(tokens).toMatchObject({ token_type: "Bearer" });
    expect(tokens.refresh_token).toMatch(/^obo1\./);
    const renewed = await postForm(`${gateway.url}/oauth2/token`, {
      grant_type: "refresh_token",
      client_id: emulator.publicClientId,
      refresh_token: tokens.refresh_token,
      resource: `${gateway.publicUrl}/mcp`,
    });
    expect(renewed.status).toBe(200);
    expect(renewed.body.scope).toBe(qualified());
    expect(renewed.body.refresh_token).toMatch(/^obo1\./);
    expect((await callTool(gateway, "/mcp", String(renewed.body.access_token))).status).toBe(200);
  });

  test("Entra's refusal, its status and Retry-After pass", async () => {
    const { url, redeem } = authorizeRequest(gateway, emulator);
    const { location } = await locationOf(url);
    const { answer } = await person.signIn(String(location), { user: "ada" });
    emulator.refuse({
      code: 90055,
      grant: "authorization-code",
      times: 1,
      status: 429,
      retryAfterSeconds: 17,
    });
    const refused = await postForm(`${gateway.url}/oauth2/token`, { ...redeem, code: answer.code });
    expect(refused.status).toBe(429);
    expect(refused.headers.get("retry-after")).toBe("17");
    expect(refused.body.error_codes).toEqual([90055]);
    const wrong = await postForm(`${gateway.url}/oauth2/token`, {
      ...redeem,
      code: answer.code,
      code_verifier: "w".repeat(43),
    });
    expect([wrong.status, wrong.body.error]).toEqual([400, "invalid_grant"]);
  });

  test("registration gives every client the one client id, and keeps nothing", async () => {
    const response = await fetch(`${gateway.url}/oauth2/register`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        redirect_uris: ["http://localhost:4000/callback", "http://127.0.0.1:33418/"],
        grant_types: ["authorization_code", "refresh_token"],
        response_types: ["code"],
        token_endpoint_auth_method: "client_secret_post",
        client_name: "An agent",
        jwks_uri: "http://169.254.169.254/",
      }),
    });
    expect(response.status).toBe(201);
    expect(await response.json()).toEqual({
      client_id: emulator.publicClientId,
      client_id_issued_at: Math.floor(clock / 1000),
      redirect_uris: ["http://localhost:4000/callback", "http://127.0.0.1:33418/"],
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
      token_endpoint_auth_method: "none",
      client_name: "An agent",
    });
  });

  test("a client with redirect URIs of its own has those alone", async () => {
    const mine = authorizeRequest(gateway, emulator, {
      client_id: OTHER_CLIENT,
      redirect_uri: "https://vscode.dev/redirect",
    });
    expect((await locationOf(mine.url)).location?.searchParams.get("redirect_uri")).toBe(
      "https://vscode.dev/redirect",
    );
    for (const [client_id, redirect_uri] of [
      [OTHER_CLIENT, REDIRECT],
      [KNOWN_CLIENT, "https://vscode.dev/redirect"],
    ]) {
      const { answer } = await locationOf(
        authorizeRequest(gateway, emulator, { client_id, redirect_uri }).url,
      );
      expect([answer.status, answer.body.error]).toEqual([400, "invalid_request"]);
    }
  });
});

describe("challenges", () => {
  const metadata = (path: string) =>
    `resource_metadata="${gateway.publicUrl}/.well-known/oauth-protected-resource${path}"`;

  test("of an MCP route name its own scopes, qualified, and its own document", async () => {
    const missing = await callTool(gateway, "/mcp", undefined);
    expect([missing.status, missing.headers.get("www-authenticate")]).toEqual([
      401,
      `Bearer scope="${qualified()}", ${metadata("/mcp")}`,
    ]);
    const rejected = await callTool(gateway, "/mcp", "no-token");
    expect([rejected.status, rejected.headers.get("www-authenticate")]).toEqual([
      401,
      `Bearer error="invalid_token", error_description="The access token was not accepted", scope="${qualified()}", ${metadata("/mcp")}`,
    ]);
    const insufficient = await callTool(gateway, "/admin", emulator.mintUserToken({ user: "ada" }));
    expect([insufficient.status, insufficient.headers.get("www-authenticate")]).toEqual([
      403,
      `Bearer error="insufficient_scope", scope="api://${emulator.clientId}/admin.read api://${emulator.clientId}/admin.write", ${metadata("/admin")}`,
    ]);
  });

  test("of other routes are as without mcp", async () => {
    const own = metadata("");
    const missing = await callTool(gateway, "/plain", undefined);
    expect(missing.headers.get("www-authenticate")).toBe(`Bearer ${own}`);
    const token = emulator.mintUserToken({ user: "ada", clientId: emulator.publicClientId });
    const insufficient = await callTool(gateway, "/plain-admin", token);
    expect(insufficient.headers.get("www-authenticate")).toBe(
      `Bearer error="insufficient_scope", scope="admin.read", ${own}`,
    );
    const stepUp = await callTool(gateway, "/plain-step-up", token);
    expect([stepUp.status, stepUp.body.code]).toEqual([401, "interaction_required"]);
    expect(scopeOf(stepUp)).toBe("");
    emulator.requireMfa("ada");
    const mfa = await callTool(gateway, "/plain", token);
    expect([mfa.status, mfa.body.code]).toEqual([401, "interaction_required"]);
    expect(typeof mfa.body.claims).toBe("string");
  });
});

test("without mcp none of it exists, and a route of an MCP server answers as any other", async () => {
  const url = `http://127.0.0.1:${await freePort()}`;
  const plain = await startTestGateway({
    emulator,
    now: () => clock,
    yaml: TEST_YAML.replace("  - path: /graph\n", "  - path: /graph\n    mcp: true\n").replace(
      "http:\n",
      `http:\n  publicUrl: ${url}\n`,
    ),
  });
  try {
    for (const path of [
      "/.well-known/oauth-authorization-server",
      "/.well-known/openid-configuration",
      "/.well-known/oauth-protected-resource/graph",
      "/oauth2/authorize",
      "/oauth2/token",
      "/oauth2/register",
    ])
      expect([path, (await plain.get(path)).status]).toEqual([path, 404]);
    const missing = await plain.get("/graph/me");
    expect(missing.headers["www-authenticate"]).toBe(
      `Bearer resource_metadata="${url}/.well-known/oauth-protected-resource"`,
    );
    emulator.requireMfa("grace");
    const demanded = await plain.get("/graph/me", emulator.mintUserToken({ user: "grace" }));
    expect([demanded.status, demanded.body.code]).toEqual([401, "interaction_required"]);
  } finally {
    await plain.stop();
  }
});

test("each request to the bridge has its line, with the reason of a refusal and without what it carried", async () => {
  const ask = (path: string, id: string, init: RequestInit = {}) =>
    fetch(gateway.url + path, { ...init, headers: { ...init.headers, "x-correlation-id": id } });
  await ask("/oauth2/authorize?client_id=https://evil.example/secret-path", "refused-authorize");
  await ask("/oauth2/token", "refused-token", {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "refresh_token",
      client_id: emulator.publicClientId,
      refresh_token: "obo1.a-secret-token",
    }),
  });
  expect(await gateway.line("refused-authorize")).toMatchObject({
    route: "/oauth2/authorize",
    status: 400,
    granted: false,
    code: "request_malformed",
    reason: "client_unknown",
  });
  expect(await gateway.line("refused-token")).toMatchObject({
    route: "/oauth2/token",
    status: 400,
    code: "token_rejected",
    reason: "refresh_token",
  });
  const all = JSON.stringify(gateway.logs);
  for (const secret of ["secret-path", "a-secret-token", "urn:obo-gateway:claims:"])
    expect(all).not.toContain(secret);
});
