import { describe, expect, test } from "@jest/globals";
import { createTokenResponses } from "../../../src/exchange/entra/acquire.ts";
import { FetchFailure } from "../../../src/foundation/bounded-fetch.ts";
import { Secret } from "../../../src/foundation/secret.ts";
import { assertionOf, GRAPH, HOME } from "../fake-entra.ts";

const exchange = {
  assertion: assertionOf("ann"),
  scopes: GRAPH,
  authentication: { method: "client_secret" as const, clientSecret: new Secret("s") },
};
const responsesOf = () =>
  createTokenResponses({
    homeTenantId: HOME,
    consentUri: () => "https://consent.example/",
    adminConsentUri: () => "https://admin.example/",
    now: () => 0,
  });
const GRANT = { access_token: "a.b-c_d~e+f/g==", token_type: "Bearer", expires_in: 3600, scope: "a b" };

const process = (body: unknown, status = 200, responses = responsesOf()) =>
  responses.process(exchange, {
    status,
    headers: new Headers(),
    text: typeof body === "string" ? body : JSON.stringify(body),
  });
function reasonOf(body: unknown, status?: number) {
  const outcome = process(body, status);
  if (outcome.outcome === "granted") return "granted";
  const { code, reason } = outcome.refusal.error;
  return `${code} ${reason}`;
}

describe("a grant", () => {
  test("is a token with its life and its scopes", () => {
    const outcome = process(GRANT);
    expect(outcome).toMatchObject({ outcome: "granted", expiresInSeconds: 3600, grantedScopes: ["a", "b"] });
    expect(outcome.outcome === "granted" && outcome.accessToken.reveal()).toBe(GRANT.access_token);
  });

  test.each([
    [{ token_type: "bEARER" }, "granted"],
    [{ expires_in: "3600" }, "granted"],
    [{ expires_in: "1" }, "granted"],
    [{ expires_in: 0.5 }, "granted"],
    [{ expires_in: "999999999" }, "granted"],
    [{ expires_in: "9999999999" }, "authority_unavailable expires_in"],
    [{ expires_in: "" }, "authority_unavailable expires_in"],
    [{ expires_in: "36 " }, "authority_unavailable expires_in"],
    [{ expires_in: "x1" }, "authority_unavailable expires_in"],
    [{ expires_in: "0" }, "authority_unavailable expires_in"],
    [{ expires_in: 0 }, "authority_unavailable expires_in"],
    [{ expires_in: -1 }, "authority_unavailable expires_in"],
    [{ expires_in: null }, "authority_unavailable expires_in"],
    [{ expires_in: true }, "authority_unavailable expires_in"],
    [{ token_type: "pop" }, "authority_unavailable token_type"],
    [{ token_type: undefined }, "authority_unavailable token_type"],
    [{ access_token: undefined }, "authority_unavailable access_token_absent"],
    [{ access_token: "" }, "authority_unavailable access_token_absent"],
    [{ access_token: "=" }, "authority_unavailable access_token_absent"],
    [{ access_token: "a b" }, "authority_unavailable access_token_absent"],
    [{ access_token: "a=b" }, "authority_unavailable access_token_absent"],
    [{ access_token: "a\r\nx: y" }, "authority_unavailable access_token_absent"],
    [{ access_token: ["a"] }, "authority_unavailable access_token_absent"],
  ])("with %j is %s", (over, expected) => {
    expect(reasonOf({ ...GRANT, ...over })).toBe(expected);
  });

  test.each([
    [200, "granted"],
    [299, "granted"],
    [300, "authority_unavailable answer_unusable"],
    [199, "authority_unavailable answer_unusable"],
    [400, "authority_unavailable answer_unusable"],
    [500, "authority_unavailable server_error"],
  ])("needs a status of success: %i is %s", (status, expected) => {
    expect(reasonOf(GRANT, status)).toBe(expected);
  });

  test.each(["", "[]", "null", "<html>"])("is no %j", (text) => {
    expect(reasonOf(text)).toBe("authority_unavailable access_token_absent");
  });
});

describe("the scopes of a grant", () => {
  const scopesOf = (scope: unknown, responses = responsesOf()) => {
    const outcome = process({ ...GRANT, scope }, 200, responses);
    return outcome.outcome === "granted" ? outcome.grantedScopes : "refused";
  };

  test.each([
    ["a", ["a"]],
    ["!~ #[ ]", ["!~", "#[", "]"]],
    ["", undefined],
    [" a", undefined],
    ["a ", undefined],
    ["a  b", undefined],
    ['a "b"', undefined],
    ["a\\b", undefined],
    ["é", undefined],
    [["a"], undefined],
    [undefined, undefined],
  ])("of %j are %j", (scope, expected) => {
    expect(scopesOf(scope)).toEqual(expected);
  });

  test("are kept up to 4096 characters", () => {
    expect(scopesOf("a".repeat(4096))).toHaveLength(1);
    expect(scopesOf("a".repeat(4097))).toBeUndefined();
  });

  test("are one frozen list for all tokens that have them, of the latest 256 lists", () => {
    const responses = responsesOf();
    const first = scopesOf("a b", responses);
    expect(scopesOf("a b", responses)).toBe(first);
    expect(Object.isFrozen(first)).toBe(true);
    for (let list = 0; list < 255; list += 1) scopesOf(`scope-${list}`, responses);
    expect(scopesOf("a b", responses)).toBe(first);
    scopesOf("one more", responses);
    expect(scopesOf("a b", responses)).not.toBe(first);
  });
});

describe("the refresh token of a grant", () => {
  test.each([
    ["one character", "r", true],
    [
      "every printable one",
      Array.from({ length: 95 }, (_, at) => String.fromCharCode(32 + at)).join(""),
      true,
    ],
    ["16384 characters", "r".repeat(16_384), true],
    ["one more", "r".repeat(16_385), false],
    ["none", "", false],
    ["a line break before it", "\nr", false],
    ["a line break after it", "r\n", false],
    ["no text", ["r"], false],
  ])("of %s is given on or not", (_, text, isGiven) => {
    const outcome = process({ ...GRANT, refresh_token: text });
    expect(outcome.outcome === "granted" && outcome.refreshToken?.reveal()).toBe(isGiven ? text : undefined);
  });
});

describe("no answer", () => {
  test.each([
    ["timeout", "authority_timeout", true],
    ["network", "authority_unavailable", true],
    ["too_large", "authority_unavailable", false],
  ] as const)("by %s is %s", (kind, code, transient) => {
    const outcome = responsesOf().failure(new FetchFailure(kind));
    expect(outcome).toMatchObject({
      outcome: "refused",
      refusal: { error: { code, reason: kind }, domain: "none", transient, forgetUser: false },
    });
  });

  test("that is a defect is thrown on", () => {
    expect(() => responsesOf().failure(new TypeError("defect"))).toThrow("defect");
  });
});
