/** The process in which mutants live: runs the tests of a script with one mutation chosen, as often as asked. */

import { constants, Script } from "node:vm";
import { ModernFakeTimers } from "@jest/fake-timers";
import type { Circus } from "@jest/types";
import { expect } from "expect";
import * as circus from "jest-circus";
import { ModuleMocker } from "jest-mock";
import { LOADED, type Order, type Outcome, type TestRun, type TestScript } from "./protocol.ts";

type Factory = (imports: Record<string, unknown>, mutant: (number: number) => boolean) => Promise<void>;

const { performance, Date: RealDate } = globalThis;
const compiled = new Map<string, Factory>();
const modules: Record<string, unknown> = {};

/** What a test file imports from `@jest/globals`, over the parts that jest itself is made of. */
const mocker = new ModuleMocker(globalThis);
const timers = new ModernFakeTimers({
  config: { fakeTimers: {}, rootDir: process.cwd() } as never,
  global: globalThis as never,
});
modules["@jest/globals"] = {
  ...circus,
  expect,
  jest: {
    fn: mocker.fn.bind(mocker),
    spyOn: mocker.spyOn.bind(mocker),
    restoreAllMocks: () => mocker.restoreAllMocks(),
    useFakeTimers: (config?: object) => timers.useFakeTimers(config as never),
    useRealTimers: () => timers.useRealTimers(),
    advanceTimersByTime: (ms: number) => timers.advanceTimersByTime(ms),
    advanceTimersByTimeAsync: (ms: number) => timers.advanceTimersByTimeAsync(ms),
    getTimerCount: () => timers.getTimerCount(),
    runAllTimers: () => timers.runAllTimers(),
  },
};

async function load({ file, code, imports }: TestScript): Promise<Factory> {
  for (const from of imports) modules[from] ??= await import(from);
  let factory = compiled.get(file);
  if (factory === undefined) {
    const script = new Script(code, {
      filename: file,
      importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER as never,
    });
    factory = script.runInThisContext() as Factory;
    compiled.set(file, factory);
  }
  return factory;
}

/** All tests below a block; a block without one to run is skipped with its hooks. */
function choose(block: Circus.DescribeBlock, chosen: (test: Circus.TestEntry) => boolean): boolean {
  let any = false;
  for (const child of block.children) {
    const runs = child.type === "test" ? chosen(child) : choose(child, chosen);
    if (!runs) child.mode = "skip";
    any ||= runs;
  }
  return any;
}

const messageOf = (error: unknown): string => {
  const [first] = Array.isArray(error) ? error : [error];
  return first instanceof Error ? first.message : String(first);
};

let fail: (error: unknown) => void = () => {};
process.on("uncaughtException", (error) => fail(error));
process.on("unhandledRejection", (error) => fail(error));

async function run({
  script,
  mutant,
  tests,
  timeoutMs,
  mostPassed = Number.POSITIVE_INFINITY,
}: Order): Promise<Outcome> {
  const factory = await load(script);
  process.send?.(LOADED);
  const places = new Map<Circus.TestEntry, number>();
  const runs: (TestRun & { reached: number[] })[] = [];
  const reachedByAll = new Set<number>();
  let reached = reachedByAll;
  let failed: Outcome["failed"];
  const begun = performance.now();
  let testBegun = 0;
  let passed = 0;

  function failedBy(test: Circus.TestEntry | null | undefined, error: unknown): void {
    if (failed !== undefined) return;
    const message = messageOf(error);
    const waiting = message.startsWith("Exceeded timeout") && "waiting";
    const timedOut = passed > mostPassed ? "round" : waiting;
    failed = { test: test == null ? undefined : places.get(test), message, timedOut };
    // The others would only cost time.
    choose(circus.getState().rootDescribeBlock, () => false);
  }

  circus.resetState();
  const state = circus.getState();
  state.testTimeout = timeoutMs;
  fail = (error) => failedBy(state.currentlyRunningTest, error);
  const onEvent: Circus.EventHandler = (event) => {
    if (event.name === "test_start") {
      reached = new Set();
      testBegun = performance.now();
      expect.setState({ assertionCalls: 0, suppressedErrors: [], currentTestName: event.test.name } as never);
    } else if (event.name === "test_done") {
      const ms = performance.now() - testBegun;
      if (event.test.errors.length > 0) failedBy(event.test, event.test.errors[0]);
      else if (mutant === undefined)
        runs[places.get(event.test) ?? -1] = { name: event.test.name, ms, reached: [...reached] };
      reached = reachedByAll;
    } else if (event.name === "hook_failure" && event.test === undefined) failedBy(undefined, event.error);
  };
  circus.addEventHandler(onEvent);
  try {
    await factory(modules, (number) => {
      passed += 1;
      if (passed > mostPassed) throw new Error("goes round for ever");
      if (mutant === undefined) reached.add(number);
      return number === mutant;
    });
    const wanted = tests === undefined ? undefined : new Set(tests);
    choose(state.rootDescribeBlock, (test) => {
      places.set(test, places.size);
      return test.mode !== "skip" && wanted?.has(places.size - 1) !== false;
    });
    const { unhandledErrors } = await circus.run();
    if (unhandledErrors.length > 0) failedBy(undefined, unhandledErrors[0]);
    // Where the code caught it.
    if (passed > mostPassed) failedBy(undefined, new Error("goes round for ever"));
  } catch (error) {
    failedBy(undefined, error);
  } finally {
    circus.removeEventHandler(onEvent);
    timers.useRealTimers();
    mocker.restoreAllMocks();
    globalThis.Date = RealDate;
    fail = () => {};
  }
  return {
    failed,
    // Not by `map`, which leaves out the places of tests that were skipped.
    tests: Array.from(runs, (each) => each ?? { name: "", ms: 0, reached: [] }),
    reachedByAll: [...reachedByAll],
    passed,
    ms: performance.now() - begun,
  };
}

process.on("message", (order: Order) => {
  void run(order)
    .catch((error: unknown): Outcome => {
      const failed = { test: undefined, message: messageOf(error), timedOut: false as const };
      return { failed, tests: [], reachedByAll: [], passed: 0, ms: 0 };
    })
    .then((outcome) => process.send?.(outcome));
});
process.on("disconnect", () => process.exit());
