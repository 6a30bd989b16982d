/** The endpoints of nais' Texas: names, shapes, and refusals as RFC 6749 §5.2 phrases them, with the gateway's members beside. */

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { startTestGateway, type TestGateway } from "../support/gateway.ts";
import { ask, claimsOf, LOCAL_YAML } from "./support.ts";

let emulator: Emulator;
let gateway: TestGateway;

beforeAll(async () => {
  emulator = await startEmulator();
  gateway = await startTestGateway({ emulator, yaml: LOCAL_YAML, env: { LOCAL_PORT: "0" } });
});
afterAll(async () => {
  await gateway.stop();
  await emulator.close();
});
beforeEach(() => emulator.requests.clear());
afterEach(() => emulator.clearRefusals());

const newUser = (options = {}) => emulator.mintUserToken({ user: emulator.addUser(), ...options });
const provider = { identity_provider: "entra_id" };
const json = (path: string, body: object) =>
  ask(gateway.localUrl, path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ ...provider, ...body }),
  });
const form = (path: string, body: Record<string, string>) =>
  ask(gateway.localUrl, path, {
    method: "POST",
    headers: { "content-type": "application/x-www-form-urlencoded" },
    body: new URLSearchParams({ ...provider, ...body }).toString(),
  });
const EXCHANGE = "/api/v1/token/exchange";

describe("POST /api/v1/token/exchange", () => {
  test.each([
    ["JSON", json],
    ["a form", form],
  ])("gives a token on the user's behalf for a request as %s", async (_, post) => {
    const user = emulator.addUser();
    const answer = await post(EXCHANGE, { target: "graph", user_token: emulator.mintUserToken({ user }) });
    expect(answer.status).toBe(200);
    expect(Object.keys(answer.body)).toEqual(["access_token", "token_type", "expires_in"]);
    expect(answer.body).toMatchObject({ token_type: "Bearer", expires_in: expect.any(Number) });
    expect(answer.body.expires_in).toBeGreaterThan(3_000);
    expect(claimsOf(answer.body.access_token)).toMatchObject({ oid: user.objectId });
    expect(answer.headers["cache-control"]).toBe("no-store");
  });

  test("takes the older name of the provider, and a scope or a resource as target where it is one API's alone", async () => {
    const user_token = newUser();
    const older = await json(EXCHANGE, { identity_provider: "azuread", target: "graph", user_token });
    expect(older.status).toBe(200);
    const scope = await json(EXCHANGE, { target: "https://graph.microsoft.com/User.Read", user_token });
    expect(scope.status).toBe(200);
    expect(emulator.requests.token.at(-1)?.scopes).toContain("https://graph.microsoft.com/User.Read");
    const several = await json(EXCHANGE, { target: "https://graph.microsoft.com/.default", user_token });
    expect([several.status, several.body.error]).toEqual([400, "invalid_target"]);
  });

  test("skip_cache passes by the cache once in 30 seconds", async () => {
    const user_token = newUser();
    for (const post of [json, form])
      for (let count = 0; count < 3; count += 1)
        await post(EXCHANGE, { target: "graph", user_token, skip_cache: "true" as never });
    const exchanges = emulator.requests.token.filter((one) => one.userObjectId !== undefined);
    expect(exchanges).toHaveLength(1);
  });

  test("takes the claims of the API's challenge", async () => {
    const claims = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}';
    const user = emulator.addUser();
    const user_token = emulator.mintUserToken({ user, capabilities: ["cp1"], claims: { acrs: ["c1"] } });
    const answer = await json(EXCHANGE, { target: "graph", user_token, claims });
    expect(answer.status).toBe(200);
    expect(emulator.requests.token.at(-1)?.claims).toContain("acrs");
  });

  test("says in log and audit by which interface the token was given", async () => {
    const answer = await json(EXCHANGE, { target: "graph", user_token: newUser() });
    const id = String(answer.headers["x-correlation-id"]);
    expect(await gateway.line(id)).toMatchObject({ via: "texas", route: "/api/v1/token/exchange/graph" });
    expect(gateway.logs.find((line) => line.stream === "audit" && line.correlationId === id)).toMatchObject({
      via: "texas",
    });
  });

  test("looks at the user's token of the body, not at a field", async () => {
    const answer = await ask(gateway.localUrl, EXCHANGE, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${newUser()}` },
      body: JSON.stringify({ ...provider, target: "graph", user_token: "a.b.c" }),
    });
    expect([answer.status, answer.body.error, answer.body.code]).toEqual([
      401,
      "invalid_grant",
      "token_rejected",
    ]);
  });

  test.each([
    ["MFA", { code: 50076, claims: true as const }, 401, "interaction_required", "claims_challenged"],
    ["consent missing", { code: 65001 }, 403, "consent_required", "consent_required"],
    ["a policy that blocks", { code: 53003 }, 403, "access_denied", "blocked_by_policy"],
    ["throttling", { code: 50196 }, 503, "temporarily_unavailable", "authority_throttled"],
  ])("%s is refused with its own status, error and code", async (_, refusal, status, error, code) => {
    const user = emulator.addUser();
    emulator.refuse({ ...refusal, user });
    const user_token = emulator.mintUserToken({ user, capabilities: ["cp1"] });
    const answer = await json(EXCHANGE, { target: "graph", user_token });
    expect([answer.status, answer.body.error, answer.body.code]).toEqual([status, error, code]);
    expect(answer.body.error_description).toBe(answer.body.detail);
    expect(answer.headers["content-type"]).toBe("application/json");
    expect(answer.headers["retry-after"] !== undefined).toBe(status === 503);
    if (code !== "claims_challenged") return;
    const [, claims = ""] = /claims="([^"]+)"/.exec(answer.headers["www-authenticate"] ?? "") ?? [];
    expect(Buffer.from(claims, "base64").toString()).toBe(answer.body.claims);
  });

  test("an application's token is no user's", async () => {
    const answer = await json(EXCHANGE, {
      target: "graph",
      user_token: emulator.mintUserToken({ appOnly: true }),
    });
    expect([answer.status, answer.body.code]).toEqual([403, "user_token_required"]);
  });
});

describe("POST /api/v1/token", () => {
  test("gives the application's own token, where the API allows it", async () => {
    const answer = await json("/api/v1/token", { target: "daemon" });
    expect(Object.keys(answer.body)).toEqual(["access_token", "token_type", "expires_in"]);
    expect(claimsOf(answer.body.access_token)).toMatchObject({ idtyp: "app" });
  });
});

describe("POST /api/v1/introspect", () => {
  test("gives the claims of a genuine token", async () => {
    const token = newUser();
    for (const post of [json, form]) {
      const answer = await post("/api/v1/introspect", { token });
      expect([answer.status, answer.body]).toEqual([200, { active: true, ...claimsOf(token) }]);
    }
  });

  test("says of any other that it is not active, and why", async () => {
    for (const token of [
      "x",
      emulator.mintUserToken({ signWith: "unpublished" }),
      emulator.mintUserToken({ expiresInSeconds: -1 }),
    ]) {
      const answer = await json("/api/v1/introspect", { token });
      expect([answer.status, answer.body]).toEqual([200, { active: false, error: expect.any(String) }]);
    }
  });

  test("lets no claim say that a token is active", async () => {
    const token = newUser({ claims: { active: false } });
    expect((await json("/api/v1/introspect", { token })).body.active).toBe(true);
  });
});
