/** What a caller gets from a gateway that works, for both credentials and both verifiers. */

import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { codeRoute } from "../../src/http/code-route.ts";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { startTestGateway, type TestGateway } from "../support/gateway.ts";
import { yamlOf } from "../support/yaml.ts";

let emulator: Emulator;
beforeAll(async () => {
  emulator = await startEmulator();
});
afterAll(() => emulator.close());

const sha256 = (value: string | Buffer) => createHash("sha256").update(value).digest("hex");

/** What Graph received last from this user. */
function received(objectId: string) {
  const request = emulator.requests.graph.findLast(({ userObjectId }) => userObjectId === objectId);
  if (request === undefined) throw new Error("Graph has not heard of this user");
  return request;
}

describe.each([
  ["workload-identity", "passport-azure-ad"],
  ["certificate", "passport-azure-ad"],
  ["workload-identity", "jose"],
  ["certificate", "jose"],
] as const)("with %s and %s", (credential, verifier) => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await startTestGateway({ emulator, credential, env: { VERIFIER: verifier } });
  });
  afterAll(() => gateway.stop());

  test("a user's token becomes a delegated one, and Graph answers for that user", async () => {
    const answer = await gateway.get("/graph/me", emulator.mintUserToken({ user: "ada" })).expect(200);
    expect(answer.body).toMatchObject({ id: emulator.users.ada.objectId });
    const exchange = emulator.requests.token.at(-1);
    expect(exchange).toMatchObject({
      credential: credential === "certificate" ? "certificate" : "federated",
      userObjectId: emulator.users.ada.objectId,
      tenant: emulator.tenantId,
      aadsts: 0,
    });
  });

  test("the delegated token is cached for the user's token, and for nothing else", async () => {
    const [first, second] = [
      emulator.mintUserToken({ user: "ada" }),
      emulator.mintUserToken({ user: "ada" }),
    ];
    emulator.requests.clear();
    for (const token of [first, first, second, first, second])
      await gateway.get("/graph/me", token).expect(200);
    expect(emulator.requests.counts).toMatchObject({ token: 2, graph: 5 });
  });

  test("concurrent calls with one new token reach Entra once", async () => {
    const token = emulator.mintUserToken({ user: "grace" });
    emulator.requests.clear();
    const answers = await Promise.all(Array.from({ length: 25 }, () => gateway.get("/graph/me", token)));
    expect(answers.map(({ status }) => status)).toEqual(Array(25).fill(200));
    expect(emulator.requests.counts.token).toBe(1);
  });

  test("version 1 tokens are taken as well as version 2", async () => {
    await gateway.get("/graph/me", emulator.mintUserToken({ user: "ada", version: "1.0" })).expect(200);
  });

  test("many users at once each get their own answer and nobody else's", async () => {
    const users = Array.from({ length: 40 }, () => emulator.addUser());
    const tokens = users.map((user) => emulator.mintUserToken({ user }));
    const calls = Array.from({ length: 400 }, (_, index) => index % users.length);
    await Promise.all(
      calls.map(async (index) => {
        const call = gateway.get("/graph/me", tokens[index]);
        // Some callers leave again at once: what they leave behind must not reach another.
        if (index % 7 === 3) {
          call.timeout({ deadline: 1 + (index % 5) });
          await call.catch(() => {});
          return;
        }
        const { status, body } = await call;
        expect({ status, id: body.id }).toEqual({ status: 200, id: users[index]?.objectId });
      }),
    );
  });
});

