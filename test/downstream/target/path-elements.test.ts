import { describe, expect, test } from "@jest/globals";
import {
  odataElements,
  plainElements,
  readODataSegment,
} from "../../../src/downstream/target/path-elements.ts";

const segment = (text: string, isCall = false) => ({ kind: "segment", text, isCall });
const OPAQUE = { kind: "opaque" };
const key = (value: string, name?: string) => ({ name, value });
const listed = (name: string, ...list: object[]) => [segment(name), { kind: "arguments", list }];

const target = (segments: string[], opaque: number[] = []) => ({
  segments,
  rawSegments: segments,
  opaque: new Set(opaque),
  query: "",
});

describe("a segment of an OData path", () => {
  test.each([
    ["users", [segment("users")]],
    ["", [segment("")]],
    ["delta()", [segment("delta", true)]],
    ["delta( )", [segment("delta", true)]],
    ["users('1')", listed("users", key("1"))],
    ["users( '1' )", listed("users", key("1"))],
    ["users('O''Neil')", listed("users", key("O'Neil"))],
    ["users('')", listed("users", key(""))],
    ["users('a,b')", listed("users", key("a,b"))],
    ["users('a(b)')", listed("users", key("a(b)"))],
    ["users('[')", listed("users", key("["))],
    ["users(1)", listed("users", key("1"))],
    ["users(guid'1-2')", listed("users", key("guid'1-2'"))],
    ["users(id='1')", listed("users", key("1", "id"))],
    ["users(id = '1')", listed("users", key("1", "id"))],
    ["users(a.b='1')", listed("users", key("1", "a.b"))],
    ["f(a=1,b='2', c=x)", listed("f", key("1", "a"), key("2", "b"), key("x", "c"))],
    ["f(AAMk-_=)", listed("f", key("AAMk-_="))],
    ["f(@p=1)", listed("f", key("1", "@p"))],
    ["f(a=['x','y,z'])", listed("f", key("['x','y,z']", "a"))],
    ['f(a={"x":[1,2]},b=2)', listed("f", key('{"x":[1,2]}', "a"), key("2", "b"))],
    ["Name.Space.f(x=1)", listed("Name.Space.f", key("1", "x"))],
    ["_f-1(x)", listed("_f-1", key("x"))],
    ["f(\nx)", listed("f", key("x"))],
  ])("is read: %j", (text, elements) => {
    expect(readODataSegment(text)).toEqual(elements);
  });

  test.each([
    "(1)",
    "1f(1)",
    "f(1",
    "f1)",
    "f(1)x",
    "f(1)(2)",
    "f('1)",
    "f('1''')'",
    "f([1)",
    "f(1])",
    "f(]1[)",
    "f({1)",
    "f((1))",
    "f(1,)",
    "f(,1)",
    "f(a='1'2)",
    "f('1'2)",
    "f(1'2)",
    "f(guid'1'x)",
    "f(1[2])",
    "f-é(1)",
    "users\uff08'1'\uff09",
    "a\uff08",
  ])("is opaque where a lenient server could find a key in it: %j", (text) => {
    expect(readODataSegment(text)).toEqual([OPAQUE]);
  });
});

describe("a path", () => {
  test("without OData has its segments as they stand, opaque ones marked", () => {
    expect(plainElements(target(["users('1')", "a/b", "c"], [1]))).toEqual([
      segment("users('1')"),
      OPAQUE,
      segment("c"),
    ]);
  });

  test("of OData has keys as elements, opaque segments marked", () => {
    expect(odataElements(target(["users('1')", "a/b", "delta()"], [1]), false)).toEqual([
      ...listed("users", key("1")),
      OPAQUE,
      segment("delta", true),
    ]);
  });

  test("of Graph holds names of files between two colons, and no keys there", () => {
    const path = ["root:", "a(1)", "b('2'):", "c(3)"];
    expect(odataElements(target(path), true)).toEqual([
      segment("root:"),
      segment("a(1)"),
      segment("b('2'):"),
      ...listed("c", key("3")),
    ]);
    expect(odataElements(target(path), false)).toEqual([
      segment("root:"),
      ...listed("a", key("1")),
      OPAQUE,
      ...listed("c", key("3")),
    ]);
  });

  test("of Graph is no path of files where the colon stands at the begin of a name", () => {
    expect(odataElements(target([":a", "b(1)"]), true)).toEqual([segment(":a"), ...listed("b", key("1"))]);
  });
});
