import { expect, test } from "@jest/globals";
import { parseJsonObject } from "../../src/foundation/json.ts";

test.each(["", "{", "[]", "[{}]", "null", "1", '"{}"', "true", "{} x"])("%p is no JSON object", (text) => {
  expect(parseJsonObject(text)).toBeUndefined();
});

test("an object is read whole", () => {
  expect(parseJsonObject(' {"a": [1], "b": null} ')).toEqual({ a: [1], b: null });
});
