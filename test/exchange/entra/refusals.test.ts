import { inspect } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { GatewayErrorCode } from "../../../src/errors.ts";
import {
  type Answer,
  assertionOf,
  CLAIMS,
  CLIENT,
  entraError,
  exchangeWith,
  type FakeEntra,
  FOREIGN,
  GRAPH,
  HOME,
  NEVER_SHOWN,
  refusalOf,
  requestOf,
  START,
  startFakeEntra,
} from "../fake-entra.ts";

let entra: FakeEntra;
beforeAll(async () => {
  entra = await startFakeEntra();
});
afterAll(() => entra.close());

async function refusalFor(answer: Answer, over: Parameters<typeof exchangeWith>[1] = {}, tenantId = HOME) {
  entra.respond(() => answer);
  const { exchange } = exchangeWith(entra, over);
  return refusalOf(exchange(requestOf("ann", { assertion: assertionOf("ann", { tenantId }) })));
}

/** A 503 is tried once more, so each such row is one class; the rest are single requests. */
const busy = (number: number): Answer => ({
  ...entraError("temporarily_unavailable", number),
  status: 503,
  headers: { "retry-after": "30" },
});

describe("each refusal of Entra names who must act", () => {
  test.each<
    [sentence: string, numbers: readonly number[], error: string, suberror: string, code: GatewayErrorCode]
  >([
    ["an expired assertion", [500133], "invalid_grant", "", "token_rejected"],
    ["an assertion of bad signature or form", [50013, 50027], "invalid_grant", "", "token_rejected"],
    ["a bare invalid_grant of an unknown number", [999999], "invalid_grant", "", "interaction_required"],
    ["an assertion for another application", [500131], "invalid_grant", "", "client_rejected"],
    ["an app-only assertion", [7000114], "unauthorized_client", "", "user_token_required"],
    ["missing consent", [65001], "invalid_grant", "consent_required", "consent_required"],
    ["missing consent told by the error alone", [999999], "consent_required", "", "consent_required"],
    ["missing consent told by the number alone", [65001, 65004], "invalid_grant", "", "consent_required"],
    ["an administrator's missing consent", [90094, 90095], "invalid_grant", "", "admin_consent_required"],
    [
      "the same with the suberror of a user's",
      [90094],
      "invalid_grant",
      "consent_required",
      "admin_consent_required",
    ],
    [
      "multi-factor authentication, new spelling",
      [50076, 50079],
      "interaction_required",
      "",
      "interaction_required",
    ],
    ["the same, old spelling", [50076, 50079], "invalid_grant", "basic_action", "interaction_required"],
    [
      "interaction without claims",
      [50072, 50074, 50078, 50097, 50158],
      "invalid_grant",
      "",
      "interaction_required",
    ],
    ["a sign-in that is due", [999999], "login_required", "", "interaction_required"],
    ["an expired password", [50055], "invalid_grant", "user_password_expired", "interaction_required"],
    ["further action", [999999], "invalid_grant", "additional_action", "interaction_required"],
    ["a revoked session", [50173], "invalid_grant", "bad_token", "interaction_required"],
    ["an ended session", [50132, 50133, 70043, 700082], "invalid_grant", "", "interaction_required"],
    ["a policy's message", [53003, 53000], "interaction_required", "message_only", "blocked_by_policy"],
    [
      "a policy",
      [53003, 530032, 530035, 50131, 53004, 53010, 53011],
      "invalid_grant",
      "",
      "blocked_by_policy",
    ],
    ["a missing assignment", [50105], "invalid_grant", "", "not_assigned"],
    [
      "an unusable account",
      [50057, 50034, 51004, 50020, 90072, 500212, 500213],
      "invalid_grant",
      "",
      "blocked_by_policy",
    ],
    ["an application unknown in its own tenant", [700016], "unauthorized_client", "", "client_rejected"],
    ["its own tenant unknown", [90002], "invalid_request", "", "client_rejected"],
    [
      "a refused credential",
      [7000215, 7000222, 7000218, 700027, 50012, 50048, 700024, 700030, 7000214, 7000277, 7000274, 1000502],
      "invalid_client",
      "",
      "client_rejected",
    ],
    ["an unknown number of a refused credential", [999999], "invalid_client", "", "client_rejected"],
    ["a refused credential with a user's number beside it", [50076], "invalid_client", "", "client_rejected"],
    [
      "a federated credential that does not match",
      [700211, 700212, 700213, 7002137, 7002138, 700229],
      "invalid_client",
      "",
      "client_rejected",
    ],
    ["the same in its older form", [70021], "invalid_request", "", "client_rejected"],
    ["an issuer that Entra cannot reach", [90061], "invalid_client", "", "authority_unavailable"],
    ["a resource that is unknown", [500011], "invalid_resource", "", "downstream_misconfigured"],
    ["a resource not in the list", [650052, 650057, 65005], "invalid_client", "", "downstream_misconfigured"],
    ["a scope that is refused", [70011, 28002], "invalid_scope", "", "downstream_misconfigured"],
    ["a refused resource of an unknown number", [999999], "invalid_resource", "", "downstream_misconfigured"],
    ["a disabled application", [7000112, 700038], "unauthorized_client", "", "client_rejected"],
    [
      "an unsuitable endpoint, cloud or parameter",
      [9001023, 90124, 90130, 50194, 90038, 900382, 900432, 50049, 900144],
      "invalid_request",
      "",
      "client_rejected",
    ],
    ["an unsupported grant", [70003], "unsupported_grant_type", "", "client_rejected"],
    ["an invalid request of an unknown number", [999999], "invalid_request", "", "client_rejected"],
    ["an error of no known name", [999999], "something_new", "", "client_rejected"],
    ["a detected loop", [50196], "invalid_grant", "", "authority_throttled"],
    ["a throttled tenant", [90055], "temporarily_unavailable", "", "authority_throttled"],
    ["an outage told with status 400", [90033], "server_error", "", "authority_unavailable"],
  ])("%s: %j %s %s", async (_, numbers, error, suberror, code) => {
    for (const number of numbers) {
      const over = suberror === "" ? {} : { suberror };
      expect([number, (await refusalFor(entraError(error, number, over))).code]).toEqual([number, code]);
    }
  });

  test.each([700016, 90002])("%i in a foreign tenant is that tenant's to mend", async (number) => {
    expect((await refusalFor(entraError("unauthorized_client", number), {}, FOREIGN)).code).toBe(
      "tenant_not_onboarded",
    );
  });

  test.each([90033, 90006, 90012, 90024, 50033, 90090])("%i with status 503 is an outage", async (number) => {
    const refusal = await refusalFor(busy(number));
    expect([refusal.code, refusal.retryAfterSeconds]).toEqual(["authority_unavailable", 30]);
  });

  test("90055 with status 503 is throttling", async () => {
    expect((await refusalFor(busy(90055))).code).toBe("authority_throttled");
  });
});

