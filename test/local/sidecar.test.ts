/** The endpoints of Microsoft's sidecar: names, shapes, and refusals with their real status. */

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { Validator } from "@seriousme/openapi-schema-validator";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { startTestGateway, type TestGateway } from "../support/gateway.ts";
import { ask, bearer, claimsOf, LOCAL_YAML } from "./support.ts";

let emulator: Emulator;
let gateway: TestGateway;
const clock = { now: Date.now() };

beforeAll(async () => {
  emulator = await startEmulator({ now: () => clock.now });
  gateway = await startTestGateway({
    emulator,
    yaml: LOCAL_YAML,
    env: { LOCAL_PORT: "0", AZURE_ADDITIONALLY_ALLOWED_TENANTS: emulator.secondTenant.id },
    now: () => clock.now,
  });
});
afterAll(async () => {
  await gateway.stop();
  await emulator.close();
});
beforeEach(() => {
  emulator.requests.clear();
});
afterEach(() => {
  emulator.clearRefusals();
  emulator.faults.clear();
});

const newUser = (options = {}) => emulator.mintUserToken({ user: emulator.addUser(), ...options });
const get = (path: string, token?: string) =>
  ask(gateway.localUrl, path, { headers: token === undefined ? {} : bearer(token) });
const tokenOf = (answer: { body: { authorizationHeader: string } }) =>
  answer.body.authorizationHeader.replace(/^Bearer /, "");
/** For users: the first trial of the credential may come late on a busy machine. */
const tokenRequests = () => emulator.requests.token.filter((one) => one.userObjectId !== undefined).length;

describe("GET /AuthorizationHeader/{apiName}", () => {
  test("gives the field for the API on the caller's behalf, and from the cache the next time", async () => {
    const user = emulator.addUser();
    const token = emulator.mintUserToken({ user });
    const first = await get("/AuthorizationHeader/graph", token);
    expect(first.status).toBe(200);
    expect(Object.keys(first.body)).toEqual(["authorizationHeader"]);
    expect(claimsOf(tokenOf(first))).toMatchObject({ oid: user.objectId, scp: expect.any(String) });
    expect(first.headers["cache-control"]).toBe("no-store");
    const second = await get("/authorizationheader/graph", token);
    expect(second.body).toEqual(first.body);
    expect(tokenRequests()).toBe(1);
  });

  test("shares its tokens with the public side", async () => {
    const token = newUser();
    await gateway.get("/graph/me", token).expect(200);
    emulator.requests.clear();
    expect((await get("/AuthorizationHeader/graph", token)).status).toBe(200);
    expect(tokenRequests()).toBe(0);
  });

  test("takes scopes of the same resource where they may differ, qualified or not", async () => {
    const token = newUser();
    const answer = await get(
      "/AuthorizationHeader/open?optionsOverride.Scopes=Mail.Read&optionsOverride.Scopes=https://graph.microsoft.com/User.Read",
      token,
    );
    expect(answer.status).toBe(200);
    expect(emulator.requests.token.at(-1)?.scopes).toEqual(
      expect.arrayContaining([
        "https://graph.microsoft.com/Mail.Read",
        "https://graph.microsoft.com/User.Read",
      ]),
    );
  });

  test("takes an override that says what is configured", async () => {
    const token = newUser();
    const query = `optionsOverride.Scopes=https://graph.microsoft.com/.default&optionsOverride.AcquireTokenOptions.Tenant=${emulator.tenantId}&optionsOverride.RequestAppToken=false`;
    expect((await get(`/AuthorizationHeader/graph?${query}`, token)).status).toBe(200);
  });

  test("names the request as the caller asks", async () => {
    const answer = await get(
      "/AuthorizationHeader/graph?optionsOverride.AcquireTokenOptions.CorrelationId=asked-for",
      newUser(),
    );
    expect(answer.headers["x-correlation-id"]).toBe("asked-for");
    expect(await gateway.line("asked-for")).toMatchObject({
      route: "/AuthorizationHeader/graph",
      via: "sidecar",
      tokenOrigin: "authority",
    });
  });

  test("is audited with the interface that the token was given by", async () => {
    const token = newUser();
    const { headers } = await get("/AuthorizationHeader/graph", token);
    const id = headers["x-correlation-id"];
    expect(gateway.logs.find((line) => line.stream === "audit" && line.correlationId === id)).toMatchObject({
      event: "exchange_granted",
      via: "sidecar",
    });
    await gateway.get("/graph/me", newUser()).set("x-correlation-id", "public-one").expect(200);
    const audited = gateway.logs.find(
      (line) => line.stream === "audit" && line.correlationId === "public-one",
    );
    expect(audited).toMatchObject({ event: "exchange_granted" });
    expect(audited).not.toHaveProperty("via");
  });

  test("applies the API's own rules to the caller", async () => {
    const refused = await get("/AuthorizationHeader/narrow", newUser());
    expect([refused.status, refused.body.code]).toEqual([403, "scope_insufficient"]);
    expect(refused.headers["www-authenticate"]).toContain('error="insufficient_scope", scope="admin.read"');
    expect((await get("/AuthorizationHeader/narrow", newUser({ scopes: ["admin.read"] }))).status).toBe(200);
  });
});

