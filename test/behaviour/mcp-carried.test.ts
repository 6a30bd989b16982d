/** Carried challenges by hand: marks, renewals, replicas, bounds, and what differs by tenant and address. */

import { randomBytes } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator, User } from "../emulator/handle.ts";
import {
  authorizeRequest,
  callTool,
  locationOf,
  type McpGateway,
  type McpGatewayOptions,
  type OAuthAnswer,
  personAtEmulator,
  postForm,
  readAnswer,
  scopeOf,
  signIn,
  startMcpGateway,
  startMcpServer,
  type TestMcpServer,
} from "../support/mcp.ts";
import { describeWithRedis } from "../support/redis.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";

const KEY = randomBytes(32).toString("base64");
const HANDLE = /urn:obo-gateway:claims:[A-Za-z0-9_-]+/g;

let emulator: Emulator;
let server: TestMcpServer;
let gateway: McpGateway;
let clock = Date.now();
const open: { close(): Promise<void> }[] = [];

beforeAll(async () => {
  [emulator, server] = await Promise.all([startEmulator({ now: () => clock }), startMcpServer()]);
  gateway = await startMcpGateway({
    emulator,
    server,
    now: () => clock,
    cachedTokens: 1,
    credential: "certificate",
  });
});
afterAll(async () => {
  await gateway.stop();
  await Promise.all([server.close(), emulator.close()]);
});
beforeEach(() => {
  clock += 61_000;
});
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
  emulator.clearRefusals();
});

async function another(options: Partial<McpGatewayOptions>): Promise<McpGateway> {
  const started = await startMcpGateway({
    emulator,
    server,
    now: () => clock,
    credential: "certificate",
    ...options,
  });
  open.push({ close: () => started.stop() });
  return started;
}

function newUser(more: Partial<User> = {}) {
  const user = emulator.addUser(more);
  const person = personAtEmulator(emulator);
  open.push(person);
  return { user, person };
}

/** Takes the one place in the cache of downstream tokens. */
const evict = (at: Pick<McpGateway, "url"> = gateway) =>
  callTool(at, "/mcp", emulator.mintUserToken({ user: "grace" }));

const renew = (refresh_token: string, at: Pick<McpGateway, "url"> = gateway): Promise<OAuthAnswer> =>
  postForm(`${at.url}/oauth2/token`, {
    grant_type: "refresh_token",
    client_id: emulator.publicClientId,
    refresh_token,
  });

const handlesOf = (answer: OAuthAnswer) => scopeOf(answer).match(HANDLE) ?? [];

