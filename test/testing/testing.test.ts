/** The entry `obo-gateway/testing`, as a team uses it. */

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { routeHandler } from "obo-gateway";
import supertest from "supertest";
import {
  createTestClock,
  createTestGateway,
  type Emulator,
  type ScenarioName,
  scenarios,
  startEmulator,
  type TestGateway,
} from "./testing.ts";

const clock = createTestClock();
let emulator: Emulator;
let gateway: TestGateway;
beforeAll(async () => {
  emulator = await startEmulator({ now: clock.now });
  gateway = await createTestGateway({ emulator, now: clock.now });
});
afterAll(async () => {
  await gateway.close();
  await emulator.close();
});

const get = (path: string, token: string) =>
  supertest(gateway.app).get(path).set("authorization", `Bearer ${token}`);

test("supertest calls the app, and Graph answers as the user", async () => {
  const { status, body } = await get("/graph/me", emulator.mintUserToken({ user: "ada" }));
  expect([status, body.id]).toEqual([200, emulator.users.ada.objectId]);
});

test("a token ends when the clock has been moved past it", async () => {
  const token = emulator.mintUserToken({ user: "ada", expiresInSeconds: 600 });
  expect((await get("/graph/me", token)).status).toBe(200);
  clock.advance(700_000);
  expect((await get("/graph/me", token)).body).toMatchObject({ code: "token_rejected" });
  expect(() => clock.advance(-1)).toThrow(RangeError);
});

describe("a handler that declares its needs", () => {
  const calling = (paths: readonly string[], needs?: readonly string[]) =>
    routeHandler({
      method: "get",
      uses: ["graph"],
      ...(needs !== undefined && { needs }),
      async handler(request, response, { downstream: { graph } }) {
        if (request.query.batch !== undefined) {
          const batch = graph.batch();
          for (const path of paths) batch.get(path);
          await batch.send();
        } else for (const path of paths) (await graph.get(path)).body.destroy();
        response.json({});
      },
    });
  const handlers = {
    honest: calling(["/me", "/me/messages/AAMk"], ["GET /me", "GET /me/messages/{id}"]),
    silent: calling(["/me/manager"]),
    forgetful: calling(["/me", "/me/manager"], ["GET /me"]),
    wrong: calling(
      ["/me/messages/AAMk/attachments"],
      ["GET /me/messages/{id}", "POST /me/messages/{id}/attachments"],
    ),
  };
  let declaring: TestGateway;
  beforeAll(async () => {
    declaring = await createTestGateway({
      emulator,
      now: clock.now,
      handlers,
      yaml: `
identity: { tenants: ["\${AZURE_TENANT_ID}"], audiences: ["\${AZURE_CLIENT_ID}", "api://\${AZURE_CLIENT_ID}"] }
downstreamApis:
  graph: { baseUrl: "\${GRAPH_URL}", scopes: [https://graph.microsoft.com/.default], kind: graph, allowPrivateNetwork: true }
routes:
${Object.keys(handlers)
  .map((name) => `  - { path: /${name}, handler: ${name} }`)
  .join("\n")}
`,
    });
  });
  afterAll(() => declaring.close());

  test.each([
    ["honest", 200, undefined],
    ["silent", 200, undefined],
    ["forgetful", 500, "the handler of GET /forgetful calls GET /me/manager of graph"],
    ["wrong", 500, "the handler of GET /wrong calls GET /me/messages/AAMk/attachments of graph"],
  ])("%s is answered %s", async (name, expected, problem) => {
    for (const query of ["", "?batch=1"]) {
      const before = declaring.logs.length;
      const { status } = await supertest(declaring.app)
        .get(`/${name}${query}`)
        .set("authorization", `Bearer ${emulator.mintUserToken({ user: "ada" })}`);
      expect(status).toBe(expected);
      if (problem !== undefined)
        expect(JSON.stringify(declaring.logs.slice(before))).toContain(
          `${problem}, which its needs do not declare`,
        );
    }
  });
});

describe("each scenario is what its name says, and ends", () => {
  const EXPECTED: Readonly<
    Record<Exclude<ScenarioName, "sessionsRevoked">, readonly [number, string | undefined]>
  > = {
    secondFactorRequired: [401, "interaction_required"],
    consentMissing: [403, "consent_required"],
    userNotAssigned: [403, "not_assigned"],
    authorityUnavailable: [503, "authority_unavailable"],
    authorityThrottled: [503, "authority_throttled"],
    graphThrottled: [429, undefined],
    graphUnreachable: [502, "downstream_unreachable"],
    credentialRejected: [503, "client_rejected"],
  };

  test("no scenario is left out", () => {
    expect([...Object.keys(EXPECTED), "sessionsRevoked"].sort()).toEqual(Object.keys(scenarios).sort());
  });

  test.each(Object.entries(EXPECTED))("%s", async (name, [status, code]) => {
    // A user of its own, because refusals and tokens are remembered for the user.
    const user = emulator.addUser({});
    const scenario = scenarios[name as ScenarioName](emulator, user);
    const refused = await get("/graph/me", emulator.mintUserToken({ user }));
    expect([refused.status, refused.body.code]).toEqual([status, code]);
    scenario.remove();
    // What the gateway remembers of a refusal or a throttled authority ends with time.
    clock.advance(120_000);
    const next = emulator.addUser({});
    expect((await get("/graph/me", emulator.mintUserToken({ user: next }))).status).toBe(200);
  });

  test("sessionsRevoked: a token of before is refused, one of afterwards passes", async () => {
    const user = emulator.addUser({});
    const token = emulator.mintUserToken({ user });
    clock.advance(2_000);
    scenarios.sessionsRevoked(emulator, user);
    expect((await get("/graph/me", token)).status).toBe(401);
    clock.advance(2_000);
    expect((await get("/graph/me", emulator.mintUserToken({ user }))).status).toBe(200);
  });
});