describe("a request with a Delegation field", () => {
  test.each<[string, string, string, Record<string, unknown> | undefined]>([
    ["the application's field", "GET", "/AuthorizationHeaderUnauthenticated/daemon", undefined],
    ["a call as the application", "GET", "/DownstreamApiUnauthenticated/daemon", undefined],
    ["the application's token", "POST", "/api/v1/token", { target: "daemon" }],
    ["an exchange", "POST", "/api/v1/token/exchange", { target: "graph", user_token: "any" }],
  ])(
    "gets nothing for which it asks at %s: no token of the gateway is the user's",
    async (_, method, path, body) => {
      const answer = await ask(gateway.localUrl, path, {
        method,
        headers: { delegation: "any", ...(body && { "content-type": "application/json" }) },
        ...(body && { body: JSON.stringify({ identity_provider: "entra_id", ...body }) }),
      });
      expect(answer.body).toMatchObject({
        status: 403,
        code: "target_forbidden",
        reason: "delegation_not_here",
      });
      expect(tokenRequests()).toBe(0);
    },
  );
});

describe("ForceRefresh", () => {
  test("asks Entra once in 30 seconds for one assertion, and gives that token in between", async () => {
    const token = newUser();
    const forced = "/AuthorizationHeader/graph?optionsOverride.AcquireTokenOptions.ForceRefresh=true";
    const cached = await get("/AuthorizationHeader/graph", token);
    clock.now += 1_000;
    const fresh = await get(forced, token);
    expect(tokenOf(fresh)).not.toBe(tokenOf(cached));
    for (const path of [forced, forced, "/AuthorizationHeader/graph"])
      expect((await get(path, token)).body).toEqual(fresh.body);
    expect(tokenRequests()).toBe(2);
    clock.now += 30_000;
    expect(tokenOf(await get(forced, token))).not.toBe(tokenOf(fresh));
    expect(tokenRequests()).toBe(3);
  });

  test("is counted across APIs and scopes, which a caller could vary without end", async () => {
    const token = newUser();
    const forced = "optionsOverride.AcquireTokenOptions.ForceRefresh=true";
    await get("/AuthorizationHeader/open", token);
    await get(`/AuthorizationHeader/graph?${forced}`, token);
    const before = tokenRequests();
    await get(`/AuthorizationHeader/open?${forced}`, token);
    expect(tokenRequests()).toBe(before);
  });

  test("of one user does not count for another", async () => {
    const forced = "/AuthorizationHeader/graph?optionsOverride.AcquireTokenOptions.ForceRefresh=true";
    for (const token of [newUser(), newUser()]) expect((await get(forced, token)).status).toBe(200);
    expect(tokenRequests()).toBe(2);
  });
});

describe("claims of a challenge", () => {
  const claims = (value: string) =>
    `optionsOverride.AcquireTokenOptions.Claims=${encodeURIComponent(JSON.stringify({ access_token: { acrs: { essential: true, value } } }))}`;

  test("go to Entra once; the token that met them serves the same claims again, and others wait", async () => {
    const token = newUser({ capabilities: ["cp1"], claims: { acrs: ["c1", "c2"] } });
    const first = await get(`/AuthorizationHeader/graph?${claims("c1")}`, token);
    expect(first.status).toBe(200);
    expect((await get(`/AuthorizationHeader/graph?${claims("c1")}`, token)).body).toEqual(first.body);
    const other = await get(`/AuthorizationHeader/graph?${claims("c2")}`, token);
    expect([other.status, other.body.code, other.headers["retry-after"]]).toEqual([
      429,
      "rate_limited",
      "30",
    ]);
    expect(tokenRequests()).toBe(1);
  });
});

