import { inspect } from "node:util";
import { expect, test } from "@jest/globals";
import { Secret } from "../../src/foundation/secret.ts";

test("a secret shows itself to nobody who does not ask for it by name", () => {
  const secret = new Secret("hunter2");
  secret.authorization();
  for (const shown of [
    `${secret}`,
    JSON.stringify({ secret }),
    inspect(secret),
    String(Object.values(secret)),
  ])
    expect(shown).not.toContain("hunter2");
});

test("asking for the Authorization field changes nothing of the value", () => {
  const token = "a".repeat(2_000);
  const secret = new Secret(token);
  const fingerprint = secret.fingerprint();
  expect(secret.authorization()).toBe(`Bearer ${token}`);
  expect(secret.authorization()).toBe(`Bearer ${token}`);
  expect(secret.reveal()).toBe(token);
  expect(secret.fingerprint()).toBe(fingerprint);
});

test.each(["", "a b", "a\r\nset-cookie: b", "a\n", "a\0", "a\x7f", "\u00e9", "\u{1f511}"])(
  "%j is no bearer token, for it would end the field or mean something else there",
  (value) => {
    expect(() => new Secret(value).authorization()).toThrow(TypeError);
  },
);
