/** Each row of the error table, as a caller sees it. */

import { connect } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { type CodeRoute, codeRoute } from "../../src/http/code-route.ts";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator, MintOptions } from "../emulator/handle.ts";
import { startTestGateway, type TestGateway } from "../support/gateway.ts";

let emulator: Emulator;
let gateway: TestGateway;

const failing = codeRoute({
  method: "get",
  path: "/api/failing",
  policy: { callers: "user", requiredScopes: [], requiredRoles: [], allowedClients: [] },
  uses: [],
  handler() {
    throw new Error("a defect with eyJhbGciOiJSUzI1NiJ9.c2VjcmV0.c2lnbmF0dXJl in its message");
  },
});

function broken(path: string, requiredScopes: readonly string[], handler: CodeRoute["handler"]): CodeRoute {
  const policy = { callers: "user", requiredScopes, requiredRoles: [], allowedClients: [] } as const;
  return codeRoute({ method: "get", path, policy, uses: [], handler });
}

const LARGE = "x".repeat(20_000_000);

const brokenRoutes = [
  broken("/api/status", [], () => {
    throw Object.assign(new Error("another service said no"), { status: 404 });
  }),
  broken("/api/string", [], () => {
    throw "router";
  }),
  broken("/api/half-described", [], (_request, response) => {
    response.set({ "content-encoding": "gzip", etag: '"1"', "content-range": "bytes 0-1/2" });
    throw new Error("too late for that body");
  }),
  broken("/api/afterwards", [], (_request, response) => {
    response.send(LARGE);
    throw new Error("after the answer");
  }),
  broken("/api/unsayable", ["räum\u{1f600}"], () => {}),
];

let forgetfulSignal: AbortSignal | undefined;
const forgetful = codeRoute({
  method: "get",
  path: "/api/forgetful",
  policy: { callers: "user", requiredScopes: [], requiredRoles: [], allowedClients: [] },
  uses: [],
  timeoutMs: 30,
  handler(_request, _response, { signal }) {
    forgetfulSignal = signal;
  },
});

beforeAll(async () => {
  emulator = await startEmulator();
  gateway = await startTestGateway({ emulator, routes: [forgetful, failing, ...brokenRoutes] });
});
afterAll(async () => {
  await gateway.stop();
  await emulator.close();
});
afterEach(() => {
  emulator.clearRefusals();
  emulator.faults.clear();
});

/** A user of the test's own, so that nothing remembered for one test can answer another. */
function newUser(options: MintOptions = {}): string {
  return emulator.mintUserToken({ user: emulator.addUser(), ...options });
}

