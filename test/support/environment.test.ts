/** Test files run in the realm of their worker, which finds no trace of them. */

import { readFile } from "node:fs/promises";
import { afterEach, describe, expect, jest, test } from "@jest/globals";
import { RateLimiterMemory } from "rate-limiter-flexible";
import { keepGlobals } from "./run/kept.mjs";

describe("a test file's realm", () => {
  afterEach(() => void jest.useRealTimers());

  test("is that of Node, so that an error of Node is an Error", async () => {
    await expect(readFile("/there/is/no/such/file")).rejects.toBeInstanceOf(Error);
  });

  test("is that of packages, so that they see the clock that a test sets", async () => {
    jest.useFakeTimers();
    const limiter = new RateLimiterMemory({ points: 2, duration: 60 });
    await limiter.consume("ada");
    jest.advanceTimersByTime(20_000);
    expect((await limiter.consume("ada")).msBeforeNext).toBe(40_000);
  });
});

test("what a test file sets, replaces or deletes is put back after it", () => {
  const globals = globalThis as Record<string, unknown>;
  const before = { fetch, exit: process.exit, path: process.env.PATH, exitCode: process.exitCode };
  const putBack = keepGlobals();
  globals.added = true;
  globals.fetch = () => {};
  process.exit = () => undefined as never;
  process.exitCode = 3;
  process.env.ADDED_BY_A_TEST = "yes";
  delete process.env.PATH;
  putBack();
  expect("added" in globals || "ADDED_BY_A_TEST" in process.env).toBe(false);
  expect({ fetch, exit: process.exit, path: process.env.PATH, exitCode: process.exitCode }).toEqual(before);
});
