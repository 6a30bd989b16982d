/** Which requests reach the local API: no page, no other name, no body without end, and no token that is not configured. */

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { startTestGateway, type TestGateway } from "../support/gateway.ts";
import { ask, bearer, LOCAL_YAML } from "./support.ts";

let emulator: Emulator;
let gateway: TestGateway;
let token: string;

beforeAll(async () => {
  emulator = await startEmulator();
  gateway = await startTestGateway({ emulator, yaml: LOCAL_YAML, env: { LOCAL_PORT: "0" } });
  token = emulator.mintUserToken();
});
afterAll(async () => {
  await gateway.stop();
  await emulator.close();
});

const original = { "x-original-uri": "/graph/me", "x-original-method": "GET" };
const ENDPOINTS = [
  "/AuthorizationHeader/graph",
  "/Validate",
  "/healthz",
  "/openapi/v1.json",
  "/forward-auth/graph",
];

describe("the field Host", () => {
  test.each([
    "evil.example",
    "127.0.0.1.nip.io",
    "localhost.evil.example",
    "evil.example:5178",
    "localhost.",
    "127.0.0.1@evil.example",
    "10.0.0.1",
    "0.0.0.0",
    "[::]",
    "[fe80::1]",
    "app.example.evil",
    "xapp.example",
    "",
  ])("a request for %j is refused, wherever that name leads", async (host) => {
    for (const path of ENDPOINTS) {
      const answer = await ask(gateway.localUrl, path, { headers: { host, ...bearer(token), ...original } });
      expect([path, answer.status, answer.body.reason]).toEqual([path, 421, "foreign_host"]);
      expect(answer.headers.authorization).toBeUndefined();
    }
  });

  test.each([
    "localhost",
    "LOCALHOST:80",
    "127.0.0.1:5178",
    "127.8.9.1",
    "[::1]:5178",
    "app.example",
    "App.Example:443",
  ])("a request for %j is served", async (host) => {
    const answer = await ask(gateway.localUrl, "/AuthorizationHeader/graph", {
      headers: { host, ...bearer(token) },
    });
    expect(answer.status).toBe(200);
  });

  test("two of them, and none, are refused", async () => {
    const { host } = new URL(gateway.localUrl);
    const twice = await ask(gateway.localUrl, "/healthz", {
      headers: ["Host", host, "Host", "evil.example"],
    });
    expect([twice.status, twice.body.code]).toEqual([400, "request_malformed"]);
  });
});

test("a request with more than 200 fields is refused, whichever of them were dropped", async () => {
  for (const path of ENDPOINTS) {
    const { host } = new URL(gateway.localUrl);
    const many = Array.from({ length: 200 }, () => ["a", ""]).flat();
    const answer = await ask(gateway.localUrl, path, {
      headers: ["Host", host, ...many, "Authorization", `Bearer ${token}`],
    });
    expect([path, answer.status, answer.body.code]).toEqual([path, 431, "request_malformed"]);
  }
});

describe("a browser", () => {
  test.each([
    ["Origin of a page", { origin: "https://evil.example" }],
    ["Origin of this listener itself", { origin: "http://localhost" }],
    ["Origin null", { origin: "null" }],
    ["an empty Origin", { origin: "" }],
    ["Sec-Fetch-Site cross-site", { "sec-fetch-site": "cross-site" }],
    ["Sec-Fetch-Site none, as typed into the address bar", { "sec-fetch-site": "none" }],
  ])("%s is refused", async (_, fields) => {
    for (const path of ["/AuthorizationHeader/graph", "/Validate", "/openapi/v1.json", "/healthz"]) {
      const answer = await ask(gateway.localUrl, path, { headers: { ...bearer(token), ...fields } });
      expect([path, answer.status, answer.body.reason]).toEqual([path, 403, "browser"]);
      expect(Object.keys(answer.headers).filter((name) => name.startsWith("access-control-"))).toEqual([]);
    }
    const texas = await ask(gateway.localUrl, "/api/v1/token/exchange", {
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded", ...fields },
      body: new URLSearchParams({
        identity_provider: "entra_id",
        target: "graph",
        user_token: token,
      }).toString(),
    });
    expect([texas.status, texas.body.error]).toEqual([403, "unauthorized_client"]);
  });

  test("a preflight gets no permission, on forward-auth either", async () => {
    for (const path of ENDPOINTS) {
      const answer = await ask(gateway.localUrl, path, {
        method: "OPTIONS",
        headers: {
          origin: "https://evil.example",
          "access-control-request-method": "GET",
          "access-control-request-headers": "authorization",
        },
      });
      expect(answer.status).toBeGreaterThanOrEqual(400);
      expect(Object.keys(answer.headers).filter((name) => name.startsWith("access-control-"))).toEqual([]);
    }
  });

  test("a page's request through a proxy in front is decided like any other", async () => {
    const answer = await ask(gateway.localUrl, "/forward-auth/graph", {
      headers: {
        ...bearer(token),
        ...original,
        origin: "https://app.example",
        "sec-fetch-site": "same-site",
      },
    });
    expect(answer.status).toBe(200);
  });
});

