/** Forward-auth: which request a proxy in front asks about, and what its answer holds. */

import { once } from "node:events";
import { Agent, type ServerResponse, request as send } from "node:http";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { Secret } from "../../src/foundation/secret.ts";
import type { RequestRecord } from "../../src/http/contract.ts";
import { createGrant } from "../../src/local/forward-auth.ts";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { startTestGateway, type TestGateway } from "../support/gateway.ts";
import { ask, bearer, claimsOf, LOCAL_YAML } from "./support.ts";

let emulator: Emulator;
let gateway: TestGateway;
let caching: TestGateway;
let token: string;

beforeAll(async () => {
  emulator = await startEmulator();
  const env = { LOCAL_PORT: "0" };
  [gateway, caching] = await Promise.all([
    startTestGateway({ emulator, yaml: LOCAL_YAML, env }),
    startTestGateway({ emulator, yaml: LOCAL_YAML, env: { ...env, CACHE_SECONDS: "3600" } }),
  ]);
  token = emulator.mintUserToken({ user: "ada", claims: { roles: ["Reader", "Schreiber ä", "a\r\nb"] } });
});
afterAll(async () => {
  await Promise.all([gateway.stop(), caching.stop()]);
  await emulator.close();
});
afterEach(() => emulator.clearRefusals());

const nginx = (uri: string, method = "GET") => ({ "x-original-uri": uri, "x-original-method": method });
const traefik = (uri: string, method = "GET") => ({ "x-forwarded-uri": uri, "x-forwarded-method": method });
const decide = (
  path: string,
  headers: Readonly<Record<string, string>> = {},
  { method = "GET", as = token } = {},
) => ask(gateway.localUrl, path, { method, headers: { ...(as !== "" && bearer(as)), ...headers } });