describe("a call through the gateway", () => {
  let gateway: TestGateway;
  const echo = codeRoute({
    method: "get",
    path: "/api/echo/:word",
    policy: { callers: "user", requiredScopes: ["access_as_user"], requiredRoles: [], allowedClients: [] },
    uses: ["graph"],
    async handler(request, response, { downstream }) {
      const me = await downstream.graph.get("/me");
      response.json({
        word: request.params.word,
        principal: request.principal,
        graph: (await me.json<{ id: string }>()).id,
        keys: Object.keys(downstream),
      });
    },
  });
  beforeAll(async () => {
    gateway = await startTestGateway({ emulator, routes: [echo] });
  });
  afterAll(() => gateway.stop());

  test("carries the delegated token, never the caller's, and none of the caller's credentials", async () => {
    const user = emulator.addUser();
    const token = emulator.mintUserToken({ user });
    await gateway
      .get("/graph/me", token)
      .set("cookie", "session=secret")
      .set("x-ms-client-principal", "forged")
      .set("x-forwarded-for", "203.0.113.7")
      .set("connection", "keep-alive, x-hop")
      .set("x-hop", "1")
      .set("consistencylevel", "eventual")
      .expect(200);
    const { headers } = received(user.objectId);
    expect(headers.authorization).toMatch(/^sha256:/);
    expect(headers.authorization).not.toBe(`sha256:${sha256(token)}`);
    expect(headers).toMatchObject({ consistencylevel: "eventual" });
    for (const name of ["cookie", "x-ms-client-principal", "x-forwarded-for", "x-hop"])
      expect(headers).not.toHaveProperty(name);
  });

  test("keeps one correlation id from the caller to Entra, Graph, the log and back", async () => {
    const user = emulator.addUser();
    const id = "0f8fad5b-d9cb-469f-a165-70867728950e";
    const answer = await gateway
      .get("/graph/me", emulator.mintUserToken({ user }))
      .set("x-correlation-id", id)
      .expect(200);
    expect(answer.headers["x-correlation-id"]).toBe(id);
    expect(emulator.requests.token.at(-1)?.correlationId).toBe(id);
    expect(received(user.objectId).headers["client-request-id"]).toBe(id);
    expect(await gateway.line(id)).toMatchObject({
      granted: true,
      code: "granted",
      route: "/graph",
      status: 200,
      tid: emulator.tenantId,
      oid: user.objectId,
      azp: emulator.frontEndClientId,
      tokenOrigin: "authority",
    });
  });

  test.each(["two words", "<script>", "a".repeat(129), "-x"])(
    "makes an id of its own instead of %s",
    async (given) => {
      const answer = await gateway.get("/nowhere").set("x-correlation-id", given);
      expect(answer.headers["x-correlation-id"]).toMatch(/^[0-9a-f-]{36}$/);
    },
  );

  test("streams binary, and leaves conditional requests and ranges to the API", async () => {
    const token = emulator.mintUserToken({ user: "ada" });
    const photo = await gateway.get("/graph/me/photo/$value", token).expect(200);
    expect(photo.headers["content-type"]).toMatch(/^image\//);
    const { etag = "" } = photo.headers;
    await gateway.get("/graph/me/photo/$value", token).set("if-none-match", etag).expect(304);
    const part = await gateway.get("/graph/me/photo/$value", token).set("range", "bytes=0-9").expect(206);
    expect(part.body).toHaveLength(10);
    const body: Buffer = photo.body;
    expect(Buffer.compare(part.body, body.subarray(0, 10))).toBe(0);
  });

  test("passes a body on as it is", async () => {
    const user = emulator.addUser();
    const body = Buffer.alloc(300_000, "obo");
    await gateway
      .send("put", "/graph/me/drive/root:/a%20b.bin:/content", emulator.mintUserToken({ user }))
      .type("application/octet-stream")
      .send(body)
      .expect(201);
    expect(received(user.objectId).body).toEqual({ bytes: body.length, sha256: sha256(body) });
  });

  test("passes Graph's own refusals with their body", async () => {
    const token = emulator.mintUserToken({ user: emulator.addUser() });
    const answer = await gateway.get("/graph/me/manager", token).expect(404);
    expect(answer.body.error.code).toBe("Request_ResourceNotFound");
    expect(answer.headers["request-id"]).toMatch(/^[0-9a-f-]{36}$/);
  });

  test("GET /api/profile composes the user and the manager, both asked on behalf of the user", async () => {
    const { ada, grace } = emulator.users;
    const answer = await gateway.get("/api/profile", emulator.mintUserToken({ user: "ada" })).expect(200);
    expect(answer.body).toMatchObject({ me: { id: ada.objectId }, manager: { id: grace.objectId } });
    expect(answer.headers["cache-control"]).toBe("no-store");
    const alone = await gateway.get("/api/profile", emulator.mintUserToken({ user: "grace" })).expect(200);
    expect(alone.body.manager).toBeNull();
  });

  test("GET /api/profile hands on Graph's own refusal, with the wait that Graph asks for", async () => {
    const token = emulator.mintUserToken({ user: emulator.addUser() });
    const fault = emulator.faults.inject({
      endpoint: "graph",
      match: { path: "/manager" },
      behaviour: { kind: "json", status: 429, retryAfter: 7 },
    });
    const answer = await gateway.get("/api/profile", token).expect(429);
    expect(answer.headers["retry-after"]).toBe("7");
    fault.remove();
    await gateway.get("/api/profile", token).expect(200);
  });

  test("a handler is found at the spelling of its route only, and a route around it cannot be reached at another", async () => {
    const around = await startTestGateway({
      emulator,
      yaml: yamlOf({
        routes: [
          '{ path: /api, downstreamApi: graph, allow: ["/**"] }',
          "{ path: /api/profile, handler: profile }",
        ],
      }),
    });
    const token = emulator.mintUserToken({ user: "ada" });
    try {
      expect((await around.get("/api/profile", token).expect(200)).body.me.id).toBe(
        emulator.users.ada.objectId,
      );
      for (const path of ["/api/%70rofile", "/api/Profile", "/api/profile/"])
        expect((await around.get(path, token).expect(403)).body.code).toBe("target_forbidden");
    } finally {
      await around.stop();
    }
  });

  test("a handler in code sees the principal and the APIs it named, and no token", async () => {
    const user = emulator.addUser();
    const answer = await gateway.get("/api/echo/hello", emulator.mintUserToken({ user })).expect(200);
    expect(answer.body).toMatchObject({
      word: "hello",
      graph: user.objectId,
      keys: ["graph"],
      principal: {
        kind: "user",
        objectId: user.objectId,
        tenantId: emulator.tenantId,
        scopes: ["access_as_user"],
      },
    });
    expect(answer.text).not.toMatch(/eyJ/);
  });

  test("a refusal of Entra inside a handler reaches the caller as the same problem that a proxied call gets", async () => {
    const user = emulator.addUser();
    const refusal = emulator.refuse({ code: 65001, user });
    const answer = await gateway.get("/api/echo/x", emulator.mintUserToken({ user })).expect(403);
    expect(answer.body.code).toBe("consent_required");
    refusal.remove();
  });

  test("Helmet's headers stand on every answer, and nothing says what serves it", async () => {
    for (const path of ["/graph/me", "/nowhere"]) {
      const { headers } = await gateway.get(path);
      expect(headers["x-content-type-options"]).toBe("nosniff");
      expect(headers["strict-transport-security"]).toMatch(/max-age/);
      expect(headers).not.toHaveProperty("x-powered-by");
    }
  });

  test("without configuration there is no CORS, and a preflight is refused", async () => {
    const answer = await fetch(`${gateway.url}/graph/me`, {
      method: "OPTIONS",
      headers: { origin: "https://app.example", "access-control-request-method": "GET" },
    });
    expect(answer.headers.get("access-control-allow-origin")).toBeNull();
    expect(answer.status).toBe(401);
  });

  test("no log line of all this holds a token, a cookie or a user's name", () => {
    const text = JSON.stringify(gateway.logs);
    expect(text).not.toMatch(/eyJ|session=secret|ada@|Lovelace/i);
    expect(gateway.logs.length).toBeGreaterThan(20);
  });
});

describe("for browsers and discovering clients", () => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await startTestGateway({
      emulator,
      yaml: yamlOf({
        routes: [
          '{ path: /graph, downstreamApi: graph, requiredScopes: [graph.read], allow: ["/me"] }',
          "{ path: /api/profile, handler: profile, requiredScopes: [access_as_user] }",
        ],
        sections: [
          'exchange: { consent: { appIdUri: "https://contoso.example/gateway" } }',
          "http: { publicUrl: https://api.contoso.example/v1, cors: { origins: [https://app.example] } }",
        ],
      }),
    });
  });
  afterAll(() => gateway.stop());

  test("a configured origin may call, and may read what tells it what to do", async () => {
    const answer = await gateway.get("/graph/me").set("origin", "https://app.example").expect(401);
    expect(answer.headers["access-control-allow-origin"]).toBe("https://app.example");
    const exposed = answer.headers["access-control-expose-headers"]?.split(",");
    expect(exposed).toEqual(expect.arrayContaining(["www-authenticate", "retry-after", "x-correlation-id"]));
  });

  test("an answer of the API carries the gateway's CORS headers too", async () => {
    const answer = await gateway
      .get("/graph/me", emulator.mintUserToken({ user: "ada", scopes: ["graph.read"] }))
      .set("origin", "https://app.example")
      .expect(200);
    expect(answer.headers["access-control-allow-origin"]).toBe("https://app.example");
  });

  test("a preflight is answered without a token, and another origin is not let in", async () => {
    const preflight = (origin: string) =>
      fetch(`${gateway.url}/graph/me`, {
        method: "OPTIONS",
        headers: {
          origin,
          "access-control-request-method": "GET",
          "access-control-request-headers": "authorization",
        },
      });
    const allowed = await preflight("https://app.example");
    expect(allowed.status).toBe(204);
    expect(allowed.headers.get("access-control-allow-headers")).toBe("authorization");
    expect((await preflight("https://evil.example")).headers.get("access-control-allow-origin")).toBeNull();
  });

  test.each(["/.well-known/oauth-protected-resource/v1", "/.well-known/oauth-protected-resource"])(
    "RFC 9728: %s says where to get a token, and challenges point there",
    async (path) => {
      const { body } = await gateway.get(path).expect(200);
      expect(body).toEqual({
        resource: "https://api.contoso.example/v1",
        authorization_servers: [`${emulator.authorityHost}${emulator.tenantId}/v2.0`],
        // Of routes in the file and in code, as the registration's own App ID URI spells them.
        scopes_supported: [
          "https://contoso.example/gateway/graph.read",
          "https://contoso.example/gateway/access_as_user",
        ],
        bearer_methods_supported: ["header"],
      });
      const { headers } = await gateway.get("/graph/me").expect(401);
      expect(headers["www-authenticate"]).toBe(
        'Bearer resource_metadata="https://api.contoso.example/.well-known/oauth-protected-resource/v1"',
      );
    },
  );
});

