import { describe, expect, test } from "@jest/globals";
import { requestIdOf } from "../../../src/exchange/entra/acquire.ts";
import {
  aadstsEntry,
  claimsOf,
  describeClientAssertion,
  diagnosticsOf,
  labelOf,
  numbersOf,
} from "../../../src/exchange/entra/answers.ts";
import { AADSTS } from "../../../src/exchange/entra/codes.ts";
import { Secret } from "../../../src/foundation/secret.ts";

describe("a label", () => {
  test.each(["a", "invalid_grant", "a.b-c_1", "a".repeat(64)])("is %s", (label) => {
    expect(labelOf(label)).toBe(label);
  });
  test.each(["", "a b", "a".repeat(65), "é", "a\n", 7, null, undefined, ["a"]])("is not %j", (value) => {
    expect(labelOf(value)).toBeUndefined();
  });
});

describe("the claims of an answer", () => {
  test("are the text of an object, of 8192 characters at most", () => {
    const claims = (length: number) => `{"a":"${"x".repeat(length - 8)}"}`;
    expect(claimsOf({ claims: claims(8192) })).toBe(claims(8192));
    expect(claimsOf({ claims: claims(8193) })).toBeUndefined();
    for (const odd of ["", "[]", "x", {}, 7, undefined]) expect(claimsOf({ claims: odd })).toBeUndefined();
    expect(claimsOf(undefined)).toBeUndefined();
  });
});

describe("the numbers of an answer", () => {
  test("are its first eight, and numbers alone", () => {
    expect(numbersOf({ error_codes: [1, "2", 3, null, 4, 5, 6, 7, 8, 9, 10] })).toEqual([
      1, 3, 4, 5, 6, 7, 8, 9,
    ]);
    for (const odd of [7, "7", undefined, {}]) expect(numbersOf({ error_codes: odd })).toEqual([]);
    expect(numbersOf(undefined)).toEqual([]);
  });

  test("lead to the row of the first that has one", () => {
    const [row] = AADSTS;
    expect(aadstsEntry([1, row?.numbers[0] ?? 0, 50013])).toBe(row);
    expect(aadstsEntry([1, 2])).toBeUndefined();
    expect(aadstsEntry([])).toBeUndefined();
  });
});

describe("what an operator sees of an answer", () => {
  const body = {
    error: "invalid_grant",
    suberror: "basic_action",
    error_codes: [50076],
    trace_id: "0f0e0d0c-0000-4000-8000-000000000001",
    correlation_id: "0f0e0d0c-0000-4000-8000-000000000002",
    timestamp: "2026-11-27 12:00:00Z",
  };
  const answer = (over: object = {}) => ({ status: 400, headers: new Headers(), body: { ...body, ...over } });

  test("is its status, codes and identifiers", () => {
    expect(diagnosticsOf(answer())).toEqual({ status: 400, ...body });
    expect(diagnosticsOf(answer({ timestamp: "1Z" }))).toHaveProperty("timestamp", "1Z");
    expect(diagnosticsOf(answer({ trace_id: "a" }))).toHaveProperty("trace_id", "a");
    expect(diagnosticsOf({ status: 502, headers: new Headers(), body: undefined })).toEqual({ status: 502 });
  });

  test.each([
    ["trace_id", "a b"],
    ["trace_id", "a".repeat(65)],
    ["trace_id", ""],
    ["correlation_id", "a.b"],
    ["timestamp", "2026-11-27 12:00:00"],
    ["timestamp", "Zulu Z"],
    ["timestamp", `${"1".repeat(33)}Z`],
    ["timestamp", "Z"],
    ["timestamp", "2026-11-27 12:00:00Z and more"],
    ["error", "two words"],
    ["suberror", 7],
    ["error_codes", ["x"]],
  ])("is nothing whose shape is not proven: %s %j", (name, value) => {
    expect(diagnosticsOf(answer({ [name]: value }))).not.toHaveProperty(name);
  });

  test("is the identifier of the request in the header", () => {
    const id = "a".repeat(64);
    expect(requestIdOf(new Headers({ "x-ms-request-id": id }))).toBe(id);
    for (const odd of [`${id}a`, "a b", ""])
      expect(requestIdOf(new Headers({ "x-ms-request-id": odd }))).toBeUndefined();
    expect(requestIdOf(new Headers())).toBeUndefined();
  });
});

describe("what an operator sees of the gateway's proof", () => {
  const proof = (payload: unknown) => ({
    method: "client_assertion" as const,
    clientAssertion: new Secret(`h.${Buffer.from(JSON.stringify(payload)).toString("base64url")}.s`),
  });

  test("is who issued it, to whom, and for whom", () => {
    expect(describeClientAssertion(proof({ iss: "i", sub: "s", aud: "a", jti: "x" }))).toEqual({
      assertion_iss: "i",
      assertion_sub: "s",
      assertion_aud: "a",
    });
    expect(describeClientAssertion(proof({ aud: ["a", "b"] }))).toEqual({ assertion_aud: "a b" });
  });

  test("is nothing of what could not stand in a log", () => {
    const longest = "~".repeat(256);
    expect(describeClientAssertion(proof({ iss: longest, sub: `${longest} `, aud: "é" }))).toEqual({
      assertion_iss: longest,
    });
    expect(describeClientAssertion(proof({ iss: "", sub: "a\tb", aud: 7 }))).toEqual({});
    expect(describeClientAssertion(proof(null))).toEqual({});
  });

  test("is nothing of a secret, or of a text that is no token", () => {
    expect(describeClientAssertion({ method: "client_secret", clientSecret: new Secret("a.b.c") })).toEqual(
      {},
    );
    expect(
      describeClientAssertion({ method: "client_assertion", clientAssertion: new Secret("opaque") }),
    ).toEqual({});
  });
});