describe("claims", () => {
  test.each<[sentence: string, error: string, number: number, suberror: string]>([
    ["where MSAL would keep them", "interaction_required", 50076, ""],
    ["where MSAL would keep them, old spelling", "invalid_grant", 50079, "basic_action"],
    ["where MSAL drops them", "invalid_grant", 53000, ""],
    ["beside a policy's message", "invalid_grant", 53003, "message_only"],
    ["beside an ended session", "invalid_grant", 50173, "bad_token"],
    ["beside a number nobody knows", "invalid_grant", 999999, ""],
  ])("reach the caller untouched %s", async (_, error, number, suberror) => {
    const refusal = await refusalFor(
      entraError(error, number, { claims: CLAIMS, ...(suberror === "" ? {} : { suberror }) }),
    );
    expect([refusal.code, refusal.claims]).toEqual(["claims_challenged", CLAIMS]);
  });

  test.each<[sentence: string, claims: unknown]>([
    ["not JSON", "eyJhY2Nlc3NfdG9rZW4iOnt9fQ=="],
    ["an array", "[]"],
    ["empty", ""],
    ["no string", { access_token: {} }],
    ["beyond any measure", `{"access_token":{"x":"${"x".repeat(9000)}"}}`],
  ])("that are %s count as none", async (_, claims) => {
    const refusal = await refusalFor(entraError("interaction_required", 50076, { claims }));
    expect([refusal.code, refusal.claims]).toEqual(["interaction_required", undefined]);
  });

  test("do not turn a refused credential into the user's problem", async () => {
    expect((await refusalFor(entraError("invalid_client", 7000215, { claims: CLAIMS }))).code).toBe(
      "client_rejected",
    );
  });
});

