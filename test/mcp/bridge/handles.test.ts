/** By which demands are known again. */

import { expect, test } from "@jest/globals";
import { digestOf } from "../../../src/mcp/bridge/handles.ts";

const claims = (text: string) => digestOf({ kind: "claims", claims: text });

test("a demand is the same in another spelling, and for a token of another time", () => {
  const one = claims('{"access_token":{"nbf":{"essential":true,"value":"1"},"acrs":{"value":"c1"}}}');
  expect(claims('{ "access_token": {"acrs":{"value":"c1"},"nbf":{"essential":true,"value":"2"}} }')).toBe(
    one,
  );
});

test.each([
  ["another context", '{"access_token":{"acrs":{"value":"c2"}}}'],
  ["a further claim", '{"access_token":{"acrs":{"value":"c1"},"nbf":{"value":"1"}}}'],
  ["another token", '{"id_token":{"acrs":{"value":"c1"}}}'],
  ["text that is no JSON", "c1"],
])("a demand for %s is another", (_, other) => {
  expect(claims(other)).not.toBe(claims('{"access_token":{"acrs":{"value":"c1"}}}'));
});

test("kinds of demands differ", () => {
  const all = [
    digestOf({ kind: "login" }),
    digestOf({ kind: "consent" }),
    claims("login"),
    claims("consent"),
  ];
  expect(new Set(all).size).toBe(4);
});