describe("the caller must act", () => {
  test("no token: 401 with a bare challenge", async () => {
    const answer = await gateway.get("/graph/me").expect(401);
    expect(answer.body.code).toBe("token_missing");
    expect(answer.headers["www-authenticate"]).toBe("Bearer");
    expect(answer.headers["content-type"]).toMatch(/^application\/problem\+json/);
    expect(answer.headers["cache-control"]).toBe("no-store");
  });

  test("credentials of another scheme are no token", async () => {
    const answer = await gateway.get("/graph/me").set("authorization", "Basic dXNlcjpwYXNz").expect(401);
    expect(answer.body.code).toBe("token_missing");
  });

  test.each<[string, () => string]>([
    ["another audience", () => newUser({ audience: "https://graph.microsoft.com" })],
    ["an expired token", () => newUser({ expiresInSeconds: -3600 })],
    ["a key that nobody published", () => newUser({ signWith: "unpublished" })],
    ["a tenant that is not listed", () => emulator.mintUserToken({ user: "linus" })],
    ["an id token", () => newUser({ claims: { scp: undefined, nonce: "n" } })],
    ["something that is no JWT", () => "opaque"],
  ])("%s: 401 invalid_token, which does not say what was wrong with it", async (_, token) => {
    const answer = await gateway.get("/graph/me", token()).expect(401);
    expect(answer.body.code).toBe("token_rejected");
    expect(answer.headers["www-authenticate"]).toBe(
      'Bearer error="invalid_token", error_description="The access token was not accepted"',
    );
  });

  test("a token in the query or the body is not looked at", async () => {
    const token = newUser();
    const query = await gateway.get(`/graph/me?access_token=${token}`).expect(401);
    const body = await gateway
      .send("post", "/graph/me/sendMail")
      .type("form")
      .send({ access_token: token })
      .expect(401);
    expect([query.body.code, body.body.code]).toEqual(["token_missing", "token_missing"]);
  });

  test("a scope too small: 403 naming every scope that would do", async () => {
    const answer = await gateway.get("/admin/me", newUser()).expect(403);
    expect(answer.body).toMatchObject({
      code: "scope_insufficient",
      requiredScopes: ["admin.read", "admin.write"],
    });
    expect(answer.headers["www-authenticate"]).toBe(
      'Bearer error="insufficient_scope", scope="admin.read admin.write"',
    );
  });

  test("an application's own token where a user is needed: 403", async () => {
    const token = emulator.mintUserToken({ appOnly: true, claims: { roles: ["Reader"] } });
    const answer = await gateway.get("/graph/me", token).expect(403);
    expect(answer.body.code).toBe("user_token_required");
    expect(answer.headers["www-authenticate"]).toBeUndefined();
  });

  test("a path that no route covers: 404, whoever asks", async () => {
    const answer = await gateway.get("/nowhere").expect(404);
    expect(answer.body.code).toBe("route_unknown");
  });

  test("a method that the route does not list: 405 with what it does", async () => {
    const answer = await gateway.send("delete", "/graph/me", newUser()).expect(405);
    expect(answer.body.code).toBe("method_not_allowed");
    expect(answer.headers.allow).toBe("GET, HEAD, POST, PUT");
  });

  test("a method that a route written in code does not take: 405 with what it does", async () => {
    const answer = await gateway.send("post", "/api/failing", newUser()).expect(405);
    expect(answer.body.code).toBe("method_not_allowed");
    expect(answer.headers.allow).toBe("GET, HEAD");
  });

  test.each(["/graph/organization", "/graph/me/%2e%2e/users", "/graph/users/a/b"])(
    "a downstream path that the route does not list: 403 for %s",
    async (path) => {
      const { status, code } = await rawGet(path, newUser());
      expect({ status, code }).toEqual({ status: 403, code: "target_forbidden" });
    },
  );

  test.each(["/graph/me/%zz", "/graph/me/%00", "/graph/me\\photo"])(
    "a target that two parsers could read in two ways: 400 for %s",
    async (path) => {
      const { status, code } = await rawGet(path, newUser());
      expect({ status, code }).toEqual({ status: 400, code: "request_malformed" });
    },
  );

  test.each(["/graph/me/admin/me", "/graph/me/%61dmin/me", "/graph/me/Admin/me"])(
    "a route's rules hold however its path is spelt: 403 for %s",
    async (path) => {
      const { status } = await rawGet(path, newUser());
      expect(status).toBe(403);
    },
  );

  test.each([
    ["no Host", ""],
    ["two Hosts", "host: a\r\nhost: b\r\n"],
  ])("%s: 400, and the connection closes", async (_, fields) => {
    const socket = connect(Number(new URL(gateway.url).port), "127.0.0.1");
    socket.write(`GET /graph/me HTTP/1.1\r\n${fields}\r\n`);
    let text = "";
    for await (const chunk of socket) text += chunk;
    expect(text).toMatch(/^HTTP\/1\.1 400 .*"code":"request_malformed"/s);
  });

  test("a body past the API's limit: 413", async () => {
    const body = Buffer.alloc(1024 * 1024 + 1);
    const answer = await gateway
      .send("put", "/graph/me/drive/root:/big.bin:/content", newUser())
      .type("application/octet-stream")
      .send(body)
      .expect(413);
    expect(answer.body.code).toBe("body_too_large");
  });

  test("headers past 32 KiB: 431", async () => {
    const answer = await gateway
      .get("/graph/me")
      .set("x-large", "a".repeat(33 * 1024))
      .expect(431);
    expect(answer.body.code).toBe("request_malformed");
    expect(answer.headers["x-content-type-options"]).toBe("nosniff");
  });
});

