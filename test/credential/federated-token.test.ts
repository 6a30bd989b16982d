import { describe, expect, test } from "@jest/globals";
import { readFederatedToken } from "../../src/credential/federated-token.ts";

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
const signature = (bytes: number) => Buffer.alloc(bytes, 7).toString("base64url");
const CLAIMS = { iss: "https://issuer.example", sub: "s", aud: "a", exp: 2_000, iat: 1_000 };
const jwt = (header: unknown, claims: unknown, bytes = 256) =>
  `${encode(header)}.${encode(claims)}.${signature(bytes)}`;
const RS256 = { alg: "RS256" };

describe("a federated token", () => {
  test("is read without being verified", () => {
    const text = jwt(RS256, CLAIMS);
    expect(readFederatedToken(` ${text}\n`)).toEqual({
      clientAssertion: expect.anything(),
      expiresAt: 2_000_000,
      audiences: ["a"],
      startsAt: 1_000_000,
      identity: JSON.stringify(["https://issuer.example", "s", "a"]),
    });
    const token = readFederatedToken(` ${text}\n`);
    expect("clientAssertion" in token && token.clientAssertion.reveal()).toBe(text);
  });

  test.each([
    [{ aud: ["a", "b"] }, { audiences: ["a", "b"] }],
    [{ nbf: 1_500 }, { startsAt: 1_500_000 }],
    [{ iat: undefined }, { startsAt: undefined }],
    [{ iat: "1000" }, { startsAt: undefined }],
    [{ sub: "t" }, { identity: JSON.stringify(["https://issuer.example", "t", "a"]) }],
    [{ iss: "i" }, { identity: JSON.stringify(["i", "s", "a"]) }],
  ])("with %j says %j", (claims, expected) => {
    expect(readFederatedToken(jwt(RS256, { ...CLAIMS, ...claims }))).toMatchObject(expected);
  });

  test.each([
    ["", "is empty"],
    [" \n", "is empty"],
    ["a.b", "does not hold a JWT (three base64url parts joined by dots)"],
    ["a.b.c.d", "does not hold a JWT (three base64url parts joined by dots)"],
    [`${jwt(RS256, CLAIMS)}.`, "does not hold a JWT (three base64url parts joined by dots)"],
    ["a..c", "does not hold a JWT (three base64url parts joined by dots)"],
    ["a.b.", "does not hold a JWT (three base64url parts joined by dots)"],
    [".b.c", "does not hold a JWT (three base64url parts joined by dots)"],
    ["a b.b.c", "does not hold a JWT (three base64url parts joined by dots)"],
    ["a.=b.c", "does not hold a JWT (three base64url parts joined by dots)"],
    ["a.b.c+", "does not hold a JWT (three base64url parts joined by dots)"],
    ["a.b.c", "does not hold a JWT (its header cannot be read)"],
    [jwt(null, CLAIMS), "does not hold a JWT (its header cannot be read)"],
    [jwt("RS256", CLAIMS), "does not hold a JWT (its header cannot be read)"],
    [jwt({}, CLAIMS), "does not hold a JWT (its header cannot be read)"],
    [jwt(RS256, null), "holds a JWT without a readable exp claim"],
    [jwt(RS256, 7), "holds a JWT without a readable exp claim"],
    [jwt(RS256, { ...CLAIMS, exp: "2000" }), "holds a JWT without a readable exp claim"],
    [`${encode(RS256)}.e.${signature(256)}`, "holds a JWT without a readable exp claim"],
    [jwt(RS256, CLAIMS, 255), "holds a JWT that is cut short"],
    [jwt({ alg: "PS384" }, CLAIMS, 200), "holds a JWT that is cut short"],
  ])("%j %s", (text, problem) => {
    expect(readFederatedToken(text)).toEqual({ problem });
  });

  test.each([
    [RS256, 256],
    [RS256, 384],
    [{ alg: "PS256" }, 512],
    [{ alg: "ES256" }, 64],
    [{ alg: "XRS256" }, 65],
  ])("with %j may be signed in %i bytes", (header, bytes) => {
    expect(readFederatedToken(jwt(header, CLAIMS, bytes))).toHaveProperty("expiresAt", 2_000_000);
  });
});