describe("the admin side", () => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await startTestGateway({ emulator });
    await gateway.get("/graph/me", emulator.mintUserToken({ user: "ada" })).expect(200);
  });
  afterAll(() => gateway.stop());

  test("is alive and ready, and says which credential serves", async () => {
    await gateway.admin("/livez").expect(200);
    const { body } = await gateway.admin("/readyz").expect(200);
    expect(body).toMatchObject({ ready: true });
    expect(body.checks.find(({ name }: { name: string }) => name === "credential").detail).toMatchObject({
      serving: "workload-identity",
    });
  });

  test("shows metrics by route and decision, without a token or a user in them", async () => {
    await gateway.get("/graph/me").expect(401);
    const { text } = await gateway.admin("/metrics").expect(200);
    expect(text).toMatch(
      /obo_gateway_requests_total\{route="\/graph",method="GET",status="200",code="granted"\} 1/,
    );
    expect(text).toMatch(
      /obo_gateway_requests_total\{route="\/graph",method="GET",status="401",code="token_missing"\} 1/,
    );
    expect(text).toMatch(/obo_gateway_downstream_tokens_total\{origin="authority"\} 1/);
    expect(text).not.toMatch(new RegExp(`eyJ|${emulator.users.ada.objectId}`));
  });

  test("is not reachable on the public port, nor the public routes on it", async () => {
    await gateway.get("/metrics").expect(404);
    await gateway.get("/livez").expect(404);
    await gateway.admin("/graph/me").expect(404);
  });
});