describe("the user must act", () => {
  const CLAIMS =
    '{"access_token":{"capolids":{"essential":true,"values":["c2ac2f10-6d63-4a5d-a9d3-2a7a1b7a1f00"]}}}';

  test.each(["own-error", "basic-action"] as const)(
    "Entra wants more of the sign-in (%s): a client that declared cp1 gets the claims as a challenge",
    async (spelling) => {
      const user = emulator.addUser();
      emulator.refuse({ code: 50076, user, claims: CLAIMS, spelling });
      const token = emulator.mintUserToken({ user, capabilities: ["CP1"] });
      const answer = await gateway.get("/graph/me", token).expect(401);
      expect(answer.body).toMatchObject({ code: "claims_challenged", claims: CLAIMS });
      expect(answer.headers["www-authenticate"]).toBe(
        `Bearer realm="${emulator.tenantId}", ` +
          `authorization_uri="${emulator.authorityHost}${emulator.tenantId}/oauth2/v2.0/authorize", ` +
          `client_id="${emulator.clientId}", error="insufficient_claims", ` +
          `claims="${Buffer.from(CLAIMS).toString("base64")}"`,
      );
    },
  );

  test("a client without cp1 gets the same claims in the problem body, and no claims challenge", async () => {
    const user = emulator.addUser();
    emulator.refuse({ code: 50076, user, claims: CLAIMS });
    const answer = await gateway.get("/graph/me", emulator.mintUserToken({ user })).expect(401);
    expect(answer.body).toMatchObject({ code: "interaction_required", claims: CLAIMS });
    expect(answer.headers["www-authenticate"]).not.toMatch(/insufficient_claims/);
  });

  test("a route with an authentication context asks for it by claims challenge, before any exchange", async () => {
    const before = emulator.requests.counts.token;
    const answer = await gateway.get("/step-up/me", newUser({ capabilities: ["cp1"] })).expect(401);
    expect(answer.body.code).toBe("claims_challenged");
    expect(JSON.parse(answer.body.claims)).toEqual({
      access_token: { acrs: { essential: true, value: "c1" } },
    });
    expect(emulator.requests.counts.token).toBe(before);
    await gateway.get("/step-up/me", newUser({ claims: { acrs: ["c1"] } })).expect(200);
  });

  test("a downstream claims challenge is answered with a new exchange, and the caller notices nothing", async () => {
    const user = emulator.addUser();
    const token = emulator.mintUserToken({ user, capabilities: ["cp1"] });
    await gateway.get("/graph/me", token).expect(200);
    emulator.graph.challenge(user);
    emulator.advanceClock(1000);
    await gateway.get("/graph/me", token).expect(200);
    const exchanges = emulator.requests.token.filter(({ userObjectId }) => userObjectId === user.objectId);
    expect(exchanges).toHaveLength(2);
    expect(JSON.parse(exchanges[1]?.claims ?? "{}").access_token).toHaveProperty("nbf");
  });

  test("a downstream claims challenge that only the user can meet reaches the caller with Entra's claims", async () => {
    const user = emulator.addUser();
    const token = emulator.mintUserToken({ user, capabilities: ["cp1"] });
    await gateway.get("/graph/me", token).expect(200);
    emulator.graph.challenge(user);
    emulator.refuse({ code: 50076, user, claims: CLAIMS });
    const answer = await gateway.get("/graph/me", token).expect(401);
    expect(answer.body).toMatchObject({ code: "claims_challenged", claims: CLAIMS });
  });

  test.each([
    [50078, 401, "interaction_required"],
    [50173, 401, "interaction_required"],
    [53003, 403, "blocked_by_policy"],
    [50057, 403, "blocked_by_policy"],
    [50105, 403, "not_assigned"],
  ])("AADSTS%i: %i %s", async (code, status, reply) => {
    const user = emulator.addUser();
    emulator.refuse({ code, user });
    const answer = await gateway.get("/graph/me", emulator.mintUserToken({ user })).expect(status);
    expect(answer.body.code).toBe(reply);
    expect(answer.body.authorityCorrelationId).toBe(answer.headers["x-correlation-id"]);
  });

  test.each([
    [65001, "consent_required"],
    [90094, "admin_consent_required"],
  ])("AADSTS%i: 403 %s with a page where consent can be given", async (code, reply) => {
    const user = emulator.addUser();
    emulator.refuse({ code, user });
    const answer = await gateway.get("/graph/me", emulator.mintUserToken({ user })).expect(403);
    expect(answer.body.code).toBe(reply);
    const uri = new URL(answer.body.consentUri);
    expect(uri.href).toMatch(new RegExp(`^${emulator.authorityHost}${emulator.tenantId}/`));
    expect(uri.searchParams.get("client_id")).toBe(emulator.clientId);
    expect(uri.searchParams.get("scope")).toBe("https://graph.microsoft.com/.default");
  });

  test("an organisation that has not onboarded the gateway: 403", async () => {
    const open = await startTestGateway({
      emulator,
      yaml: OPEN_TO_ALL,
      env: { AZURE_ADDITIONALLY_ALLOWED_TENANTS: "*" },
    });
    try {
      await open.get("/graph/me", emulator.mintUserToken({ user: "linus" })).expect(200);
      const answer = await open.get("/graph/me", emulator.mintUserToken({ user: "mallory" })).expect(403);
      expect(answer.body.code).toBe("tenant_not_onboarded");
    } finally {
      await open.stop();
    }
  });

  test("a tenant whose users may call but for which no exchanges are allowed is refused before Entra is asked", async () => {
    const open = await startTestGateway({ emulator, yaml: OPEN_TO_ALL });
    try {
      const before = emulator.requests.counts.token;
      const answer = await open.get("/graph/me", emulator.mintUserToken({ user: "linus" })).expect(403);
      expect(answer.body.code).toBe("tenant_not_onboarded");
      expect(emulator.requests.counts.token).toBe(before);
    } finally {
      await open.stop();
    }
  });
});