describe("the answer to a request that passes", () => {
  test("holds the field for the API, the correlation id, who calls, and nothing to keep", async () => {
    const answer = await decide("/forward-auth/graph", {
      ...nginx("/graph/me"),
      "x-correlation-id": "asked",
    });
    expect(answer.status).toBe(200);
    expect(claimsOf(answer.headers.authorization?.replace("Bearer ", "") ?? "")).toMatchObject({
      oid: emulator.user("ada").objectId,
      aud: expect.stringMatching(/graph/),
    });
    expect(answer.headers).toMatchObject({
      "x-correlation-id": "asked",
      "x-auth-request-user": emulator.user("ada").objectId,
      "x-auth-request-tenant": emulator.tenantId,
      "x-auth-request-client": emulator.frontEndClientId,
      "x-auth-request-scopes": "access_as_user",
      "x-auth-request-roles": "Reader,Schreiber %C3%A4,a%0D%0Ab",
      "cache-control": "no-store",
      "content-length": "0",
    });
    expect(answer.headers["x-accel-expires"]).toBeUndefined();
    expect(await gateway.line("asked")).toMatchObject({
      via: "forward-auth",
      route: "/graph",
      method: "GET",
    });
  });

  test("holds each identity field, empty where the caller has nothing of the kind", async () => {
    const answer = await decide("/forward-auth/graph", nginx("/graph/me"), { as: emulator.mintUserToken() });
    expect(answer.headers["x-auth-request-roles"]).toBe("");
  });

  test("no text of a role ends its field or begins another", () => {
    const all = Array.from({ length: 0x1_0000 }, (_, code) => String.fromCharCode(code)).filter(
      (text) => !/[\ud800-\udfff]/.test(text),
    );
    let roles: string | undefined;
    const response = {
      writeHead(_status: number, lines: string[]) {
        roles = lines[lines.indexOf("x-roles") + 1];
      },
      end() {},
    } as unknown as ServerResponse;
    const grant = createGrant({ cacheSeconds: 0, identityFields: { roles: "x-roles" }, now: () => 0 });
    const record = { correlationId: "x", caller: { principal: { roles: all, expiresAt: 1 } } };
    grant(response, record as unknown as RequestRecord, {
      accessToken: new Secret("delegated"),
      expiresAt: 1,
    });
    expect(roles).toMatch(/^[ -~]+$/);
    expect(decodeURIComponent(roles ?? "")).toBe(all.join(","));
  });

  test("holds nothing that the caller smuggled, in any field", async () => {
    const answer = await ask(gateway.localUrl, "/forward-auth/graph", {
      headers: {
        ...bearer(token),
        ...nginx("/graph/me"),
        "x-auth-request-user": "somebody-else",
        "x-auth-request-roles": "Administrator",
        cookie: "smuggled=1",
        "x-smuggled": "smuggled",
        "proxy-authorization": "Basic c211Z2dsZWQ=",
      },
    });
    expect(answer.status).toBe(200);
    expect(answer.rawHeaders.join("\n")).not.toMatch(/smuggled|somebody-else|Administrator|c211Z2dsZWQ/);
    expect(answer.rawHeaders.join("\n")).not.toContain(token);
    const names = answer.rawHeaders.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase());
    expect(names.filter((name) => name === "authorization")).toHaveLength(1);
    expect(new Set(names).size).toBe(names.length);
  });

  test("is never given for two fields Authorization, whichever stands first", async () => {
    for (const fields of [
      [token, "smuggled"],
      ["smuggled", token],
      [token, token],
    ]) {
      const lines = fields.flatMap((one) => ["Authorization", `Bearer ${one}`]);
      const answer = await ask(gateway.localUrl, "/forward-auth/graph", {
        headers: [...lines, "X-Original-URI", "/graph/me", "X-Original-Method", "GET"],
      });
      expect([answer.status, answer.body.code, answer.headers.authorization]).toEqual([
        401,
        "token_rejected",
        undefined,
      ]);
    }
  });

  test("comes on a connection that is kept", async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const sockets = new Set();
    for (let count = 0; count < 3; count += 1) {
      const outgoing = send(`${gateway.localUrl}/forward-auth/graph`, {
        agent,
        headers: { ...bearer(token), ...nginx("/graph/me") },
      });
      outgoing.on("socket", (socket) => sockets.add(socket));
      outgoing.end();
      const [incoming] = await once(outgoing, "response");
      incoming.resume();
      await once(incoming, "end");
    }
    agent.destroy();
    expect(sockets.size).toBe(1);
  });
});

describe("a decision that may be kept", () => {
  const decideKept = (as: string, path = "/forward-auth/graph", uri = "/graph/me") =>
    ask(caching.localUrl, path, { headers: { ...bearer(as), ...nginx(uri) } });

  test("may be kept for its caller, for as long as the configuration says", async () => {
    const { headers } = await decideKept(emulator.mintUserToken({ expiresInSeconds: 7_200 }));
    expect(headers["cache-control"]).toMatch(/^private, max-age=\d+$/);
    expect(Number(headers["x-accel-expires"])).toBeGreaterThan(3_000);
    expect(Number(headers["x-accel-expires"])).toBeLessThanOrEqual(3_600);
    expect(headers.vary).toBe("authorization, delegation");
  });

  test("ends with the caller's token at the latest", async () => {
    const { headers } = await decideKept(emulator.mintUserToken({ expiresInSeconds: 400 }));
    const seconds = Number(headers["x-accel-expires"]);
    expect(seconds).toBeGreaterThan(300);
    expect(seconds).toBeLessThanOrEqual(400);
    expect(headers["cache-control"]).toBe(`private, max-age=${seconds}`);
  });

  test("stands before Cache-Control, for nginx goes by the first that forbids", async () => {
    const { rawHeaders } = await decideKept(token);
    expect(rawHeaders.indexOf("x-accel-expires")).toBeLessThan(rawHeaders.indexOf("cache-control"));
  });

  test("is not one for a job that acts for a user, whose handle is in another field than the token", () => {
    const written: string[] = [];
    const response = {
      writeHead: (_status: number, lines: string[]) => void written.push(...lines),
      end() {},
    } as unknown as ServerResponse;
    const grant = createGrant({ cacheSeconds: 600, identityFields: {}, now: () => 0 });
    const token = { accessToken: new Secret("delegated"), expiresAt: 3_600_000 };
    const record = {
      correlationId: "x",
      caller: { principal: { expiresAt: 3_600_000 } },
      delegation: undefined,
    };
    grant(response, record as unknown as RequestRecord, token);
    expect(written).toContain("private, max-age=600");
    written.length = 0;
    const delegation = { id: "one" };
    grant(response, { ...record, delegation } as unknown as RequestRecord, token);
    expect(written.slice(written.indexOf("cache-control"))).toEqual(["cache-control", "no-store"]);
  });

  test("is not one that refuses", async () => {
    for (const answer of [
      await decideKept("a.b.c"),
      await decideKept(token, "/forward-auth/graph", "/graph/x"),
    ]) {
      expect(answer.status).toBeGreaterThan(400);
      expect(answer.headers["cache-control"]).toBe("no-store");
      expect(answer.headers["x-accel-expires"]).toBeUndefined();
    }
  });
});

