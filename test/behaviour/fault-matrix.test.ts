/** What the token endpoint may do, and what the caller then sees: through the whole gateway. */

import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { startEmulator } from "../emulator/emulator.ts";
import type { FaultBehaviour } from "../emulator/fault.ts";
import type { Emulator, RefusalOptions } from "../emulator/handle.ts";
import { startTestGateway, type TestGateway } from "../support/gateway.ts";

const CLAIMS = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}';
/** Entra's own words, which the emulator puts into every refusal and no caller may see. */
const ENTRAS_WORDS = /AADSTS|error_description|Injected fault|<html|Trace ID|Our services/;

let emulator: Emulator;
let gateway: TestGateway;
/** A gateway that met nothing but refusals of single users, and serves the next row as well. */
let unharmed: TestGateway | undefined;

beforeAll(async () => {
  emulator = await startEmulator();
});
afterAll(async () => {
  await unharmed?.stop();
  await emulator.close();
});
afterEach(async () => {
  emulator.faults.clear();
  emulator.clearRefusals();
  if (gateway !== unharmed) await gateway.stop();
});

interface Expected {
  readonly status: number;
  readonly code: string;
  /** Seconds; left out where the answer must not name a time. */
  readonly retryAfter?: number;
  /** Whether the next user is kept waiting too, once Entra is well again. */
  readonly holdsOthers?: true;
}

/** A silence ends the exchange after 600 ms; what is answered has time, for a busy machine answers late. */
const startFresh = (expected?: Expected) =>
  startTestGateway({
    emulator,
    credential: "certificate",
    env: { EXCHANGE_TIMEOUT_MS: expected?.status === 504 ? "600" : "10000" },
  });

/** What may count against Entra or the gateway's proof starts anew; what concerns one user must not touch the others. */
async function start(expected?: Expected): Promise<void> {
  const isOfOneUser = !(expected?.holdsOthers || expected?.code.startsWith("authority_"));
  gateway = (isOfOneUser ? unharmed : undefined) ?? (await startFresh(expected));
  if (isOfOneUser) unharmed = gateway;
}

/** The answer to a user whom the fault meets, and the one to another user after it is over. */
async function answers(expected: Expected, user = emulator.addUser()): Promise<void> {
  const answer = await gateway.get("/graph/me", emulator.mintUserToken({ user, capabilities: ["cp1"] }));
  expect({ status: answer.status, code: answer.body.code }).toEqual({
    status: expected.status,
    code: expected.code,
  });
  expect(answer.headers["content-type"]).toBe("application/problem+json");
  expect(answer.headers["cache-control"]).toBe("no-store");
  // A 503 or 504 names a time, known or guessed; what the row names is what Entra said.
  if (expected.retryAfter !== undefined)
    expect(answer.headers["retry-after"]).toBe(expected.retryAfter.toString());
  else expect(answer.headers["retry-after"] !== undefined).toBe([503, 504].includes(expected.status));
  expect(JSON.stringify(answer.body)).not.toMatch(ENTRAS_WORDS);
  // RFC 9110 §11.6.1: a challenge on every 401, and on no other status unless it means something there.
  expect(answer.headers["www-authenticate"] !== undefined).toBe(expected.status === 401);

  emulator.faults.clear();
  emulator.clearRefusals();
  const next = await gateway.get("/graph/me", emulator.mintUserToken({ user: emulator.addUser() }));
  expect(next.status).toBe(expected.holdsOthers ? 503 : 200);
}

const rejected = { status: 401, code: "token_rejected" };
const interaction = { status: 401, code: "interaction_required" };
const challenged = { status: 401, code: "claims_challenged" };
const blocked = { status: 403, code: "blocked_by_policy" };
const consent = { status: 403, code: "consent_required" };
const adminConsent = { status: 403, code: "admin_consent_required" };
/** The gateway's own registration, not its proof. */
const registration = { status: 503, code: "client_rejected" };
/** The same proof is not tried again at once, for anybody. */
const credential = { ...registration, holdsOthers: true } as const;
const misconfigured = { status: 502, code: "downstream_misconfigured" };
const unavailable = { status: 503, code: "authority_unavailable" };