describe("the operator must act", () => {
  test("Entra refuses the gateway's credential: 503, never a 401 that the caller would act on", async () => {
    // A gateway of its own: a refused credential is left alone for a second, for every user.
    const own = await startTestGateway({ emulator });
    try {
      emulator.refuse({ code: 700027 });
      const answer = await own.get("/graph/me", newUser()).expect(503);
      expect(answer.body.code).toBe("client_rejected");
      expect(answer.headers["www-authenticate"]).toBeUndefined();
      const line = await own.line(answer.headers["x-correlation-id"] ?? "");
      expect(line).toMatchObject({ granted: false, diagnostics: { error_codes: [700027] } });
    } finally {
      await own.stop();
    }
  });

  test("the token file is gone and the last token has expired: 503", async () => {
    const volume = await emulator.kubernetes.mountServiceAccountToken();
    let offset = 0;
    const own = await startTestGateway({
      emulator,
      env: { AZURE_FEDERATED_TOKEN_FILE: volume.tokenFile },
      now: () => Date.now() + offset,
    });
    try {
      const late = newUser({ expiresInSeconds: 4 * 3600 });
      await own.get("/graph/me", newUser()).expect(200);
      await volume.breakWith("missing");
      offset = 3 * 3600 * 1000;
      const answer = await own.get("/graph/me", late).expect(503);
      expect(answer.body.code).toBe("credential_unavailable");
      expect((await own.admin("/readyz").expect(503)).body.ready).toBe(false);
    } finally {
      await own.stop();
    }
  });

  test("a scope whose resource Entra does not know: 502", async () => {
    const answer = await gateway.get("/unknown-resource/me", newUser()).expect(502);
    expect(answer.body.code).toBe("downstream_misconfigured");
  });
});

describe("the authority must act", () => {
  test.each([
    ["a 503", { kind: "json", status: 503 }, 503, "authority_unavailable"],
    ["the HTML page of a load balancer", { kind: "html" }, 503, "authority_unavailable"],
    ["an answer that ends in the middle", { kind: "truncated" }, 503, "authority_unavailable"],
    ["a connection that breaks", { kind: "reset", when: "before-headers" }, 503, "authority_unavailable"],
  ] as const)("%s instead of a token is no fault of the caller", async (_, behaviour, status, code) => {
    const fault = emulator.faults.inject({ endpoint: "token", behaviour });
    const answer = await gateway.get("/graph/me", newUser()).expect(status);
    expect(answer.body.code).toBe(code);
    expect(fault.hits).toBeGreaterThan(0);
    emulator.faults.clear();
    await gateway.get("/graph/me", newUser()).expect(200);
  });

  test("throttling in plain text: 503 with Entra's own Retry-After", async () => {
    const throttled = await startTestGateway({ emulator });
    try {
      emulator.faults.inject({ endpoint: "token", behaviour: { kind: "text", status: 429, retryAfter: 7 } });
      const answer = await throttled.get("/graph/me", newUser()).expect(503);
      expect(answer.body.code).toBe("authority_throttled");
      expect(Number(answer.headers["retry-after"])).toBeGreaterThanOrEqual(6);
      expect(Number(answer.headers["retry-after"])).toBeLessThanOrEqual(7);
    } finally {
      await throttled.stop();
    }
  });

  test("silence: 504 within the configured time", async () => {
    const impatient = await startTestGateway({ emulator, env: { EXCHANGE_TIMEOUT_MS: "200" } });
    try {
      emulator.faults.inject({ endpoint: "token", behaviour: { kind: "stall", when: "amid-body" } });
      const answer = await impatient.get("/graph/me", newUser()).expect(504);
      expect(answer.body.code).toBe("authority_timeout");
    } finally {
      await impatient.stop();
    }
  });

  test("no signing keys yet: 503, and service as soon as they can be had", async () => {
    emulator.faults.inject({ endpoint: "keys", behaviour: { kind: "html", status: 200 } });
    const cold = await startTestGateway({ emulator });
    try {
      const answer = await cold.get("/graph/me", newUser()).expect(503);
      expect(answer.body.code).toBe("key_set_unavailable");
      expect(answer.headers["retry-after"]).toMatch(/^\d+$/);
      await cold.admin("/readyz").expect(503);
      await cold.admin("/livez").expect(200);
      emulator.faults.clear();
      await cold.get("/graph/me", newUser()).expect(200);
      await cold.admin("/readyz").expect(200);
    } finally {
      await cold.stop();
    }
  });
});