describe("the original request", () => {
  test.each([
    ["nginx", "/forward-auth/graph", nginx("/graph/me?$select=id")],
    ["Traefik and Caddy", "/forward-auth/graph", traefik("/graph/me")],
    ["Caddy, which keeps the query", "/forward-auth/graph?$select=id", traefik("/graph/me?$select=id")],
    ["a rewriting Envoy", "/forward-auth/graph", { "x-envoy-original-path": "/graph/me" }],
    ["Envoy, in the path", "/forward-auth/graph/me", {}],
    ["Envoy, in both", "/forward-auth/graph/me?x=1", { "x-envoy-original-path": "/graph/me?x=1" }],
    ["two fields that agree", "/forward-auth/graph", { ...nginx("/graph/me"), ...traefik("/graph/me") }],
  ])("is read as %s tells of it", async (_, path, headers) => {
    expect((await decide(path, headers)).status).toBe(200);
  });

  test("its method decides, not the one of the question", async () => {
    const asked = await decide("/forward-auth/graph", nginx("/graph/me", "DELETE"));
    expect([asked.status, asked.body.code, asked.headers.allow]).toEqual([
      405,
      "method_not_allowed",
      "GET, POST, HEAD",
    ]);
    const enclosed = await decide("/forward-auth/graph", traefik("/graph/me"), { method: "POST" });
    expect(enclosed.status).toBe(200);
    const envoy = await decide("/forward-auth/graph/me", {}, { method: "PUT" });
    expect([envoy.status, envoy.body.code]).toEqual([405, "method_not_allowed"]);
  });

  test.each([
    ["no field at all", "/forward-auth/graph", {}],
    ["no field at all, and a query", "/forward-auth/graph?x", {}],
    ["a method alone", "/forward-auth/graph", { "x-original-method": "GET" }],
    ["a target alone", "/forward-auth/graph", { "x-original-uri": "/graph/me" }],
    ["a forwarded target alone", "/forward-auth/graph", { "x-forwarded-uri": "/graph/me" }],
    ["two targets", "/forward-auth/graph", { ...nginx("/graph/me"), "x-forwarded-uri": "/graph/users/1" }],
    ["two methods", "/forward-auth/graph", { ...nginx("/graph/me"), "x-forwarded-method": "POST" }],
    ["a target that differs from the path", "/forward-auth/graph/me", nginx("/graph/users/1")],
    ["a method that differs from the request's", "/forward-auth/graph/me", nginx("/graph/me", "POST")],
    ["an unknown method", "/forward-auth/graph", nginx("/graph/me", "FETCH")],
    ["a method in lower case", "/forward-auth/graph", nginx("/graph/me", "get")],
    ["CONNECT", "/forward-auth/graph", nginx("/graph/me", "CONNECT")],
    ["no method in its field", "/forward-auth/graph", nginx("/graph/me", "")],
    [
      "a method that pretends to be another",
      "/forward-auth/graph",
      { ...nginx("/graph/me"), "x-http-method-override": "DELETE" },
    ],
  ])("is refused with %s", async (_, path, headers) => {
    const answer = await decide(path, headers as Record<string, string>);
    expect([answer.status, answer.body.code, answer.headers.authorization]).toEqual([
      400,
      "request_malformed",
      undefined,
    ]);
  });

  test("two lines of one field are no target", async () => {
    const answer = await ask(gateway.localUrl, "/forward-auth/graph", {
      headers: [
        ...["Authorization", `Bearer ${token}`, "X-Original-Method", "GET"],
        ...["X-Original-URI", "/graph/me", "X-Original-URI", "/graph/me"],
      ],
    });
    expect([answer.status, answer.headers.authorization]).toEqual([400, undefined]);
  });

  test.each([
    ["a dot segment", "/graph/me/../users/1", "target_forbidden"],
    ["an encoded dot segment", "/graph/me/%2e%2e/users", "target_forbidden"],
    ["a dot segment with a parameter", "/graph/me/..;/users", "target_forbidden"],
    ["an empty segment", "/graph//me", "target_forbidden"],
    ["an encoded slash", "/graph/me%2fmessages", "request_malformed"],
    ["an encoded backslash", "/graph/me%5cmessages", "request_malformed"],
    ["a backslash", "/graph/me\\messages", "request_malformed"],
    ["a double encoding", "/graph/me/%252e%252e", "request_malformed"],
    ["an encoded line break", "/graph/me%0d%0a", "request_malformed"],
    ["an encoded zero", "/graph/me%00", "request_malformed"],
    ["half an encoding", "/graph/me%2", "request_malformed"],
    ["a fragment", "/graph/me#x", "request_malformed"],
    ["a blank", "/graph/me x", "request_malformed"],
    ["bytes beyond ASCII", "/graph/m\u00e9", "request_malformed"],
    ["another route in another spelling", "/graph/me/%61dmin", "target_forbidden"],
  ])("with %s, which servers read in two ways, is refused", async (_, uri, code) => {
    for (const headers of [nginx(uri), traefik(uri)]) {
      const answer = await decide("/forward-auth/graph", headers);
      expect([answer.body.code, answer.headers.authorization]).toEqual([code, undefined]);
    }
  });

  test.each([
    "https://other.example/graph/me",
    "//other.example/graph/me",
    "graph/me",
    "*",
    "",
    "/graphs/me",
  ])("%j lies below no route", async (uri) => {
    const answer = await decide("/forward-auth/graph", nginx(uri));
    expect([answer.status, answer.body.code]).toEqual([404, "route_unknown"]);
  });
});