describe("an answer that is none", () => {
  const ok = { token_type: "Bearer", expires_in: 3600, access_token: "t" };
  const without = (name: keyof typeof ok) => ({ ...ok, [name]: undefined });

  test.each<[sentence: string, answer: Answer, code: GatewayErrorCode, reason: string]>([
    ["500 with an empty object", { status: 500, body: {} }, "authority_unavailable", "server_error"],
    ["400 with an empty object", { status: 400, body: {} }, "authority_unavailable", "answer_unusable"],
    ["200 with an empty object", { body: {} }, "authority_unavailable", "access_token_absent"],
    [
      "an HTML page of status 502",
      { status: 502, body: "<html>Bad Gateway</html>" },
      "authority_unavailable",
      "server_error",
    ],
    [
      "an HTML page of status 200",
      { body: "<html>Sign in</html>" },
      "authority_unavailable",
      "access_token_absent",
    ],
    [
      "an HTML page of status 403",
      { status: 403, body: "<html>" },
      "authority_unavailable",
      "answer_unusable",
    ],
    ["null", { body: "null" }, "authority_unavailable", "access_token_absent"],
    ["an array", { body: "[]" }, "authority_unavailable", "access_token_absent"],
    [
      "a redirect",
      { status: 302, headers: { location: "/elsewhere" }, body: "" },
      "authority_unavailable",
      "answer_unusable",
    ],
    [
      "an error that is no label",
      { status: 400, body: { error: { a: 1 } } },
      "authority_unavailable",
      "answer_unusable",
    ],
    [
      "an error of two lines",
      { status: 400, body: { error: "a\r\nb" } },
      "authority_unavailable",
      "answer_unusable",
    ],
    [
      "200 with an error",
      { body: { error: "invalid_grant" } },
      "authority_unavailable",
      "access_token_absent",
    ],
    ["no access token", { body: without("access_token") }, "authority_unavailable", "access_token_absent"],
    [
      "an empty access token",
      { body: { ...ok, access_token: "" } },
      "authority_unavailable",
      "access_token_absent",
    ],
    [
      "an access token with a line break",
      { body: { ...ok, access_token: "t\r\nX: y" } },
      "authority_unavailable",
      "access_token_absent",
    ],
    ["no token type", { body: without("token_type") }, "authority_unavailable", "token_type"],
    ["another token type", { body: { ...ok, token_type: "pop" } }, "authority_unavailable", "token_type"],
    ["no lifetime", { body: without("expires_in") }, "authority_unavailable", "expires_in"],
    ["a lifetime of zero", { body: { ...ok, expires_in: 0 } }, "authority_unavailable", "expires_in"],
    ["a negative lifetime", { body: { ...ok, expires_in: -1 } }, "authority_unavailable", "expires_in"],
    [
      "a lifetime in words",
      { body: { ...ok, expires_in: "an hour" } },
      "authority_unavailable",
      "expires_in",
    ],
    [
      "a lifetime without end",
      { body: JSON.stringify(ok).replace("3600", "1e999") },
      "authority_unavailable",
      "expires_in",
    ],
    [
      "429 in plain text",
      {
        status: 429,
        headers: { "content-type": "text/plain", "retry-after": "60" },
        body: "Too Many Requests",
      },
      "authority_throttled",
      "too_many_requests",
    ],
    [
      "429 in JSON",
      { status: 429, body: { error: "invalid_grant", claims: CLAIMS } },
      "authority_throttled",
      "too_many_requests",
    ],
    [
      "503 with claims",
      { status: 503, body: { error: "interaction_required", claims: CLAIMS } },
      "authority_unavailable",
      "server_error",
    ],
  ])("%s", async (_, answer, code, reason) => {
    const refusal = await refusalFor(answer);
    expect([refusal.code, refusal.reason]).toEqual([code, reason]);
  });

  test.each<[sentence: string, over: object, lifetime: number]>([
    ["a lifetime spelt in digits", { expires_in: "3599" }, 3599],
    ["a token type in lower case", { token_type: "bearer" }, 3600],
    ["an id token that is none", { id_token: "x" }, 3600],
    ["client information that is none", { client_info: "%" }, 3600],
  ])("%s is no obstacle", async (_, over, lifetime) => {
    entra.respond(() => ({ body: { ...ok, ...over } }));
    const { exchange } = exchangeWith(entra);
    const { token } = await exchange(requestOf("ann"));
    expect(token.expiresAt).toBe(START + lifetime * 1000);
  });
});

