/** The figures that the benchmark prints, from rounds whose answer is known. */

import { describe, expect, test } from "@jest/globals";
import { instructionsOf } from "./callgrind.ts";
import { substituted } from "./contenders.ts";
import { isMet, type Target } from "./result.ts";
import { allocations, partOf, scaled, selfTimes } from "./shares.ts";
import { median, medianInterval, pairedRatio, percentile, spread } from "./statistics.ts";
import { resultTable, targetTable } from "./table.ts";

test("the median is the middle of the sorted values, whatever their order", () => {
  expect(median([10, 2, 33])).toBe(10);
  expect(median([100, 20, 3, 9])).toBe(20);
  expect(median([])).toBeNaN();
});

test("the spread is the distance of the extremes as a share of the median", () => {
  expect(spread([80, 100, 130])).toBe(0.5);
});

test("a paired ratio is not moved by a round that was slow for both", () => {
  expect(pairedRatio([50, 5, 60], [100, 10, 120])).toBe(0.5);
});

test("a median's interval leaves out as many values at either end, and all of few", () => {
  expect(medianInterval(Array.from({ length: 40 }, (_, index) => 40 - index))).toEqual([14, 27]);
  expect(medianInterval([3, 1, 2])).toEqual([1, 3]);
});

test("the last percentile of few values is the highest of them", () => {
  expect(percentile([1, 2, 3], 0.99)).toBe(3);
  expect(percentile([1, 2, 3, 4], 0.5)).toBe(3);
  expect(percentile([], 0.5)).toBeNaN();
});

describe("a target", () => {
  const target = (value: number, limit: Target["limit"]): Target => ({
    what: "rate",
    value,
    digits: 2,
    limit,
  });

  test.each([
    ["on a lower limit is met", 0.75, { atLeast: 0.75 }, true],
    ["below a lower limit is missed", 0.74, { atLeast: 0.75 }, false],
    ["on an upper limit is met", 600, { atMost: 600 }, true],
    ["above an upper limit is missed", 601, { atMost: 600 }, false],
    ["that could not be measured is missed", Number.NaN, { atMost: 600 }, false],
  ])("%s", (_sentence, value, limit, met) => {
    expect(isMet(target(value, limit))).toBe(met);
    expect(targetTable([target(value, limit)])).toMatch(met ? / {2}met$/ : / {2}missed$/);
  });
});

test("a target that holds by rate alone is missed, for a busy machine can make any rate", () => {
  const target: Target = { what: "rate", value: 0.8, byProcessor: 0.4, digits: 2, limit: { atLeast: 0.75 } };
  expect(isMet(target)).toBe(false);
  expect(isMet({ ...target, byProcessor: 0.76 })).toBe(true);
  expect(isMet({ ...target, byProcessor: Number.NaN })).toBe(true);
});

test("a figure that was not measured is a dash, not NaN or a zero", () => {
  const text = resultTable({
    title: "title",
    columns: [
      { name: "a", digits: 1 },
      { name: "b", digits: 0, unit: " %" },
      { name: "c", digits: 0 },
    ],
    rows: [{ name: "row", figures: [1.25, Number.NaN] }],
    targets: [],
  });
  expect(text.split("\n").at(-1)).toMatch(/^row +1\.3 +– +–$/);
});

describe("a profile", () => {
  const frame = (functionName: string, url: string) => ({
    functionName,
    url,
    scriptId: "1",
    lineNumber: 0,
    columnNumber: 0,
  });

  test.each([
    ["file:///app/dist/http/pipeline.js", "proceed", "room: http"],
    ["file:///app/dist/gateway.js", "open", "room: (root)"],
    ["file:///app/node_modules/undici/lib/core/util.js", "parse", "dependency: undici"],
    ["file:///app/node_modules/@azure/msal-node/dist/index.js", "acquire", "dependency: @azure/msal-node"],
    ["node:internal/streams/readable", "push", "node: streams"],
    ["node:_http_outgoing", "_send", "node: http"],
    ["", "writev", "system: writev"],
    ["", "(garbage collector)", "V8: garbage collector"],
    ["", "(program)", "V8 and native code"],
  ])("counts %s %s for %s", (url, name, part) => {
    expect(partOf(frame(name, url))).toBe(part);
  });

  test("leaves idle samples out, and shares the measured total out by the others", () => {
    const nodes = [
      { id: 1, callFrame: frame("(idle)", "") },
      { id: 2, callFrame: frame("send", "file:///app/dist/downstream/forward.js") },
      { id: 3, callFrame: frame("writev", "") },
    ];
    const profile = {
      nodes,
      startTime: 0,
      endTime: 100,
      samples: [1, 2, 3, 2],
      timeDeltas: [60, 10, 20, 10],
    };
    const shares = scaled(selfTimes(profile, partOf), 120);
    expect(Object.fromEntries(shares)).toEqual({ "room: downstream": 60, "system: writev": 60 });
  });

  test("says what a request allocates, over all callers of a place", () => {
    const leaf = (selfSize: number) => ({
      callFrame: frame("next", "file:///app/node_modules/router/index.js"),
      selfSize,
      id: 1,
      children: [],
    });
    const head = { callFrame: frame("(root)", ""), selfSize: 0, id: 0, children: [leaf(300), leaf(100)] };
    expect(allocations({ head }, 4).get("dependency: router")).toBe(100);
  });
});

describe("instructions of a dump", () => {
  const dump = (...functions: readonly (readonly [name: string, ...lines: string[]])[]) =>
    [
      "version: 1",
      "events: Ir",
      ...functions.flatMap(([name, ...lines]) => ["fl=???", `fn=${name}`, ...lines]),
    ].join("\n");

  test("are those of a function itself, and not what it has called", () => {
    const text = dump(
      ["0x000000001a2b3c", "0 40", "cfn=Builtins_CallFunction", "calls=3 0", "0 9000", "+2 5"],
      ["Builtins_CallFunction", "0 900"],
    );
    expect(instructionsOf(text)).toEqual({ work: 945, collector: 0, compiler: 0 });
  });

  test.each([
    ["v8::internal::ScavengerCollector::CollectGarbage()", "collector"],
    ["v8::internal::MarkCompactCollector::MarkLiveObjects()", "collector"],
    ["v8::internal::Heap::CollectGarbage(v8::internal::AllocationSpace)", "collector"],
    ["v8::internal::compiler::GraphReducer::Reduce(v8::internal::compiler::Node*)", "compiler"],
    ["v8::internal::interpreter::BytecodeGenerator::VisitCall()", "compiler"],
    ["v8::internal::baseline::BaselineCompiler::GenerateCode()", "compiler"],
    ["v8::internal::Runtime_StringReplace(int, unsigned long*)", "work"],
    ["v8::internal::String::SlowFlatten(v8::internal::Isolate*)", "work"],
    ["Builtins_RegExpExecInternal", "work"],
    ["llhttp__internal_execute", "work"],
  ])("of %s count for the %s", (name, part) => {
    expect(instructionsOf(dump([name, "16 7"]))).toMatchObject({ [part]: 7 });
  });
});

test.each(["signals", "crowd", "users", "miss", "console"])(
  "the scenario %s puts its stand-ins in the place of modules that the gateway has",
  async (name) => {
    expect(Object.values(await import(`./scenarios/${name}.ts`))).not.toHaveLength(0);
  },
);

test("a stand-in for a module that the gateway does not have is refused", () => {
  expect(() => substituted("silent", { "signals.js": "./silent-signals.mjs" })).toThrow("signals.js");
});
