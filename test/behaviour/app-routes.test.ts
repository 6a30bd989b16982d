/** Routes that say `as: app`: the gateway acts with its own permissions, for callers whom the route names. */

import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { codeRoute } from "../../src/http/code-route.ts";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { startTestGateway, TEST_YAML, type TestGateway } from "../support/gateway.ts";

const YAML = (route: string) =>
  TEST_YAML.replace(
    "routes:\n",
    `  orders:
    baseUrl: "\${ORDERS_URL}"
    scopes: ["\${ORDERS_ID}/.default"]
    allowPrivateNetwork: true
routes:
  - { path: /orders, downstreamApi: orders, allow: ["/**"], ${route} }
`,
  );
const ROUTE = "as: app, requireUser: false, requiredRoles: [Orders.Run]";

const CLAIMS = Buffer.from('{"access_token":{"nbf":{"essential":true,"value":"1"}}}').toString("base64");
const CHALLENGE = `Bearer error="insufficient_claims", claims="${CLAIMS}"`;

let emulator: Emulator;
let orders: Server;
let ordersUrl: string;
let gateway: TestGateway;
/** Claims of the tokens that the API got. */
let received: Record<string, unknown>[];
/** Sent instead of an answer, while set. */
let challenge: string | undefined;

const env = () => ({ ORDERS_URL: ordersUrl, ORDERS_ID: emulator.ordersApi.identifierUris[0] ?? "" });

beforeAll(async () => {
  emulator = await startEmulator();
  orders = createServer((request, response) => {
    const payload = request.headers.authorization?.split(".")[1] ?? "";
    received.push(JSON.parse(Buffer.from(payload, "base64url").toString()));
    if (challenge === undefined) response.end("{}");
    else response.writeHead(401, { "www-authenticate": challenge }).end();
  }).listen(0, "127.0.0.1");
  await once(orders, "listening");
  const address = orders.address();
  ordersUrl = `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`;
  gateway = await startTestGateway({
    emulator,
    yaml: YAML(ROUTE),
    env: { ...env(), AZURE_ADDITIONALLY_ALLOWED_TENANTS: emulator.secondTenant.id },
    routes: [
      codeRoute({
        method: "get",
        path: "/api/run",
        as: "app",
        policy: { callers: "any", requiredScopes: [], requiredRoles: ["Orders.Run"], allowedClients: [] },
        uses: ["orders"],
        async handler(_request, response, { downstream }) {
          response.json({ status: (await downstream.orders.get("/run")).status });
        },
      }),
    ],
  });
});
afterAll(async () => {
  await gateway.stop();
  await emulator.close();
  orders.closeAllConnections();
  orders.close();
});
beforeEach(() => {
  received = [];
  emulator.requests.clear();
});
afterEach(() => {
  challenge = undefined;
  emulator.clearRefusals();
});

const daemon = () => emulator.mintUserToken({ appOnly: true, claims: { roles: ["Orders.Run"] } });
const user = (options = {}) =>
  emulator.mintUserToken({ user: "ada", claims: { roles: ["Orders.Run"] }, ...options });

describe("a route that says as: app", () => {
  test("serves an application with the gateway's own token, which is fetched once for all callers", async () => {
    await gateway.get("/orders/today", daemon()).expect(200);
    await gateway.get("/orders/today", daemon()).expect(200);
    await gateway.get("/orders/today", user()).expect(200);
    await gateway.get("/api/run", daemon()).expect(200);
    expect(emulator.requests.token).toMatchObject([
      { grantType: "client_credentials", credential: "federated", userObjectId: undefined, aadsts: 0 },
    ]);
    expect(received).toHaveLength(4);
    for (const claims of received) {
      expect(claims).toMatchObject({ azp: emulator.clientId, tid: emulator.tenantId });
      expect(claims).not.toHaveProperty("scp");
    }
  });

  test("never mixes its token with a user's for the same API", async () => {
    await gateway.get("/graph/me", user()).expect(200);
    await gateway.get("/orders/today", user()).expect(200);
    await gateway.get("/graph/me", user()).expect(200);
    expect(received.every(({ scp }) => scp === undefined)).toBe(true);
  });

  test.each([
    [
      "an application without the role",
      () => emulator.mintUserToken({ appOnly: true }),
      403,
      "scope_insufficient",
    ],
    ["a user without the role", () => emulator.mintUserToken(), 403, "scope_insufficient"],
    ["nobody", () => "", 401, undefined],
  ])("refuses %s before any token is fetched", async (_, token, status, code) => {
    const { body } = await gateway.get("/orders/today", token()).expect(status);
    if (code !== undefined) expect(body.code).toBe(code);
    expect(emulator.requests.counts.token).toBe(0);
  });

  test("answers a refusal on which only the operator can act as such, although Entra names another side", async () => {
    // Asked for with the claims of a challenge, so that no cached token will do.
    challenge = CHALLENGE;
    emulator.refuse({ code: 65001, grant: "client-credentials" });
    const refused = await gateway.get("/orders/tomorrow", user({ capabilities: ["cp1"] })).expect(503);
    expect(refused.body).toMatchObject({ code: "client_rejected" });
    expect(refused.headers["www-authenticate"]).toBeUndefined();
  });

  test("answers a claims challenge of the API once, and then tells the operator", async () => {
    challenge = CHALLENGE;
    const { body } = await gateway.get("/orders/today", user({ capabilities: ["cp1"] })).expect(503);
    expect(body.code).toBe("client_rejected");
    expect(received).toHaveLength(2);
  });

  test.each([
    [
      "names nobody",
      "as: app",
      "routes[0].as: app lends the gateway's own permissions to every caller; name requiredScopes",
    ],
    [
      "admits applications by scopes, which they do not have",
      "as: app, requireUser: false, requiredScopes: [access_as_user]",
      "routes[0].requireUser: false admits applications, which hold no scopes",
    ],
    [
      "admits applications to act as a user",
      "requireUser: false",
      "routes[0].requireUser: false only goes with as: app",
    ],
  ])("is a fault of the configuration when it %s", async (_, route, problem) => {
    await expect(startTestGateway({ emulator, yaml: YAML(route), env: env() })).rejects.toThrow(problem);
  });

  test("is a fault when the API's scopes are not one .default", async () => {
    const yaml = YAML(ROUTE).replace("ORDERS_ID}/.default", "ORDERS_ID}/orders.read");
    await expect(startTestGateway({ emulator, yaml, env: env() })).rejects.toThrow(
      "routes[0].as: app needs one scope that ends in /.default on downstreamApis.orders",
    );
  });
});

test("a route that acts as the user refuses an application, whatever its roles", async () => {
  const { body } = await gateway.get("/graph/me", daemon()).expect(403);
  expect(body.code).toBe("user_token_required");
});

test("in a second tenant the gateway's token is that tenant's, never the home tenant's", async () => {
  const yaml = YAML(ROUTE).replace('["${AZURE_TENANT_ID}"]', '["*"]');
  const both = await startTestGateway({
    emulator,
    yaml,
    env: { ...env(), AZURE_ADDITIONALLY_ALLOWED_TENANTS: "*" },
  });
  try {
    await both.get("/orders/today", user({ user: "linus" })).expect(200);
    expect(received).toMatchObject([{ tid: emulator.secondTenant.id }]);
  } finally {
    await both.stop();
  }
});