describe("a demand for MFA", () => {
  test("is a 403 with the handle in scope, refuses renewals while it waits, and ends with its sign-in", async () => {
    const { user, person } = newUser();
    const { tokens } = await signIn(gateway, emulator, person, { user: user.name });
    emulator.requireMfa(user);
    const challenged = await callTool(gateway, "/mcp", tokens.access_token);
    expect(challenged.status).toBe(403);
    expect(challenged.headers.get("www-authenticate")).toMatch(
      new RegExp(
        `^Bearer error="insufficient_scope", scope="api://${emulator.clientId}/access_as_user urn:obo-gateway:claims:[\\w-]+", resource_metadata="${gateway.publicUrl}/.well-known/oauth-protected-resource/mcp"$`,
      ),
    );
    expect(challenged.headers.get("content-type")).toBe("application/problem+json");
    expect(challenged.body).toMatchObject({ status: 403, code: "interaction_required" });

    const refused = await renew(tokens.refresh_token);
    expect([refused.status, refused.body.error]).toEqual([400, "invalid_grant"]);

    const scope = scopeOf(challenged);
    const { location } = await locationOf(authorizeRequest(gateway, emulator, { scope }).url);
    expect(JSON.parse(location?.searchParams.get("claims") ?? "")).toHaveProperty("access_token.capolids");
    expect(location?.searchParams.get("scope")).not.toContain("urn:");

    const again = await signIn(gateway, emulator, person, { user: user.name, changes: { scope } });
    expect(again.pages).toBeGreaterThan(0);
    expect((await callTool(gateway, "/mcp", again.tokens.access_token)).status).toBe(200);
    expect((await renew(again.tokens.refresh_token)).status).toBe(200);
  });

  test("that a sign-in without the handle follows still refuses renewals, for five minutes", async () => {
    const { user, person } = newUser();
    const { tokens } = await signIn(gateway, emulator, person, { user: user.name });
    const mfa = emulator.requireMfa(user);
    expect((await callTool(gateway, "/mcp", tokens.access_token)).status).toBe(403);
    const plain = await signIn(gateway, emulator, person, { user: user.name });
    expect(plain.status).toBe(200);
    expect((await renew(plain.tokens.refresh_token)).body.error).toBe("invalid_grant");
    clock += 5 * 60_000 + 1;
    expect((await renew(plain.tokens.refresh_token)).status).toBe(200);
    mfa.remove();
  });

  test("of one user leaves the renewals of others alone", async () => {
    const ada = newUser();
    const other = newUser();
    const { tokens } = await signIn(gateway, emulator, ada.person, { user: ada.user.name });
    const others = await signIn(gateway, emulator, other.person, { user: other.user.name });
    emulator.requireMfa(ada.user);
    expect((await callTool(gateway, "/mcp", tokens.access_token)).status).toBe(403);
    expect((await renew(others.tokens.refresh_token)).status).toBe(200);
  });

  test("has the same handle each time within a minute, by which clients notice a circle", async () => {
    const { user } = newUser();
    emulator.requireMfa(user);
    const token = () => emulator.mintUserToken({ user, clientId: emulator.publicClientId });
    const [first] = handlesOf(await callTool(gateway, "/mcp", token()));
    const [second] = handlesOf(await callTool(gateway, "/mcp", token()));
    expect(second).toBe(first);
    clock += 61_000;
    const [later] = handlesOf(await callTool(gateway, "/mcp", token()));
    expect(later).not.toBe(first);
  });

  test("is plain after twenty challenges without a sign-in, so that no client goes on for ever", async () => {
    const { user } = newUser();
    emulator.requireMfa(user);
    const statuses: number[] = [];
    for (let count = 0; count < 22; count += 1) {
      const token = emulator.mintUserToken({ user, clientId: emulator.publicClientId });
      statuses.push((await callTool(gateway, "/mcp", token)).status);
    }
    expect(statuses).toEqual([...Array.from({ length: 20 }, () => 403), 401, 401]);
  });

  test("is answered as on other routes to a client that declared cp1 and signs in by itself", async () => {
    const { user } = newUser();
    emulator.requireMfa(user);
    const answer = await callTool(gateway, "/mcp", emulator.mintUserToken({ user, capabilities: ["cp1"] }));
    expect([answer.status, answer.body.code]).toEqual([401, "claims_challenged"]);
    expect(answer.headers.get("www-authenticate")).toMatch(/error="insufficient_claims", claims="/);
  });

  test("with claims too long for a scope is the plain problem", async () => {
    const { user } = newUser();
    const claims = JSON.stringify({
      access_token: {
        capolids: {
          essential: true,
          values: Array.from({ length: 40 }, (_, at) => `policy-${at}-${"x".repeat(24)}`),
        },
      },
    });
    emulator.refuse({ code: 50076, user, grant: "on-behalf-of", claims });
    const answer = await callTool(
      gateway,
      "/mcp",
      emulator.mintUserToken({ user, clientId: emulator.publicClientId }),
    );
    expect([answer.status, answer.body.code]).toEqual([401, "interaction_required"]);
    expect(handlesOf(answer)).toEqual([]);
    expect(answer.body.claims).toBe(claims);
  });
});

describe("the same demand after its sign-in", () => {
  const claims = '{"access_token":{"capolids":{"essential":true,"values":["nothing-meets-it"]}}}';

  test("is blocked_by_policy, also with a renewed token, and a new demand ten minutes later", async () => {
    const { user, person } = newUser();
    emulator.refuse({ code: 50076, user, grant: "on-behalf-of", claims });
    const first = await signIn(gateway, emulator, person, { user: user.name });
    const scope = scopeOf(await callTool(gateway, "/mcp", first.tokens.access_token));
    const { tokens } = await signIn(gateway, emulator, person, { user: user.name, changes: { scope } });
    const blocked = await callTool(gateway, "/mcp", tokens.access_token);
    expect([blocked.status, blocked.body.code]).toEqual([403, "blocked_by_policy"]);
    expect(blocked.headers.get("www-authenticate")).toBeNull();

    const renewed = await renew(tokens.refresh_token);
    expect(renewed.status).toBe(200);
    const still = await callTool(gateway, "/mcp", String(renewed.body.access_token));
    expect(still.body.code).toBe("blocked_by_policy");

    // Another client of the same user has not signed in for it.
    const elsewhere = await callTool(gateway, "/mcp", first.tokens.access_token);
    expect(elsewhere.status).toBe(403);
    expect(handlesOf(elsewhere)).toHaveLength(1);

    clock += 10 * 60_000 + 1;
    const later = await callTool(gateway, "/mcp", tokens.access_token);
    expect(handlesOf(later)).toHaveLength(1);
  });

  test("is the same although its time differs", async () => {
    const { user, person } = newUser();
    let seconds = 1_700_000_000;
    const refuse = () =>
      emulator.refuse({
        code: 50076,
        user,
        grant: "on-behalf-of",
        claims: JSON.stringify({ access_token: { nbf: { essential: true, value: String(seconds++) } } }),
      });
    let refusal = refuse();
    const first = await signIn(gateway, emulator, person, { user: user.name });
    const scope = scopeOf(await callTool(gateway, "/mcp", first.tokens.access_token));
    const { tokens } = await signIn(gateway, emulator, person, { user: user.name, changes: { scope } });
    refusal.remove();
    refusal = refuse();
    expect((await callTool(gateway, "/mcp", tokens.access_token)).body.code).toBe("blocked_by_policy");
  });

  test("two demands that undo each other end when the first one comes back", async () => {
    const { user, person } = newUser();
    const demands = ["c1", "c2"].map((value) =>
      JSON.stringify({ access_token: { acrs: { essential: true, value } } }),
    );
    let { tokens } = await signIn(gateway, emulator, person, { user: user.name });
    for (let count = 0; ; count += 1) {
      if (count > 6) throw new Error("the client goes in circles");
      const refusal = emulator.refuse({
        code: 50076,
        user,
        grant: "on-behalf-of",
        claims: demands[count % 2] ?? "",
      });
      await evict();
      const answer = await callTool(gateway, "/mcp", tokens.access_token);
      refusal.remove();
      if (answer.body.code === "blocked_by_policy") {
        expect(count).toBe(2);
        break;
      }
      const scope = scopeOf(answer);
      ({ tokens } = await signIn(gateway, emulator, person, { user: user.name, changes: { scope } }));
    }
  });
});

describe("scopes that a client has collected", () => {
  test("of several handles the newest counts, and older ones beside it do no harm", async () => {
    const { user, person } = newUser();
    const mfa = emulator.requireMfa(user);
    const { tokens } = await signIn(gateway, emulator, person, { user: user.name });
    const older = scopeOf(await callTool(gateway, "/mcp", tokens.access_token));
    mfa.remove();
    clock += 61_000;
    const newer = scopeOf(await callTool(gateway, "/step-up", tokens.access_token));
    for (const scope of [`${older} ${newer}`, `${newer} ${older}`]) {
      const { location } = await locationOf(authorizeRequest(gateway, emulator, { scope }).url);
      expect(location?.searchParams.get("claims")).toContain('"c1"');
    }
  });

  test("a leftover of hours ago is no obstacle to a sign-in", async () => {
    const { user } = newUser();
    const token = emulator.mintUserToken({ user, clientId: emulator.publicClientId });
    const scope = scopeOf(await callTool(gateway, "/step-up", token));
    clock += 2 * 3_600_000;
    const { location } = await locationOf(authorizeRequest(gateway, emulator, { scope }).url);
    expect(location?.searchParams.get("scope")).toBe(
      `api://${emulator.clientId}/access_as_user openid profile offline_access`,
    );
    expect(location?.searchParams.has("claims")).toBe(false);
  });
});

describe("users of several tenants", () => {
  test("sign in at organizations, and renew at their own", async () => {
    const many = await another({
      tenants: `["${emulator.tenantId}", "${emulator.secondTenant.id}"]`,
      env: { AZURE_ADDITIONALLY_ALLOWED_TENANTS: emulator.secondTenant.id },
    });
    const { location } = await locationOf(authorizeRequest(many, emulator).url);
    expect(location?.pathname).toBe("/organizations/oauth2/v2.0/authorize");
    const { user, person } = newUser({ tenantId: emulator.secondTenant.id });
    const { tokens } = await signIn(many, emulator, person, { user: user.name });
    expect((await renew(tokens.refresh_token, many)).status).toBe(200);
    emulator.requireMfa(user);
    const challenged = await callTool(many, "/mcp", tokens.access_token);
    const scope = scopeOf(challenged);
    const again = await signIn(many, emulator, person, { user: user.name, changes: { scope } });
    expect((await callTool(many, "/mcp", again.tokens.access_token)).status).toBe(200);
  });
});

describe("an address with a path", () => {
  test("has documents at the paths of both RFCs, and an issuer with its slash", async () => {
    const below = await another({ slash: "/gateway/" });
    const issuer = below.publicUrl;
    expect(issuer.endsWith("/gateway/")).toBe(true);
    for (const path of [
      "/.well-known/oauth-authorization-server",
      "/.well-known/oauth-authorization-server/gateway",
      "/.well-known/openid-configuration",
      "/gateway/.well-known/openid-configuration",
    ]) {
      const { body } = await readAnswer(await fetch(below.url + path));
      expect(body.issuer).toBe(issuer);
      expect(body.token_endpoint).toBe(`${issuer}oauth2/token`);
    }
    const { body } = await readAnswer(
      await fetch(`${below.url}/.well-known/oauth-protected-resource/gateway/mcp`),
    );
    expect(body).toMatchObject({ resource: `${issuer}mcp`, authorization_servers: [issuer] });
    const challenge = await callTool(below, "/mcp", undefined);
    expect(challenge.headers.get("www-authenticate")).toContain(
      `resource_metadata="${below.url}/.well-known/oauth-protected-resource/gateway/mcp"`,
    );
  });
});

describe("Entra", () => {
  test("that does not answer is 503 temporarily_unavailable, with Retry-After", async () => {
    const { user, person } = newUser();
    const { tokens } = await signIn(gateway, emulator, person, { user: user.name });
    const fault = emulator.faults.inject({
      endpoint: "token",
      behaviour: { kind: "reset", when: "before-headers" },
    });
    const refused = await renew(tokens.refresh_token);
    fault.remove();
    expect([refused.status, refused.body.error, refused.headers.get("retry-after")]).toEqual([
      503,
      "temporarily_unavailable",
      "5",
    ]);
  });
});

describeWithRedis("replicas", () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis.close());

  const replicas = async () => {
    const env = { REDIS_URL: redis.url, TOKEN_CACHE_KEYS: KEY };
    const first = await another({ env });
    // The same address for both, as behind a balancer.
    const second = await another({ env, publicUrl: first.publicUrl });
    for (const one of [first, second]) await connected(one);
    return { first, second };
  };

  async function connected(one: McpGateway): Promise<void> {
    for (let attempt = 0; attempt < 400; attempt += 1) {
      const { text } = await one.admin("/metrics");
      if (text.includes("obo_gateway_shared_cache_available 1")) return;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    throw new Error("the gateway does not reach Redis");
  }

  test("share marks, handles and refresh tokens, and Redis learns no id of the user", async () => {
    const { first, second } = await replicas();
    const { user, person } = newUser();
    const { tokens } = await signIn(first, emulator, person, { user: user.name });
    expect((await renew(tokens.refresh_token, second)).status).toBe(200);
    emulator.requireMfa(user);
    const fresh = emulator.mintUserToken({ user, clientId: emulator.publicClientId });
    const challenged = await callTool(first, "/mcp", fresh);
    expect(challenged.status).toBe(403);
    expect((await renew(tokens.refresh_token, second)).body.error).toBe("invalid_grant");
    const names = await redis.inspect.keys("*");
    expect(names.filter((name) => name.endsWith(":mcp")).length).toBeGreaterThan(0);
    expect(names.join()).not.toContain(user.objectId);

    const scope = scopeOf(challenged);
    const again = await signIn(second, emulator, person, { user: user.name, changes: { scope } });
    expect(again.status).toBe(200);
    // Ended at the replica that saw the sign-in, and so at the one that challenged.
    expect((await renew(again.tokens.refresh_token, first)).status).toBe(200);
    const { answer } = await locationOf(authorizeRequest(first, emulator, { scope }).url);
    expect(answer.body.error_description).toMatch(/met already/);
  });

  test("know at each of them that a demand stands after its sign-in", async () => {
    const { first, second } = await replicas();
    const { user, person } = newUser();
    const claims = '{"access_token":{"capolids":{"essential":true,"values":["nothing-meets-it"]}}}';
    emulator.refuse({ code: 50076, user, grant: "on-behalf-of", claims });
    const token = emulator.mintUserToken({ user, clientId: emulator.publicClientId });
    const scope = scopeOf(await callTool(first, "/mcp", token));
    const { tokens } = await signIn(first, emulator, person, { user: user.name, changes: { scope } });
    expect((await callTool(second, "/mcp", tokens.access_token)).body.code).toBe("blocked_by_policy");
  });

  test("go on by themselves while Redis is gone", async () => {
    const { first } = await replicas();
    const { user, person } = newUser();
    const { tokens } = await signIn(first, emulator, person, { user: user.name });
    emulator.requireMfa(user);
    await redis.kill();
    try {
      const fresh = emulator.mintUserToken({ user, clientId: emulator.publicClientId });
      const challenged = await callTool(first, "/mcp", fresh);
      expect(challenged.status).toBe(403);
      expect((await renew(tokens.refresh_token, first)).body.error).toBe("invalid_grant");
      const scope = scopeOf(challenged);
      const again = await signIn(first, emulator, person, { user: user.name, changes: { scope } });
      expect((await callTool(first, "/mcp", again.tokens.access_token)).status).toBe(200);
      expect((await renew(again.tokens.refresh_token, first)).status).toBe(200);
    } finally {
      await redis.restart();
    }
  });
});
