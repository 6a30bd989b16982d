import { describe, expect, test } from "@jest/globals";
import { canonicalClaims } from "../../../src/exchange/cache/keys.ts";
import { refusal } from "../../support/refusal.ts";

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