describe("Entra refuses with", () => {
  test.each<[string, Omit<RefusalOptions, "user">, Expected]>([
    ["an assertion out of its time (500133)", { code: 500133 }, rejected],
    ["an assertion whose signature it does not accept (50013)", { code: 50013 }, rejected],
    ["an assertion that is no token (50027)", { code: 50027 }, rejected],
    ["an assertion for another application (500131)", { code: 500131 }, registration],
    ["an application's own token (7000114)", { code: 7000114 }, { status: 403, code: "user_token_required" }],
    ["consent missing (65001)", { code: 65001 }, consent],
    ["consent declined (65004)", { code: 65004 }, consent],
    ["an administrator's consent missing (90094)", { code: 90094 }, adminConsent],
    ["an administrator's approval pending (90095)", { code: 90095 }, adminConsent],
    ["MFA, with claims (50076)", { code: 50076, claims: CLAIMS }, challenged],
    [
      "MFA as basic_action, with claims",
      { code: 50076, claims: CLAIMS, spelling: "basic-action" },
      challenged,
    ],
    ["MFA registration, without claims (50079)", { code: 50079 }, interaction],
    ["MFA enrolment (50072)", { code: 50072 }, interaction],
    ["strong authentication failed (50074)", { code: 50074 }, interaction],
    ["an MFA session that is over (50078)", { code: 50078 }, interaction],
    ["an external challenge (50158)", { code: 50158 }, interaction],
    ["device authentication (50097)", { code: 50097 }, interaction],
    ["a device that does not comply, with claims (53000)", { code: 53000, claims: CLAIMS }, challenged],
    ["a device that is not joined (53001)", { code: 53001 }, interaction],
    ["an application that is not approved (53002)", { code: 53002 }, interaction],
    ["a policy that blocks (53003)", { code: 53003 }, blocked],
    ["a policy that blocks, with claims (53003)", { code: 53003, claims: CLAIMS }, challenged],
    ["a security default that blocks (530032)", { code: 530032 }, blocked],
    ["a device or location that is blocked (50131)", { code: 50131 }, blocked],
    ["risk (53004)", { code: 53004 }, blocked],
    ["a revoked session (50173)", { code: 50173 }, interaction],
    ["a changed password (50133)", { code: 50133 }, interaction],
    ["a session that is too old (70043)", { code: 70043 }, interaction],
    ["an expired session (700082)", { code: 700082 }, interaction],
    ["a disabled account (50057)", { code: 50057 }, blocked],
    ["an account that is gone (50034)", { code: 50034 }, blocked],
    ["a guest who is missing (90072)", { code: 90072 }, blocked],
    ["a user who is not assigned (50105)", { code: 50105 }, { status: 403, code: "not_assigned" }],
    ["its own application unknown at home (700016)", { code: 700016 }, registration],
    ["its own tenant unknown (90002)", { code: 90002 }, registration],
    ["its own application disabled (7000112)", { code: 7000112 }, registration],
    ["the grant unsupported (70003)", { code: 70003 }, registration],
    ["a parameter missing (900144)", { code: 900144 }, registration],
    ["another cloud (900382)", { code: 900382 }, registration],
    ["a certificate that is not registered (700027)", { code: 700027 }, credential],
    ["a client assertion out of its time (700024)", { code: 700024 }, credential],
    ["a revoked certificate (7000214)", { code: 7000214 }, credential],
    ["no federated credential that matches (700213)", { code: 700213 }, credential],
    ["an unknown fault of the client", { code: 7000215, error: "invalid_client" }, credential],
    ["a resource unknown in the tenant (500011)", { code: 500011 }, misconfigured],
    ["a resource without subscription (650057)", { code: 650057 }, misconfigured],
    ["a scope that is not valid (70011)", { code: 70011 }, misconfigured],
    [
      "a loop detected (50196)",
      { code: 50196 },
      { status: 503, code: "authority_throttled", retryAfter: 60 },
    ],
    ["an issuer that it cannot reach (90061)", { code: 90061 }, unavailable],
    ["a hiccup (90033)", { code: 90033 }, unavailable],
    [
      "a hiccup that names a time",
      { code: 90033, retryAfterSeconds: 30 },
      { ...unavailable, retryAfter: 30 },
    ],
    ["a busy service (50033)", { code: 50033 }, unavailable],
  ])("%s", async (_, refusal, expected) => {
    await start(expected);
    const user = emulator.addUser();
    emulator.refuse({ ...refusal, user });
    await answers(expected, user);
  });
});

