/** Patterns of tools, and what rules make of them together. */

import { describe, expect, test } from "@jest/globals";
import { compileToolPolicy, toolMatcher } from "../../../src/mcp/tools/policy.ts";
import { createToolLabels, shownName } from "../../../src/mcp/tools/tool-names.ts";

describe("a pattern", () => {
  test.each<[string, string[], string[]]>([
    ["echo", ["echo"], ["Echo", "echo2", "anecho", ""]],
    ["get_*", ["get_", "get_user"], ["get", "forget_user", "GET_user"]],
    ["*_user", ["_user", "get_user"], ["user", "get_users"]],
    ["a*b*c", ["abc", "aXbYc", "abbcc"], ["ac", "acb", "abcd", "xabc"]],
    ["ab*ba", ["abba", "abXba"], ["aba", "ab", "ba"]],
    ["*", ["", "anything"], []],
    ["**", ["", "x"], []],
    ["a.b", ["a.b"], ["aXb"]],
    ["*aa*aa", ["aaaa", "aaaaa", "xaayaa"], ["aaa", "aa"]],
  ])("%s", (pattern, matched, others) => {
    const matches = toolMatcher(pattern);
    expect(matched.filter((tool) => !matches(tool))).toEqual([]);
    expect(others.filter((tool) => matches(tool))).toEqual([]);
  });

  test("with many stars takes no longer than its text is long", () => {
    const began = performance.now();
    expect(toolMatcher(`${"*a".repeat(40)}*b`)("a".repeat(8_000))).toBe(false);
    expect(performance.now() - began).toBeLessThan(200);
  });
});

describe("rules", () => {
  const policy = compileToolPolicy({
    allow: ["get_*", "send"],
    deny: ["get_secret*"],
    scopes: { send: ["mail.send", "mail.all"], "*": ["base"] },
    limits: { send: { perUser: { requests: 1, perSeconds: 1 } }, "s*": {} },
  });

  test("open what allow names and deny does not", () => {
    expect(["get_a", "send", "get_secret", "get_secrets", "sent"].filter(policy.isOpen)).toEqual([
      "get_a",
      "send",
    ]);
    expect(policy.closesSome).toBe(true);
  });

  test("without rules open everything, so that no list is filtered", () => {
    const open = compileToolPolicy();
    expect([open.isOpen("x"), open.closesSome, open.missingScopes("x", []), open.countedAs("x")]).toEqual([
      true,
      false,
      [],
      [],
    ]);
  });

  test("ask for one scope of each pattern that matches", () => {
    expect(policy.missingScopes("send", ["base"])).toEqual(["mail.send", "mail.all"]);
    expect(policy.missingScopes("send", ["mail.all"])).toEqual(["base"]);
    expect(policy.missingScopes("send", ["mail.all", "base"])).toEqual([]);
    expect(policy.missingScopes("get_a", [])).toEqual(["base"]);
  });

  test("count under every pattern that matches", () => {
    expect(policy.countedAs("send")).toEqual(["send", "s*"]);
    expect(policy.countedAs("get_a")).toEqual([]);
  });
});

describe("names", () => {
  test.each(["echo", "get_user.v2", "a/b-c"])("%s is shown", (name) => {
    expect(shownName(name)).toBe(name);
  });

  test.each(["", "a b", 'a"b', "grüße", "x".repeat(129), "a\nb", "eyJhbGciOiJIUzI1", "x.eyJhbGciOiJIUzI1.y"])(
    "%j is not",
    (name) => {
      expect(shownName(name)).toBe("other");
    },
  );

  test("are labels when rules or the server name them, and of those no more than a bound", () => {
    const labels = createToolLabels(["send"]);
    expect(["send", "echo"].map(labels.labelOf)).toEqual(["send", "other"]);
    for (let count = 0; count < 1_000; count += 1) labels.learn(`tool${count}`);
    expect(["tool0", "tool254", "tool255"].map(labels.labelOf)).toEqual(["tool0", "tool254", "other"]);
  });
});
