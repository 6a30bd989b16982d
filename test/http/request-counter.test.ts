import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import type { RateLimitEvent } from "../../src/http/contract.ts";
import { createRequestCounter } from "../../src/http/request-counter.ts";
import type { SharedCounters } from "../../src/redis/contract.ts";

const LIMIT = { requests: 3, perSeconds: 60 };

let events: RateLimitEvent["type"][];
const onEvent = ({ type }: RateLimitEvent) => void events.push(type);

beforeEach(() => {
  events = [];
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

async function counted(count: (subject: string) => Promise<object>, subject: string, times: number) {
  const windows = [];
  for (let time = 0; time < times; time += 1) windows.push(await count(subject));
  return windows;
}

describe("a counter of its own", () => {
  test("lets pass what the limit allows, says what is left, and begins anew when the window is over", async () => {
    const count = createRequestCounter(LIMIT, { onEvent });
    expect(await count("ada")).toEqual({ exceeded: false, remaining: 2, resetMs: 60_000 });
    jest.advanceTimersByTime(20_000);
    expect(await count("ada")).toEqual({ exceeded: false, remaining: 1, resetMs: 40_000 });
    expect(await count("ada")).toEqual({ exceeded: false, remaining: 0, resetMs: 40_000 });
    expect(await count("ada")).toEqual({ exceeded: true, remaining: 0, resetMs: 40_000 });
    jest.advanceTimersByTime(39_999);
    expect(await count("ada")).toMatchObject({ exceeded: true, resetMs: 1 });
    jest.advanceTimersByTime(1);
    expect(await count("ada")).toEqual({ exceeded: false, remaining: 2, resetMs: 60_000 });
  });

  test("counts each subject by itself", async () => {
    const count = createRequestCounter(LIMIT, { onEvent });
    await counted(count, "ada", 4);
    expect(await count("grace")).toMatchObject({ exceeded: false, remaining: 2 });
  });

  test("forgets the window nearest to its end when more are open than it may hold, and tells", async () => {
    const count = createRequestCounter(LIMIT, { onEvent, maxWindows: 2 });
    await counted(count, "ada", 4);
    jest.advanceTimersByTime(1_000);
    await counted(count, "grace", 4);
    expect(events).toEqual([]);
    await count("edsger");
    expect(events).toEqual(["window_forgotten"]);
    expect(await count("grace")).toMatchObject({ exceeded: true });
    expect(await count("ada")).toMatchObject({ exceeded: false, remaining: 2 });
  });

  test("gives the room of windows that are over to new ones, however often", async () => {
    const count = createRequestCounter(LIMIT, { onEvent, maxWindows: 2 });
    for (let round = 0; round < 10; round += 1) {
      await counted(count, `one of ${round}`, 4);
      await counted(count, "the same", 4);
      expect(await count("the same")).toMatchObject({ exceeded: true });
      jest.advanceTimersByTime(60_000);
    }
    expect(events).toEqual([]);
  });
});

/** What several processes would share; `answer` replaces what it says. */
function fakeRedis() {
  const held = new Map<string, { count: number; endsAt: number }>();
  const asked: string[] = [];
  const redis = { answer: undefined as (() => unknown) | undefined, asked };
  const counters: SharedCounters = {
    nameOf: (subject) => `name of ${subject}`,
    async run(_script, name, [by, seconds]) {
      asked.push(name);
      if (redis.answer !== undefined) return redis.answer();
      const open = held.get(name);
      const window =
        open !== undefined && open.endsAt > Date.now()
          ? open
          : { count: 0, endsAt: Date.now() + Number(seconds) * 1000 };
      window.count += Number(by);
      held.set(name, window);
      return [window.count, window.endsAt - Date.now()];
    },
  };
  return { redis, counters };
}

describe("counters of several processes", () => {
  test("count together", async () => {
    const { counters } = fakeRedis();
    const [one, other] = [0, 1].map(() => createRequestCounter(LIMIT, { onEvent, counters }));
    await one?.("ada");
    await other?.("ada");
    expect(await one?.("ada")).toEqual({ exceeded: false, remaining: 0, resetMs: 60_000 });
    expect(await other?.("ada")).toMatchObject({ exceeded: true, resetMs: 60_000 });
  });

  test("do not ask again for a subject that has used up its window, until that is over", async () => {
    const { counters, redis } = fakeRedis();
    const count = createRequestCounter(LIMIT, { onEvent, counters });
    await counted(count, "ada", 50);
    expect(redis.asked).toHaveLength(3);
    jest.advanceTimersByTime(60_001);
    expect(await count("ada")).toMatchObject({ exceeded: false, remaining: 2 });
  });

  test("keep refusing it when Redis is lost", async () => {
    const { counters, redis } = fakeRedis();
    const count = createRequestCounter(LIMIT, { onEvent, counters });
    await counted(count, "ada", 3);
    redis.answer = () => undefined;
    expect(await count("ada")).toMatchObject({ exceeded: true });
  });

  test("remember some thousands of those at most, and ask again for the others", async () => {
    const { counters, redis } = fakeRedis();
    const count = createRequestCounter({ requests: 1, perSeconds: 60 }, { onEvent, counters });
    for (let user = 0; user <= 2_000; user += 1) await count(`user ${user}`);
    redis.asked.length = 0;
    expect(await count("user 0")).toMatchObject({ exceeded: true });
    expect(redis.asked).toEqual(["name of user 0"]);
  });

  test.each([
    ["does not answer", undefined],
    ["answers nil", null],
    ["answers with a text", "OK"],
    ["answers with one number", [1]],
    ["answers with what is no number", ["many", 60_000]],
    ["answers with a fraction", [0.5, 60_000]],
  ])("count alone, to the same limit, while Redis %s", async (_, answer) => {
    const { counters, redis } = fakeRedis();
    redis.answer = () => answer;
    const count = createRequestCounter(LIMIT, { onEvent, counters });
    const windows = await counted(count, "ada", 4);
    expect(windows.map((window) => ("exceeded" in window ? window.exceeded : undefined))).toEqual([
      false,
      false,
      false,
      true,
    ]);
    expect(events).toEqual(Array(4).fill("counted_alone"));
  });

  test("a defect is not taken for a Redis that is away", async () => {
    const { counters } = fakeRedis();
    const broken = { ...counters, run: () => Promise.reject(new TypeError("a defect")) };
    const count = createRequestCounter(LIMIT, { onEvent, counters: broken });
    await expect(count("ada")).rejects.toThrow(TypeError);
  });
});