describe("GET /AuthorizationHeaderUnauthenticated/{apiName}", () => {
  test("gives the application's own token, where the API allows it", async () => {
    const answer = await get("/AuthorizationHeaderUnauthenticated/daemon");
    expect(answer.status).toBe(200);
    expect(claimsOf(tokenOf(answer))).toMatchObject({ appid: emulator.clientId, idtyp: "app" });
  });

  test("gives it in another tenant, where the tenant may differ and is one of the gateway's", async () => {
    const answer = await get(
      "/AuthorizationHeaderUnauthenticated/daemon?optionsOverride.AcquireTokenOptions.Tenant=11111111-2222-3333-4444-555555555555",
    );
    expect([answer.status, answer.body.code]).toEqual([403, "tenant_not_onboarded"]);
  });

  test("gives it in a tenant that is configured, and in none where the API does not let the tenant differ", async () => {
    const tenant = `optionsOverride.AcquireTokenOptions.Tenant=${emulator.secondTenant.id}`;
    const answer = await get(`/AuthorizationHeaderUnauthenticated/daemon?${tenant}`);
    expect(claimsOf(tokenOf(answer))).toMatchObject({ idtyp: "app", tid: emulator.secondTenant.id });
    const refused = await get(`/AuthorizationHeaderUnauthenticated/unknown-resource?${tenant}`);
    expect([refused.status, refused.body.reason]).toEqual([403, "override_not_allowed"]);
  });

  test("gives it to a caller's own request for it as well", async () => {
    const answer = await get("/AuthorizationHeader/daemon?optionsOverride.RequestAppToken=true", newUser());
    expect(claimsOf(tokenOf(answer))).toMatchObject({ idtyp: "app" });
  });

  test("puts the operator in charge of Entra's refusal", async () => {
    emulator.refuse({ code: 65001, grant: "client-credentials" });
    const answer = await get(
      "/AuthorizationHeaderUnauthenticated/daemon?optionsOverride.AcquireTokenOptions.ForceRefresh=true",
    );
    expect([answer.status, answer.body.code]).toEqual([503, "client_rejected"]);
  });
});

describe("GET /Validate", () => {
  test("gives protocol, token and claims of a genuine token", async () => {
    const token = newUser();
    const answer = await get("/Validate", token);
    expect([answer.status, answer.body]).toEqual([
      200,
      { protocol: "Bearer", token, claims: claimsOf(token) },
    ]);
  });

  test.each([
    ["none", undefined, 401, "token_missing"],
    ["a forged one", "forged", 401, "token_rejected"],
  ])("refuses %s", async (_, kind, status, code) => {
    const token = kind === "forged" ? emulator.mintUserToken({ signWith: "unpublished" }) : undefined;
    const answer = await get("/Validate", token);
    expect([answer.status, answer.body.code]).toEqual([status, code]);
    expect(answer.headers["www-authenticate"]).toMatch(/^Bearer/);
  });

  test("refuses two fields, of which one may be somebody else's", async () => {
    const answer = await ask(gateway.localUrl, "/Validate", {
      headers: ["Authorization", `Bearer ${newUser()}`, "Authorization", `Bearer ${newUser()}`],
    });
    expect([answer.status, answer.body.code]).toEqual([401, "token_rejected"]);
  });
});