describe("a body", () => {
  const large = "x".repeat(70_000);
  test.each([
    ["by its length", { "content-length": String(large.length) }],
    ["in chunks of no length", { "transfer-encoding": "chunked" }],
  ])("past the bound is refused %s", async (_, framing) => {
    const { port } = new URL(gateway.localUrl);
    const answer = await fetch(`${gateway.localUrl}/api/v1/token/exchange`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: "content-length" in framing ? large : new Blob([large]).stream(),
      duplex: "half",
    } as RequestInit);
    expect(port).not.toBe("");
    expect([answer.status, await answer.json()]).toMatchObject([
      413,
      { error: "invalid_request", code: "body_too_large" },
    ]);
  });

  test("for an API is bounded as well", async () => {
    const answer = await ask(gateway.localUrl, "/DownstreamApi/graph?optionsOverride.HttpMethod=POST", {
      method: "POST",
      headers: bearer(token),
      body: large,
    });
    expect([answer.status, answer.body.code]).toEqual([413, "body_too_large"]);
  });

  test("of a question to forward-auth is not read", async () => {
    const answer = await ask(gateway.localUrl, "/forward-auth/graph", {
      method: "GET",
      headers: { ...bearer(token), ...original },
      body: large,
    });
    expect(answer.status).toBe(200);
  });

  test.each([
    ["no type", undefined, "{}"],
    ["another type", "text/plain", "{}"],
    ["no JSON", "application/json", "{"],
    ["JSON that is no object", "application/json", "[]"],
    [
      "a form that names a parameter twice",
      "application/x-www-form-urlencoded",
      "target=graph&target=daemon",
    ],
    ["no provider", "application/json", '{"target":"graph"}'],
    ["another provider", "application/json", '{"identity_provider":"tokenx","target":"graph"}'],
    ["no target", "application/json", '{"identity_provider":"entra_id"}'],
    ["a target that is no text", "application/json", '{"identity_provider":"entra_id","target":["graph"]}'],
    ["no token", "application/json", '{"identity_provider":"entra_id","target":"graph"}'],
    [
      "a switch that is neither true nor false",
      "application/json",
      '{"identity_provider":"entra_id","target":"graph","user_token":"x","skip_cache":"yes"}',
    ],
    [
      "claims that are no JSON",
      "application/json",
      '{"identity_provider":"entra_id","target":"graph","user_token":"TOKEN","claims":"eyJ"}',
    ],
  ])("with %s is refused as invalid_request", async (_, type, body) => {
    const answer = await ask(gateway.localUrl, "/api/v1/token/exchange", {
      method: "POST",
      headers: type === undefined ? {} : { "content-type": type },
      body: body.replace("TOKEN", token),
    });
    expect([answer.status, answer.body.error, answer.body.code]).toEqual([
      400,
      "invalid_request",
      "request_malformed",
    ]);
  });
});

describe("an API", () => {
  test.each(["nobody", "hidden", "Graph", "gr%61ph%00", "..", "constructor", "__proto__"])(
    "%j, which is unknown or not given here, is not found",
    async (name) => {
      for (const path of ["/AuthorizationHeader", "/AuthorizationHeaderUnauthenticated", "/DownstreamApi"]) {
        const answer = await ask(gateway.localUrl, `${path}/${name}`, { headers: bearer(token) });
        expect([path, answer.status, answer.body.code]).toEqual([path, 404, "route_unknown"]);
      }
    },
  );

  test("a name with a slip of the pen is answered with the one that was meant", async () => {
    const answer = await ask(gateway.localUrl, "/AuthorizationHeader/grpah", { headers: bearer(token) });
    expect(answer.body.detail).toContain('did you mean "graph"');
  });

  test("an unknown target of Texas is an invalid target", async () => {
    for (const target of ["nobody", "hidden", "api://nobody/.default"]) {
      const answer = await ask(gateway.localUrl, "/api/v1/token/exchange", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ identity_provider: "entra_id", target, user_token: token }),
      });
      expect([answer.status, answer.body.error]).toEqual([400, "invalid_target"]);
    }
  });
});