describe("on the wire the token endpoint", () => {
  const throttled = { status: 503, code: "authority_throttled" };
  const token = (behaviour: FaultBehaviour) => emulator.faults.inject({ endpoint: "token", behaviour });

  test.each<[string, FaultBehaviour, Expected]>([
    [
      "throttles in JSON",
      { kind: "json", status: 429, body: {}, retryAfter: 7 },
      { ...throttled, retryAfter: 7 },
    ],
    [
      "throttles in plain text",
      { kind: "text", status: 429, retryAfter: 7 },
      { ...throttled, retryAfter: 7 },
    ],
    ["throttles without a time", { kind: "text", status: 429 }, { ...throttled, retryAfter: 5 }],
    [
      "throttles the tenant (90055)",
      {
        kind: "json",
        status: 429,
        body: { error: "temporarily_unavailable", error_codes: [90055] },
        retryAfter: 9,
      },
      { ...throttled, retryAfter: 9, holdsOthers: true },
    ],
    [
      "throttles for a day",
      { kind: "text", status: 429, retryAfter: 86_400 },
      { ...throttled, retryAfter: 3600 },
    ],
    [
      "throttles with a time that is none",
      { kind: "text", status: 429, retryAfter: "soon" },
      { ...throttled, retryAfter: 5 },
    ],
    ["answers 503 in JSON", { kind: "json", status: 503 }, unavailable],
    [
      "answers 503 with a time",
      { kind: "json", status: 503, retryAfter: 20 },
      { ...unavailable, retryAfter: 20 },
    ],
    [
      "answers 503 in plain text",
      { kind: "text", status: 503, body: "The service is unavailable." },
      unavailable,
    ],
    ["answers 500 with an empty object", { kind: "json", status: 500, body: {} }, unavailable],
    ["answers 504", { kind: "text", status: 504, body: "" }, unavailable],
    ["answers with a balancer's page, 502", { kind: "html" }, unavailable],
    ["answers with a proxy's page, 200", { kind: "html", status: 200 }, unavailable],
    ["answers 200 with an empty object", { kind: "json", status: 200, body: {} }, unavailable],
    ["answers 200 with an array", { kind: "json", status: 200, body: [] }, unavailable],
    ["answers 204", { kind: "text", status: 204, body: "" }, unavailable],
    ["answers 400 with nothing", { kind: "text", status: 400, body: "" }, unavailable],
    [
      "answers 400 in JSON that says nothing",
      { kind: "json", status: 400, body: { message: "no" } },
      unavailable,
    ],
    [
      "answers an error that nobody knows",
      { kind: "json", status: 400, body: { error: "brand_new" } },
      registration,
    ],
    [
      "answers a bare invalid_grant",
      { kind: "json", status: 400, body: { error: "invalid_grant" } },
      interaction,
    ],
    ["answers without the token", { kind: "patch", remove: ["access_token"] }, unavailable],
    ["answers with a token of no text", { kind: "patch", set: { access_token: 7 } }, unavailable],
    [
      "answers with a token that would break a header",
      { kind: "patch", set: { access_token: "a\r\nb: c" } },
      unavailable,
    ],
    ["answers with a token of another type", { kind: "patch", set: { token_type: "pop" } }, unavailable],
    ["answers with a life that is none", { kind: "patch", set: { expires_in: "for ever" } }, unavailable],
    ["answers with a life of zero", { kind: "patch", set: { expires_in: 0 } }, unavailable],
    ["redirects", { kind: "redirect", location: "https://login.example/" }, unavailable],
    ["cuts its answer short", { kind: "truncated" }, unavailable],
    ["answers without end", { kind: "huge", bytes: 2 * 1024 * 1024 }, unavailable],
    ["breaks the connection", { kind: "reset", when: "before-headers" }, unavailable],
    ["breaks the connection amid its answer", { kind: "reset", when: "amid-body" }, unavailable],
    ["keeps silent", { kind: "stall", when: "before-headers" }, { status: 504, code: "authority_timeout" }],
    [
      "falls silent amid its answer",
      { kind: "stall", when: "amid-body" },
      { status: 504, code: "authority_timeout" },
    ],
    ["drips a byte at a time", { kind: "drip", intervalMs: 20 }, { status: 504, code: "authority_timeout" }],
  ])("%s", async (_, behaviour, expected) => {
    await start(expected);
    token(behaviour);
    await answers(expected);
  });

  test("refuses connections", async () => {
    await start(unavailable);
    const get = () => gateway.get("/graph/me", emulator.mintUserToken({ user: emulator.addUser() }));
    // From here on the signing keys are known, so it is not they that are missed.
    await get().expect(200);
    const refused = await emulator.faults.refuseConnections("authority");
    const answer = await get();
    await refused.end();
    expect([answer.status, answer.body.code]).toEqual([503, "authority_unavailable"]);
  });

  test.each<[string, FaultBehaviour]>([
    ["is slow", { kind: "delay", ms: 100 }],
    ["echoes other scopes", { kind: "patch", set: { scope: "" } }],
    ["answers with a life in digits", { kind: "patch", set: { expires_in: "3599" } }],
    ["adds a refresh token and more", { kind: "patch", set: { refresh_token: "r", unheard_of: [1] } }],
    ["writes bearer in small letters", { kind: "patch", set: { token_type: "bearer" } }],
  ])("%s, and the caller notices nothing", async (_, behaviour) => {
    await start();
    token(behaviour);
    await gateway.get("/graph/me", emulator.mintUserToken({ user: emulator.addUser() })).expect(200);
  });

  test.each<[string, FaultBehaviour]>([
    ["answers 503 once", { kind: "json", status: 503 }],
    ["breaks the connection once", { kind: "reset", when: "before-headers" }],
  ])("%s, and the caller notices nothing", async (_, behaviour) => {
    await start(unavailable);
    emulator.faults.inject({ endpoint: "token", behaviour, times: 1 });
    await gateway.get("/graph/me", emulator.mintUserToken({ user: emulator.addUser() })).expect(200);
  });
});
