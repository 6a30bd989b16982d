/** Several downstream APIs behind one gateway, one of them a middle tier of its own that exchanges once more. */

import { afterAll, beforeAll, beforeEach, expect, test } from "@jest/globals";
import { codeRoute } from "../../src/index.ts";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { type OrdersApi, startOrdersApi } from "../emulator/orders-api.ts";
import { startTestGateway, type TestGateway } from "../support/gateway.ts";

const YAML = `
identity:
  tenants: ["\${AZURE_TENANT_ID}"]
  audiences: ["\${AZURE_CLIENT_ID}", "api://\${AZURE_CLIENT_ID}"]
downstreamApis:
  graph:
    baseUrl: "\${GRAPH_URL}"
    scopes: [https://graph.microsoft.com/.default]
    allowPrivateNetwork: true
  orders:
    baseUrl: "\${ORDERS_URL}"
    scopes: ["\${ORDERS_SCOPE}"]
    allowPrivateNetwork: true
routes:
  - { path: /graph, downstreamApi: graph, allow: ["/me"] }
  - { path: /orders, downstreamApi: orders, allow: ["/orders"] }
http: { shutdownGraceSeconds: 2 }
`;

const both = codeRoute({
  method: "get",
  path: "/api/both",
  policy: { callers: "user", requiredScopes: [], requiredRoles: [], allowedClients: [] },
  uses: ["graph", "orders"],
  async handler(_request, response, { downstream: { graph, orders } }) {
    const [me, list] = await Promise.all([graph.get("/me"), orders.get("/orders")]);
    response.json({ me: await me.json(), ...(await list.json<object>()) });
  },
});

let emulator: Emulator;
let ordersApi: OrdersApi;
let gateway: TestGateway;
beforeAll(async () => {
  emulator = await startEmulator();
  ordersApi = await startOrdersApi(emulator);
  const env = { ORDERS_URL: ordersApi.url, ORDERS_SCOPE: ordersApi.scopes[0] ?? "" };
  gateway = await startTestGateway({ emulator, yaml: YAML, env, routes: [both] });
});
beforeEach(() => emulator.requests.clear());
afterAll(async () => {
  await gateway.stop();
  await ordersApi.close();
  await emulator.close();
});

test.each(["ada", "grace"] as const)("a chain of two exchanges still speaks for %s", async (name) => {
  const user = emulator.users[name];
  const { body } = await gateway.get("/orders/orders", emulator.mintUserToken({ user })).expect(200);
  expect(body).toEqual({
    orders: [{ id: "4711", buyer: user.displayName, buyerId: user.objectId }],
    calledBy: emulator.clientId,
  });
  // The trial of the gateway's credential, which is no user's, may come as late as this on a busy machine.
  const [first, second] = emulator.requests.token.filter(
    ({ userObjectId }) => userObjectId === user.objectId,
  );
  expect([first?.clientId, second?.clientId]).toEqual([emulator.clientId, emulator.ordersApi.clientId]);
  // Each exchange is for one API only, and neither API ever sees the other's token.
  expect([first?.scopes, second?.scopes].flat().join(" ")).toMatch(/orders\.read .*User\.Read/);
});

test("a handler calls several APIs, each with a token of its own", async () => {
  const { body } = await gateway.get("/api/both", emulator.mintUserToken({ user: "edsger" })).expect(200);
  expect(body.me.id).toBe(emulator.users.edsger.objectId);
  expect(body.orders[0].buyerId).toBe(emulator.users.edsger.objectId);
  expect(emulator.requests.token.filter(({ clientId }) => clientId === emulator.clientId)).toHaveLength(2);
});

test("the second tier does not take the user's own token", async () => {
  const answer = await fetch(`${ordersApi.url}/orders`, {
    headers: { authorization: `Bearer ${emulator.mintUserToken({ user: "ada" })}` },
  });
  expect(answer.status).toBe(401);
});
