import { describe, expect, test } from "@jest/globals";
import { GatewayError } from "../../src/errors.ts";
import { isCanonical, readBearerToken, readCompactJwt } from "../../src/identity/compact-jwt.ts";

function read(...authorization: string[]): string {
  try {
    return readBearerToken(authorization);
  } catch (error) {
    if (error instanceof GatewayError) return `${error.code} ${error.reason ?? ""}`.trim();
    throw error;
  }
}

describe("the token of an Authorization field", () => {
  test.each([
    ["Bearer a.b.c", "a.b.c"],
    ["bEARER a.b.c", "a.b.c"],
    [" \tBearer a.b.c\t ", "a.b.c"],
    [" Bearer a.b.c ", "a.b.c"],
    ["\tBearer a.b.c\t", "a.b.c"],
    ["Bearer   a.b.c", "a.b.c"],
    ["Bearer \u00a0a", "token_rejected malformed"],
    ["\u00a0Bearer a", "token_missing"],
    ["Bearer/a", "token_rejected malformed"],
    ["Bearer\ta", "token_rejected malformed"],
    ["Bearer", "token_rejected malformed"],
    ["Bearer a b", "token_rejected malformed"],
    ["Bearer a,b", "token_rejected malformed"],
    ["Basic a", "token_missing"],
    ["Bearers a", "token_missing"],
    ["x Bearer a", "token_missing"],
    ["", "token_missing"],
    [" ", "token_missing"],
  ])("of %j is %s", (field, expected) => {
    expect(read(field)).toBe(expected);
  });

  test("is none where there is no field, and refused where there are two", () => {
    expect(read()).toBe("token_missing");
    expect(read("Bearer a", "Bearer a")).toBe("token_rejected several_headers");
  });

  test("is as long as a token may be, readable or not", () => {
    const longest = 24 * 1024;
    expect(read(`Bearer ${"a".repeat(longest)}`)).toHaveLength(longest);
    expect(read(`Bearer   ${"a".repeat(longest)}`)).toHaveLength(longest);
    expect(read(`Bearer ${"a".repeat(longest + 1)}`)).toBe("token_rejected too_large");
    expect(read(`Bearer ${"a".repeat(longest - 2)} b`)).toBe("token_rejected malformed");
    expect(read(`Bearer ${"a".repeat(longest - 1)} b`)).toBe("token_rejected too_large");
  });
});

describe("one spelling of a value", () => {
  test("is the one that an encoder writes, for every last character", () => {
    const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (const start of ["", "AAAA"])
      for (const fill of ["", "A", "AA", "AAA"])
        for (const last of alphabet) {
          const part = start + fill + last;
          const encoded = Buffer.from(part, "base64url").toString("base64url");
          expect([part, isCanonical(part)]).toEqual([part, encoded === part]);
        }
    expect(isCanonical("")).toBe(true);
  });
});

describe("a compact token", () => {
  const encode = (value: unknown) =>
    Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");
  const HEADER = { alg: "RS256", typ: "JWT", kid: "k" };
  const reasonOf = (token: string) => {
    try {
      return readCompactJwt(token);
    } catch (error) {
      if (error instanceof GatewayError) return error.reason;
      throw error;
    }
  };

  test("has its key id and its claims", () => {
    expect(reasonOf(`${encode(HEADER)}.${encode({ a: 1 })}.AAAA`)).toEqual({ keyId: "k", claims: { a: 1 } });
  });

  test.each([
    [{ alg: "none" }, "algorithm"],
    [{ alg: "HS256" }, "algorithm"],
    [{ typ: "at+jwt" }, "type"],
    [{ typ: undefined }, "type"],
    ...["crit", "b64", "nonce", "enc", "zip"].map((name) => [{ [name]: null }, "header"] as const),
    [{ kid: "" }, "unknown_key"],
    [{ kid: 7 }, "unknown_key"],
    [{ kid: undefined }, "unknown_key"],
  ])("with the header %j is refused: %s", (over, reason) => {
    expect(reasonOf(`${encode({ ...HEADER, ...over })}.${encode({})}.AAAA`)).toBe(reason);
  });

  test.each([
    ["a.b", "two parts"],
    ["a.b.c.d", "four parts"],
    [`${encode(HEADER)}..AAAA`, "an empty part"],
    [`${encode(HEADER)}.${encode({})}.`, "no signature"],
    [`${encode(HEADER)}.${encode({})}.AB`, "a signature that is spelt in another way"],
    [`${encode("[]")}.${encode({})}.AAAA`, "a list for a header"],
    [`${encode(HEADER)}.${encode("null")}.AAAA`, "null for claims"],
    [`${encode(HEADER)}.${encode("7")}.AAAA`, "a number for claims"],
    [`${encode(HEADER)}.${encode("{")}.AAAA`, "claims that are no JSON"],
    [`${encode(HEADER)}.${encode("\ufeff{}")}.AAAA`, "a byte order mark"],
    [`${encode(HEADER)}.${Buffer.from([0x22, 0xff, 0x22]).toString("base64url")}.AAAA`, "no UTF-8"],
    [`${encode(HEADER)}.${encode({})}.AA+A`, "another alphabet"],
    [` ${encode(HEADER)}.${encode({})}.AAAA`, "a blank"],
  ])("%s is malformed: %s", (token) => {
    expect(reasonOf(token)).toBe("malformed");
  });
});