describe("the route that is asked about", () => {
  test.each([
    ["a route by its path", "/forward-auth/graph", "/graph/me", 200, undefined],
    [
      "an API by its name",
      "/forward-auth/unknown-resource",
      "/unknown-resource/me",
      502,
      "downstream_misconfigured",
    ],
    ["another route of the API", "/forward-auth/step-up", "/graph/me", 403, "target_forbidden"],
    ["a route of another API below", "/forward-auth/graph", "/graph/other/me", 403, "target_forbidden"],
    [
      "a route of the same API below, by its own rules",
      "/forward-auth/graph",
      "/graph/me/admin/me",
      403,
      "scope_insufficient",
    ],
    ["an API whose routes the path is none of", "/forward-auth/open", "/graph/me", 403, "target_forbidden"],
    ["an API by its name, for one of its routes", "/forward-auth/open", "/graph/other/me", 200, undefined],
  ])("%s", async (_, path, uri, status, code) => {
    const answer = await decide(path, nginx(uri));
    expect([answer.status, answer.body?.code]).toEqual([status, code]);
  });

  test.each([
    "/forward-auth/nobody",
    "/forward-auth",
    "/forward-auth/",
    "/forward-auth/graph/me/messages/x/../..",
  ])("%s names none", async (path) => {
    const answer = await decide(path, nginx("/graph/me"));
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect(answer.headers.authorization).toBeUndefined();
  });

  test("a batch is not let through, since its parts are out of sight", async () => {
    const answer = await decide("/forward-auth/graph", nginx("/graph/$batch", "POST"));
    expect([answer.status, answer.body.reason]).toEqual([403, "batch_unseen"]);
  });

  test("a message to an MCP server whose tools have rules is not let through, and its stream is", async () => {
    const answer = await decide("/forward-auth/tools", nginx("/tools/", "POST"));
    expect([answer.status, answer.body.reason]).toEqual([403, "messages_unseen"]);
    expect((await decide("/forward-auth/tools", nginx("/tools/"))).status).toBe(200);
  });
});