describe("/DownstreamApi/{apiName}", () => {
  test("gives status, fields and content of the API's answer", async () => {
    const user = emulator.addUser();
    const token = emulator.mintUserToken({ user });
    const answer = await ask(gateway.localUrl, "/DownstreamApi/graph?optionsOverride.RelativePath=me", {
      method: "POST",
      headers: bearer(token),
    });
    expect(answer.status).toBe(200);
    expect(Object.keys(answer.body)).toEqual(["statusCode", "headers", "content"]);
    expect(answer.body.statusCode).toBe(200);
    expect(answer.body.headers["content-type"][0]).toMatch(/json/);
    expect(JSON.parse(answer.body.content)).toMatchObject({ id: user.objectId });
  });

  test("passes an API's refusal on as a result", async () => {
    const answer = await get("/DownstreamApi/graph?optionsOverride.RelativePath=/users/nobody", newUser());
    expect([answer.status, answer.body.statusCode]).toEqual([200, 404]);
  });

  test("gives what is no text in base64, and says so", async () => {
    const answer = await get(
      "/DownstreamApi/graph?optionsOverride.RelativePath=/me/photo/$value",
      emulator.mintUserToken({ user: "ada" }),
    );
    expect(answer.body).toMatchObject({ statusCode: 200, contentEncoding: "base64" });
    expect(Buffer.from(answer.body.content, "base64").subarray(0, 2).toString("hex")).toBe("8950");
  });

  test("calls no path that the API's rules leave out", async () => {
    const token = newUser({ scopes: ["admin.read"] });
    for (const path of ["/me/messages", "/me/../users", "//evil.example/", "/users"]) {
      const answer = await get(
        `/DownstreamApi/narrow?optionsOverride.RelativePath=${encodeURIComponent(path)}`,
        token,
      );
      expect([path, answer.body.code]).toEqual([path, "target_forbidden"]);
    }
    expect((await get("/DownstreamApi/narrow?optionsOverride.RelativePath=/me", token)).body.statusCode).toBe(
      200,
    );
  });

  test("answers a claims challenge of the API once by itself", async () => {
    const user = emulator.addUser();
    emulator.graph.challenge(user);
    clock.now += 2_000;
    const token = emulator.mintUserToken({ user, capabilities: ["cp1"] });
    const answer = await get("/DownstreamApi/graph?optionsOverride.RelativePath=/me", token);
    expect(answer.body.statusCode).toBe(200);
  });

  test("takes a body with a method that has one", async () => {
    const token = newUser();
    const refused = await ask(gateway.localUrl, "/DownstreamApi/graph", {
      method: "POST",
      headers: { ...bearer(token), "content-type": "application/json" },
      body: "{}",
    });
    expect([refused.status, refused.body.reason]).toEqual([400, "http_method"]);
  });
});

describe("refusals", () => {
  test.each([
    [
      "MFA of a client that declares cp1",
      { code: 50076, claims: true as const },
      ["cp1"],
      401,
      "claims_challenged",
    ],
    ["MFA of any other client", { code: 50076, claims: true as const }, [], 401, "interaction_required"],
    ["consent missing", { code: 65001 }, [], 403, "consent_required"],
    ["a policy that blocks", { code: 53003 }, [], 403, "blocked_by_policy"],
    ["throttling", { code: 50196 }, [], 503, "authority_throttled"],
    ["a certificate that is not registered", { code: 700027 }, [], 503, "client_rejected"],
  ])(
    "%s arrives with its own status, not as 401 for everything",
    async (_, refusal, capabilities, status, code) => {
      const user = emulator.addUser();
      emulator.refuse({ ...refusal, user });
      const answer = await get("/AuthorizationHeader/graph", emulator.mintUserToken({ user, capabilities }));
      expect([answer.status, answer.body.code]).toEqual([status, code]);
      expect(answer.headers["content-type"]).toBe("application/problem+json");
      if (code === "claims_challenged") {
        const [, claims = ""] = /claims="([^"]+)"/.exec(answer.headers["www-authenticate"] ?? "") ?? [];
        expect(Buffer.from(claims, "base64").toString()).toBe(answer.body.claims);
      }
      if (status === 503) expect(answer.headers["retry-after"]).toMatch(/^\d+$/);
    },
  );
});

describe("what it says of itself", () => {
  test("/healthz is healthy while the gateway is ready", async () => {
    const answer = await get("/healthz");
    expect([answer.status, answer.text]).toEqual([200, "Healthy"]);
  });

  test("/openapi/v1.json is an OpenAPI document with every endpoint, and the names of the APIs", async () => {
    const { body } = await get("/openapi/v1.json");
    expect(await new Validator().validate(body)).toMatchObject({ valid: true });
    expect(Object.keys(body.paths)).toEqual([
      "/Validate",
      "/AuthorizationHeader/{apiName}",
      "/AuthorizationHeaderUnauthenticated/{apiName}",
      "/DownstreamApi/{apiName}",
      "/DownstreamApiUnauthenticated/{apiName}",
      "/api/v1/token/exchange",
      "/api/v1/token",
      "/api/v1/introspect",
      "/healthz",
    ]);
    expect(body.paths["/AuthorizationHeader/{apiName}"].get.parameters[0].schema.enum).toEqual([
      "graph",
      "open",
      "daemon",
      "narrow",
      "unknown-resource",
    ]);
  });
});
