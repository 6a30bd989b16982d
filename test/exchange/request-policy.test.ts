import { describe, expect, test } from "@jest/globals";
import { GatewayError } from "../../src/errors.ts";
import { assertExchangeable, canonicalClaims } from "../../src/exchange/request-policy.ts";
import { assertionOf, FOREIGN, HOME } from "./fake-entra.ts";

function refusal(act: () => unknown) {
  try {
    act();
  } catch (error) {
    if (error instanceof GatewayError) return { code: error.code, reason: error.reason };
    throw error;
  }
  return undefined;
}

describe("an exchange", () => {
  const check = (tenantId: string, allowedTenants: readonly string[] | "*", now = 0, expiresAt = 1) =>
    refusal(() =>
      assertExchangeable(
        { assertion: { ...assertionOf("ann", { tenantId }), expiresAt } },
        { allowedTenants },
        now,
      ),
    );

  test.each<[string, readonly string[] | "*", boolean]>([
    [HOME, [HOME], true],
    [HOME.toUpperCase(), [HOME], true],
    [FOREIGN, [HOME], false],
    [FOREIGN, [HOME, FOREIGN], true],
    [FOREIGN, "*", true],
    [FOREIGN, [], false],
    ["common", "*", false],
    [`${HOME}/x`, "*", false],
    [`x${HOME}`, "*", false],
    ["AAAAAAAA-BBBB-4CCC-8DDD-EEEEEEEEEEEE", "*", true],
    ["11111111-1111-4111-8111-11111111111", "*", false],
    ["11111111-1111-4111-8111-1111111111111", "*", false],
    ["1111111-1111-4111-8111-111111111111", "*", false],
    ["11111111-1111-4111-111111111111", "*", false],
    ["11111111-1111-4111-8111-1111-111111111111", "*", false],
    ["11111111-111-4111-8111-111111111111", "*", false],
    ["g1111111-1111-4111-8111-111111111111", "*", false],
    ["../../../../../../../../../../../..", "*", false],
  ])("of the tenant %s where %j are allowed: %p", (tenantId, allowed, may) => {
    expect(check(tenantId, allowed)).toEqual(
      may ? undefined : { code: "tenant_not_onboarded", reason: "tenant_not_allowed" },
    );
  });

  test("is made up to the end of the assertion", () => {
    expect(check(HOME, "*", 999, 1_000)).toBeUndefined();
    expect(check(HOME, "*", 1_000, 1_000)).toEqual({ code: "token_rejected", reason: "assertion_expired" });
  });
});

describe("a claims request", () => {
  test.each([
    [
      '{ "b": {"d":1, "c":[{"z":1,"y":2}, null, "x"]}, "a": {} }',
      '{"a":{},"b":{"c":[{"y":2,"z":1},null,"x"],"d":1}}',
    ],
    ["{}", "{}"],
  ])("has one spelling: %s", (claims, canonical) => {
    expect(canonicalClaims(claims)).toBe(canonical);
    expect(canonicalClaims(canonical)).toBe(canonical);
  });

  const nested = (depth: number) => `{"a":${'{"a":'.repeat(depth - 1)}1${"}".repeat(depth)}`;
  const long = (length: number) => `{"a":{"b":"${"x".repeat(length - 14)}"}}`;

  test("is eight levels deep at most, brackets of lists and within texts included", () => {
    expect(canonicalClaims(nested(8))).toBe(nested(8));
    expect(refusal(() => canonicalClaims(nested(9)))).toEqual({
      code: "internal",
      reason: "claims_malformed",
    });
    const beside = '{"a":{"b":[[]],"c":[{}],"d":{"e":{}},"f":[[[[[[]]]]]]}}';
    expect(canonicalClaims(beside)).toBe(beside);
    expect(refusal(() => canonicalClaims('{"a":{"b":[[[[[[[]]]]]]]}}'))?.reason).toBe("claims_malformed");
    expect(refusal(() => canonicalClaims('{"a":{"b":"{{{{{{{"}}'))?.reason).toBe("claims_malformed");
  });

  test("has 8192 characters at most", () => {
    expect(long(8192)).toHaveLength(8192);
    expect(canonicalClaims(long(8192))).toBe(long(8192));
    expect(refusal(() => canonicalClaims(long(8193)))?.reason).toBe("claims_malformed");
  });

  test.each(["", "x", "[]", "null", '"a"', '{"a":1}', '{"a":{},"b":[]}', '{"a":null}'])(
    "is an object of objects, which %j is not",
    (claims) => {
      expect(refusal(() => canonicalClaims(claims))).toEqual({
        code: "internal",
        reason: "claims_malformed",
      });
    },
  );
});
