/** A team's own tests against the emulator: no network, no tenant, no secret. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { routeHandler } from "obo-gateway";
import { createTestGateway, scenarios, startEmulator } from "obo-gateway/testing";
import supertest from "supertest";

const initials = routeHandler({
  method: "get",
  uses: ["graph"],
  needs: ["GET /me"],
  async handler(_request, response, { downstream: { graph } }) {
    const me = await graph.get("/me");
    if (me.status !== 200) return me.stream(response);
    const { displayName } = await me.json();
    response.json({ initials: displayName.replace(/(\w)\w*\s*/g, "$1") });
  },
});

let emulator;
let gateway;
before(async () => {
  emulator = await startEmulator();
  gateway = await createTestGateway({
    emulator,
    handlers: { initials },
    yaml: `
identity: { tenants: ["\${AZURE_TENANT_ID}"], audiences: ["\${AZURE_CLIENT_ID}"] }
downstreamApis:
  graph:
    baseUrl: "\${GRAPH_URL}"
    scopes: [https://graph.microsoft.com/.default]
    kind: graph
    allowPrivateNetwork: true
routes:
  - { path: /initials, handler: initials, requiredScopes: [access_as_user] }
`,
  });
});
after(async () => {
  await gateway.close();
  await emulator.close();
});

const get = (token) => supertest(gateway.app).get("/initials").set("authorization", `Bearer ${token}`);

test("a user sees their initials", async () => {
  const { status, body } = await get(emulator.mintUserToken({ user: "ada" }));
  assert.equal(status, 200);
  assert.match(body.initials, /^[A-Z]{2}$/);
});

test("a user who must show a second factor is asked for it", async () => {
  const scenario = scenarios.secondFactorRequired(emulator, "grace");
  const { status, body } = await get(emulator.mintUserToken({ user: "grace", capabilities: ["cp1"] }));
  assert.deepEqual([status, body.code], [401, "claims_challenged"]);
  scenario.remove();
});

test("an application without a user is refused", async () => {
  const { status, body } = await get(emulator.mintUserToken({ appOnly: true }));
  assert.equal(status, 403);
  assert.equal(body.code, "user_token_required");
});