describe("Retry-After", () => {
  test.each<[value: string | undefined, seconds: number]>([
    ["60", 60],
    ["0", 1],
    ["86400", 3600],
    [new Date(START + 90_500).toUTCString(), 90],
    [new Date(START - 90_000).toUTCString(), 1],
    ["soon", 5],
    ["-5", 5],
    ["1.5", 5],
    ["2026-01-15T12:01:00Z", 5],
    [undefined, 5],
  ])("%s on a 429 means %i seconds", async (value, seconds) => {
    const headers: Record<string, string> = value === undefined ? {} : { "retry-after": value };
    expect((await refusalFor({ status: 429, headers, body: "" })).retryAfterSeconds).toBe(seconds);
  });

  test("is not told for refusals that no waiting mends", async () => {
    const answer = { ...entraError("invalid_grant", 65001), headers: { "retry-after": "60" } };
    expect((await refusalFor(answer)).retryAfterSeconds).toBeUndefined();
  });
});

describe("where to consent", () => {
  test("is the gateway itself with the scopes that were asked for", async () => {
    const { consentUri = "" } = await refusalFor(entraError("invalid_grant", 65001), {}, FOREIGN);
    const uri = new URL(consentUri);
    expect(uri.origin + uri.pathname).toBe(
      `https://login.microsoftonline.com/${FOREIGN}/oauth2/v2.0/authorize`,
    );
    expect(Object.fromEntries(uri.searchParams)).toEqual({
      client_id: CLIENT,
      response_type: "code",
      scope: GRAPH[0],
      prompt: "consent",
    });
  });

  test("is the front end for both, when one is configured", async () => {
    const consent = {
      frontEndClientId: "front-end",
      appIdUri: `api://${CLIENT}`,
      redirectUri: "https://app.example.test/consented",
    };
    const { consentUri = "" } = await refusalFor(entraError("invalid_grant", 65001), { consent });
    expect(Object.fromEntries(new URL(consentUri).searchParams)).toMatchObject({
      client_id: "front-end",
      scope: `api://${CLIENT}/.default`,
      redirect_uri: "https://app.example.test/consented",
    });
  });

  test("is the tenant's administrator page when only an administrator can", async () => {
    const { consentUri = "" } = await refusalFor(entraError("invalid_grant", 90094));
    const uri = new URL(consentUri);
    expect(uri.origin + uri.pathname).toBe(`https://login.microsoftonline.com/${HOME}/v2.0/adminconsent`);
    expect(Object.fromEntries(uri.searchParams)).toEqual({ client_id: CLIENT, scope: GRAPH[0] });
  });
});

describe("what an error holds", () => {
  test("is Entra's codes and identifiers for the log", async () => {
    const refusal = await refusalFor(entraError("invalid_grant", 53003, { suberror: "message_only" }));
    expect(refusal.diagnostics).toEqual({
      status: 400,
      error: "invalid_grant",
      suberror: "message_only",
      error_codes: [53003],
      trace_id: "aaaaaaaa-0000-4000-8000-000000000001",
      correlation_id: "bbbbbbbb-0000-4000-8000-000000000002",
      timestamp: "2026-01-15 12:00:00Z",
    });
  });

  test("is nothing whose shape is not proven", async () => {
    const long = "x".repeat(65);
    const refusal = await refusalFor(
      entraError("invalid_grant", 0, {
        suberror: long,
        error_codes: [..."abcdefghijk", ...Array(20).fill(1)],
        trace_id: `${NEVER_SHOWN}`,
        correlation_id: { a: 1 },
        timestamp: "yesterday",
      }),
    );
    expect(refusal.diagnostics).toEqual({
      status: 400,
      error: "invalid_grant",
      error_codes: Array(8).fill(1),
    });
  });

  test.each<[sentence: string, answer: Answer]>([
    ["a refusal", entraError("invalid_grant", 50076)],
    ["a refused credential", entraError("invalid_client", 7000215)],
    ["an unusable grant", { body: { access_token: "leaked-access-token", token_type: "Bearer" } }],
    ["throttling", { status: 429, body: "assertion-of-ann-1" }],
  ])("is no token, secret or text of Entra's: %s", async (_, answer) => {
    const refusal = await refusalFor(answer);
    const shown = inspect(refusal, { depth: 10, showHidden: true }) + JSON.stringify(refusal) + refusal.stack;
    for (const secret of [
      "assertion-of-ann",
      "the-client-secret",
      "leaked-access-token",
      "jane.doe",
      "AADSTS",
      "203.0",
    ]) {
      expect(shown).not.toContain(secret);
    }
  });
});