describe("a refusal", () => {
  test("arrives whole: status, challenge, code, and no field for the API", async () => {
    const missing = await decide("/forward-auth/graph", nginx("/graph/me"), { as: "" });
    expect([missing.status, missing.headers["www-authenticate"], missing.body.code]).toEqual([
      401,
      "Bearer",
      "token_missing",
    ]);
    const stepUp = await decide("/forward-auth/step-up", nginx("/step-up/me"), {
      as: emulator.mintUserToken({ capabilities: ["cp1"] }),
    });
    expect([stepUp.status, stepUp.body.code]).toEqual([401, "claims_challenged"]);
    expect(stepUp.headers["www-authenticate"]).toContain('error="insufficient_claims"');
    const user = emulator.addUser();
    emulator.refuse({ code: 50196, user });
    const throttled = await decide("/forward-auth/graph", nginx("/graph/me"), {
      as: emulator.mintUserToken({ user }),
    });
    expect([throttled.status, throttled.body.code]).toEqual([503, "authority_throttled"]);
    expect(throttled.headers["retry-after"]).toMatch(/^\d+$/);
    for (const { headers } of [missing, stepUp, throttled]) expect(headers.authorization).toBeUndefined();
  });
});

describe("limits", () => {
  test("count requests of both sides together", async () => {
    const limited = await startTestGateway({
      emulator,
      yaml: `${LOCAL_YAML}\nlimits: { perUser: { requests: 2 } }\n`,
      env: { LOCAL_PORT: "0" },
    });
    try {
      const as = emulator.mintUserToken({ user: emulator.addUser() });
      const headers = { ...bearer(as), ...nginx("/graph/me") };
      await limited.get("/graph/me", as).expect(200);
      const second = await ask(limited.localUrl, "/forward-auth/graph", { headers });
      expect([second.status, second.headers["ratelimit-policy"]]).toEqual([200, '"user";q=2;w=60']);
      const third = await ask(limited.localUrl, "/forward-auth/graph", { headers });
      expect([third.status, third.body.code]).toEqual([429, "rate_limited"]);
      expect(Number(third.headers["retry-after"])).toBeGreaterThan(0);
      const sidecar = await ask(limited.localUrl, "/AuthorizationHeader/graph", { headers: bearer(as) });
      expect(sidecar.status).toBe(429);
    } finally {
      await limited.stop();
    }
  });
});

test("a reload of the configuration decides here too", async () => {
  const allowed = () => decide("/forward-auth/graph", nginx("/graph/me"));
  expect((await allowed()).status).toBe(200);
  const renamed = LOCAL_YAML.replace("  - path: /graph\n", "  - path: /elsewhere\n");
  expect(await gateway.reconfigure(renamed)).toMatchObject({ outcome: "taken_over", changed: ["routes"] });
  expect((await allowed()).status).not.toBe(200);
  expect((await decide("/forward-auth/elsewhere", nginx("/elsewhere/me"))).status).toBe(200);
  expect(await gateway.reconfigure(LOCAL_YAML)).toMatchObject({ outcome: "taken_over", needRestart: [] });
  expect((await allowed()).status).toBe(200);
});