describe("an override where none is allowed", () => {
  test.each([
    ["scopes", "optionsOverride.Scopes=https://graph.microsoft.com/Mail.Read"],
    ["scopes, in another case", "OPTIONSOVERRIDE.SCOPES=Mail.Read"],
    ["the tenant", "optionsOverride.AcquireTokenOptions.Tenant=11111111-2222-3333-4444-555555555555"],
    ["a token of the application", "optionsOverride.RequestAppToken=true"],
  ])("%s: the token is not given", async (_, query) => {
    const answer = await ask(gateway.localUrl, `/AuthorizationHeader/graph?${query}`, {
      headers: bearer(token),
    });
    expect([answer.status, answer.body.code]).toEqual([403, "target_forbidden"]);
    expect(answer.text).not.toMatch(/eyJ/);
  });

  test("a token of the application is not given without a user, by either interface", async () => {
    const sidecar = await ask(gateway.localUrl, "/AuthorizationHeaderUnauthenticated/graph");
    expect([sidecar.status, sidecar.body.reason]).toEqual([403, "application_tokens"]);
    const texas = await ask(gateway.localUrl, "/api/v1/token", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: '{"identity_provider":"entra_id","target":"graph"}',
    });
    expect([texas.status, texas.body.error]).toEqual([403, "unauthorized_client"]);
  });

  test.each([
    ["an agent's identity", "AgentIdentity=11111111-2222-3333-4444-555555555555"],
    [
      "an option of another product",
      "optionsOverride.AcquireTokenOptions.ManagedIdentity.UserAssignedClientId=x",
    ],
    ["an option twice", "optionsOverride.RequestAppToken=false&optionsOverride.RequestAppToken=true"],
    ["a switch that is neither true nor false", "optionsOverride.AcquireTokenOptions.ForceRefresh=1"],
    ["claims that are no JSON", "optionsOverride.AcquireTokenOptions.Claims=eyJ"],
    ["a tenant by its domain", "optionsOverride.AcquireTokenOptions.Tenant=contoso.example"],
    ["a path, where only a token is asked for", "optionsOverride.RelativePath=/me"],
  ])("%s is refused rather than ignored", async (_, query) => {
    const answer = await ask(gateway.localUrl, `/AuthorizationHeader/graph?${query}`, {
      headers: bearer(token),
    });
    expect([answer.status, answer.body.code]).toEqual([400, "request_malformed"]);
  });

  test("scopes of another resource are refused where scopes may differ", async () => {
    const answer = await ask(
      gateway.localUrl,
      "/AuthorizationHeader/open?optionsOverride.Scopes=https://vault.azure.net/.default",
      { headers: bearer(token) },
    );
    expect([answer.status, answer.body.reason]).toEqual([403, "override_resource"]);
  });
});

describe("paths and methods", () => {
  test.each([
    ["GET", "/"],
    ["GET", "/validate/more"],
    ["GET", "/AuthorizationHeader"],
    ["GET", "/AuthorizationHeader/graph/me"],
    ["GET", "/graph/me"],
    ["GET", "/livez"],
    ["POST", "/api/v1/token/exchange/graph"],
    ["GET", "/constructor/graph"],
  ])("%s %s is not found", async (method, path) => {
    const answer = await ask(gateway.localUrl, path, { method, headers: bearer(token) });
    expect([answer.status, answer.body.code]).toEqual([404, "route_unknown"]);
  });

  test.each([
    ["POST", "/Validate", "GET"],
    ["POST", "/AuthorizationHeader/graph", "GET"],
    ["GET", "/api/v1/token/exchange", "POST"],
    ["OPTIONS", "/DownstreamApi/graph", "GET, POST, PUT, PATCH, DELETE"],
  ])("%s %s is answered with what would have been allowed", async (method, path, allow) => {
    const answer = await ask(gateway.localUrl, path, { method, headers: bearer(token) });
    expect([answer.status, answer.body.code, answer.headers.allow]).toEqual([
      405,
      "method_not_allowed",
      allow,
    ]);
  });

  test("the public side has none of it", async () => {
    for (const path of [...ENDPOINTS, "/api/v1/introspect"]) {
      const answer = await gateway.get(path, token).set(original);
      expect([path, answer.status]).toEqual([path, 404]);
    }
  });
});
