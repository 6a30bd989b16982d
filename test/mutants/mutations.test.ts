import { describe, expect, test } from "@jest/globals";
import { transformSync } from "esbuild";
import { mutationsOf, withSwitches } from "./mutations.ts";

const changes = (source: string) =>
  mutationsOf(source).map(({ original, replacement }) => `${original} => ${replacement}`);

describe("a source is changed in one place at a time", () => {
  test.each([
    [
      "a boundary",
      "const x = (a as number) < b;",
      ["(a as number) < b => (a as number) <= b", "(a as number) < b => (a as number) >= b"],
    ],
    ["an equality", "const x = a === b;", ["a === b => a !== b"]],
    ["a logical operator", "const x = a && b;", ["a && b => a || b"]],
    ["a default", "const x = a ?? b;", ["a ?? b => a", "a ?? b => b"]],
    ["a condition", "if (a) b();", ["a => true", "a => false", "b(); => "]],
    ["the choice between two values", "const x = a ? b : c;", ["a => true", "a => false"]],
    ["a loop, which is left out and never made endless", "while (a) b();", ["a => false", "b(); => "]],
    ["a negation", "const x = !a;", ["!a => a"]],
    ["a small number", "const x = 1;", ["1 => 2"]],
    ["a large number", "const x = 1_000;", ["1_000 => 2000"]],
    ["a text", 'const x = "a";', ['"a" => ""']],
    ["a list", "const x = [a];", ["[a] => []"]],
    ["a record", "const x = { a };", ["{ a } => {}"]],
    ["a part of an optional chain", "const x = a?.b;", ["a?.b => a.b"]],
    ["a call that can be left out", "const x = a.trim();", ["a.trim() => a"]],
    ["a call that has a neighbour", "const x = a.some(b);", ["a.some(b) => a.every(b)"]],
    ["the anchors of a pattern", "const x = /^a$/;", ["/^a$/ => /a$/", "/^a$/ => /^a/"]],
    ["the bounds of a pattern", "const x = /a{1,2}/;", ["/a{1,2}/ => /a{1,3}/", "/a{1,2}/ => /a{2,2}/"]],
    [
      "the letters of a pattern",
      "const x = /[ab]\\d/i;",
      ["/[ab]\\d/i => /[^ab]\\d/i", "/[ab]\\d/i => /[ab]\\D/i", "/[ab]\\d/i => /[ab]\\d/"],
    ],
    ["an exit", "throw a;", ["throw a; => "]],
    ["a whole function", "function f() { return a; }", [" => return;"]],
  ] as [string, string, string[]][])("%s", (_, source, expected) => {
    expect(changes(source)).toEqual(expected);
  });

  test.each([
    ["types", 'type A = "a" | 1; interface B { c: 2 } const x = a as "b";'],
    [
      "imports and names of fields",
      'import a from "a"; export { b } from "b"; const c = a.d; const e = await import("e");',
    ],
    ["sentences for people", 'const x = "The caller sent no token.";'],
    ["the text of an error", 'const x = new GatewayError("denied");'],
  ])("%s stay as they are", (_, source) => {
    expect(changes(source)).toEqual([]);
  });
});

describe("a source with switches", () => {
  const source = `
    const limits = { most: 10 };
    export function admitted(values: readonly number[], extra?: { more?: number }): number {
      let count = 0;
      for (const value of values) {
        if (value < 0) continue;
        if (value > limits.most || count >= 3) break;
        count++;
      }
      return count + (extra?.more ?? 0);
    }
    export const named = (text: string) => (/^[a-z]{1,3}$/.test(text.trim()) ? \`<\${text}>\` : undefined);
  `;
  const mutations = mutationsOf(source);
  type Module = {
    admitted(values: number[], extra?: { more?: number }): number;
    named(text: string): string | undefined;
  };

  function moduleWith(chosen: number | undefined, text: string): Module {
    const { code } = transformSync(text, { loader: "ts", format: "cjs" });
    const module = { exports: {} as Module };
    new Function("module", "$mutant", code)(module, (number: number) => number === chosen);
    return module.exports;
  }

  const answers = ({ admitted, named }: Module) =>
    [
      () => admitted([]),
      () => admitted([0, -1, 10, 11, 5]),
      () => admitted([1, 2, 3, 4, 5]),
      () => admitted([1, 2, -3], { more: 4 }),
      () => admitted([1], {}),
      ...["", "a", " abc ", "abcd", "ab1", "1ab", "A"].map((text) => () => named(text)),
    ].map((ask) => {
      try {
        return ask();
      } catch {
        return "throws";
      }
    });

  test("answers as the source does while no mutation is chosen", () => {
    expect(answers(moduleWith(undefined, withSwitches(source, mutations, 0)))).toEqual(
      answers(moduleWith(undefined, source)),
    );
  });

  test.each(mutations.map((mutation, number) => [mutation.kind, number, mutation] as const))(
    "answers as the source with that change alone: %s (%i)",
    (_, number, { start, end, replacement, shape }) => {
      const piece = shape === "statement" ? ";" : replacement;
      const changed = source.slice(0, start) + piece + source.slice(end);
      const switched = withSwitches(source, mutations, 100);
      expect(answers(moduleWith(100 + number, switched))).toEqual(answers(moduleWith(undefined, changed)));
    },
  );
});