describe("the downstream API must act", () => {
  test("nobody listens: 502", async () => {
    const answer = await gateway.get("/nobody-listens/me", newUser()).expect(502);
    expect(answer.body.code).toBe("downstream_unreachable");
  });

  test("silence: 504 within the API's time", async () => {
    const impatient = await startTestGateway({ emulator, env: { GRAPH_TIMEOUT_MS: "150" } });
    try {
      emulator.faults.inject({ endpoint: "graph", behaviour: { kind: "stall", when: "before-headers" } });
      const answer = await impatient.get("/graph/me", newUser()).expect(504);
      expect(answer.body.code).toBe("downstream_timeout");
    } finally {
      await impatient.stop();
    }
  });

  test("an answer cut short breaks the caller's connection, so that half can never pass for whole", async () => {
    emulator.faults.inject({ endpoint: "graph", behaviour: { kind: "reset", when: "amid-body" } });
    await expect(gateway.get("/graph/me", newUser())).rejects.toMatchObject({ code: "ECONNRESET" });
  });
});

describe("nobody has to act", () => {
  test("a defect in a handler: 500 that tells the caller nothing, and a log line that tells no token", async () => {
    const answer = await gateway.get("/api/failing", newUser()).expect(500);
    expect(answer.body).toMatchObject({
      code: "internal",
      detail: "The gateway failed to handle the request.",
    });
    const correlationId = answer.headers["x-correlation-id"];
    const line = gateway.logs.find(
      ({ msg, correlationId: id }) => msg === "internal error" && id === correlationId,
    );
    expect(line?.err).toMatchObject({ message: "a defect with [token] in its message" });
  });

  test.each(["/api/status", "/api/string"])(
    "what is not ours to explain is a defect, too: %s",
    async (path) => {
      const answer = await gateway.get(path, newUser()).expect(500);
      expect(answer.body.code).toBe("internal");
    },
  );

  test("what a handler said of the body that it did not send is not said of the problem", async () => {
    const { headers } = await gateway.get("/api/half-described", newUser()).expect(500);
    for (const name of ["content-encoding", "etag", "content-range"])
      expect(headers).not.toHaveProperty(name);
  });

  test("an answer that was given whole arrives whole, although its handler fails afterwards", async () => {
    const answer = await gateway.get("/api/afterwards", newUser()).expect(200);
    expect(answer.text).toHaveLength(LARGE.length);
  });

  test("where not even the refusal can be phrased, the caller gets no stack", async () => {
    // Express tells the operator, on standard error and a turn later.
    const told = new Promise<void>((resolve) => {
      jest.spyOn(console, "error").mockImplementation(() => resolve());
    });
    const answer = await gateway.get("/api/unsayable", newUser()).expect(403);
    await told;
    jest.restoreAllMocks();
    expect(answer.text).not.toMatch(/node_modules|at /);
  });
});

test("a handler that forgets to answer is aborted, and its caller told", async () => {
  const answer = await gateway.get("/api/forgetful", newUser()).expect(500);
  expect(answer.body.code).toBe("internal");
  expect(forgetfulSignal?.aborted).toBe(true);
  const line = gateway.logs.find(
    ({ msg, correlationId }) =>
      msg === "internal error" && correlationId === answer.headers["x-correlation-id"],
  );
  expect(line?.err).toMatchObject({
    message: "the handler of /api/forgetful did not begin to answer in 30 ms",
  });
});

const OPEN_TO_ALL = `
identity: { tenants: ["*"], audiences: ["\${AZURE_CLIENT_ID}"] }
downstreamApis:
  graph: { baseUrl: "\${GRAPH_URL}", scopes: [https://graph.microsoft.com/.default], allowPrivateNetwork: true }
routes:
  - { path: /graph, downstreamApi: graph, allow: ["/me"] }
`;

/** A path as it is: clients mend some of these before they send them. */
async function rawGet(path: string, token: string): Promise<{ status: number; code: unknown }> {
  const { request } = await import("node:http");
  return new Promise((resolve, reject) => {
    request(gateway.url, { path, headers: { authorization: `Bearer ${token}` } }, (response) => {
      let text = "";
      response.on("data", (chunk) => {
        text += chunk;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, code: JSON.parse(text).code }));
    })
      .on("error", reject)
      .end();
  });
}
