/** The entry `obo-gateway/testing`, as a team uses it. */

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
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
