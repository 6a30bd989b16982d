import { randomUUID } from "node:crypto";
import { afterEach, describe, expect, test } from "@jest/globals";
import { Secret } from "../../src/foundation/secret.ts";
import type { NoRedisToken, RedisToken } from "../../src/redis/contract.ts";
import { openSignIn, type SignIn } from "../../src/redis/sign-in.ts";

const MINUTE = 60_000;
const START = Date.UTC(2026, 10, 27);

const opened: SignIn[] = [];
afterEach(() => {
  for (const one of opened.splice(0)) one.close();
});

/** Clocks that stand still until `pass`, and an Entra whose answers the test chooses. */
function open({ lifetimeMs = 60 * MINUTE, answers = [] as NoRedisToken[] } = {}) {
  let wall = START;
  let elapsed = 0;
  let paused: (() => void) | undefined;
  let asked = 0;
  const problems: string[] = [];
  const tokens: RedisToken[] = [];
  const signIn = openSignIn({
    now: () => wall,
    elapsed: () => elapsed,
    pause: (_, signal) =>
      new Promise((resolve, reject) => {
        paused = resolve;
        signal.onabort = () => reject(new Error("closed"));
      }),
    async source() {
      asked += 1;
      const refusal = answers.shift();
      if (refusal !== undefined) return refusal;
      const token = { token: new Secret(randomUUID()), objectId: "gateway", expiresAt: wall + lifetimeMs };
      tokens.push(token);
      return token;
    },
    onToken: () => {},
    onFailure: (problem) => problems.push(problem),
  });
  opened.push(signIn);
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  return {
    signIn,
    tokens,
    problems,
    asked: () => asked,
    settle,
    /** Time goes by on both clocks, or on one of them, and the next look comes. */
    async pass(ms: number, { wallToo = true, elapsedToo = true } = {}) {
      await settle();
      if (wallToo) wall += ms;
      if (elapsedToo) elapsed += ms;
      paused?.();
      await settle();
    },
    setClock(ms: number) {
      wall += ms;
    },
  };
}

test("there is no token before Entra has answered, and the one of its answer from then on", async () => {
  const { signIn, tokens, settle } = open();
  expect(signIn.current()).toBeUndefined();
  await settle();
  expect(signIn.current()).toBe(tokens[0]);
});

describe("a token is renewed", () => {
  test.each([
    ["after three quarters of an hour, of one hour", 60, 44, 45],
    ["five minutes before the end of ten", 10, 4, 5],
    ["after half of the life of a short one", 2, 0.9, 1],
    ["after eighteen hours, of a day", 24 * 60, 18 * 60 - 1, 18 * 60],
  ])("%s", async (_, lifetime, before, due) => {
    const { asked, pass, signIn, tokens } = open({ lifetimeMs: lifetime * MINUTE });
    await pass(before * MINUTE);
    expect(asked()).toBe(1);
    await pass((due - before) * MINUTE);
    expect(asked()).toBe(2);
    expect(signIn.current()).toBe(tokens[1]);
  });

  test("by the clock that goes on while the other stands: a machine slept, or its clock was set back", async () => {
    const slept = open();
    await slept.pass(46 * MINUTE, { elapsedToo: false });
    expect(slept.asked()).toBe(2);
    const setBack = open();
    await setBack.settle();
    setBack.setClock(-120 * MINUTE);
    await setBack.pass(46 * MINUTE, { wallToo: false });
    expect(setBack.asked()).toBe(2);
  });

  test("a minute after it was requested when Redis does not accept it, and not at once", async () => {
    const { asked, pass, signIn, settle } = open();
    await settle();
    signIn.refused();
    await pass(59_000);
    expect(asked()).toBe(1);
    await pass(1_000);
    expect(asked()).toBe(2);
    await pass(30 * MINUTE);
    expect(asked()).toBe(2);
  });
});

describe("while Entra gives none", () => {
  const refusal: NoRedisToken = { problem: "authority_unavailable", isPassing: true };

  test("it is asked again, later each time and half a minute later at most", async () => {
    const { asked, pass, problems, signIn } = open({ answers: Array(20).fill(refusal) });
    await pass(0);
    const times: number[] = [];
    let time = 0;
    for (let known = asked(); times.length < 8; time += 100) {
      await pass(100);
      if (asked() > known) times.push(time);
      known = asked();
    }
    const gaps = times.slice(1).map((one, index) => one - (times[index] ?? 0));
    expect(times[0]).toBeGreaterThanOrEqual(700);
    expect(gaps.every((gap, index) => gap >= Math.min(700 * 2 ** (index + 1), 23_000))).toBe(true);
    expect(Math.max(...gaps)).toBeLessThanOrEqual(36_100);
    expect(problems.every((one) => one === refusal.problem)).toBe(true);
    expect(signIn.current()).toBeUndefined();
  });

  test("it is not asked before the time that it names, nor minutes past five for that", async () => {
    const { asked, pass } = open({ answers: [{ ...refusal, retryAfterSeconds: 86_400 }] });
    await pass(4 * MINUTE);
    expect(asked()).toBe(1);
    await pass(1 * MINUTE);
    expect(asked()).toBe(2);
  });

  test("the token before serves to its end and not beyond", async () => {
    const answers: NoRedisToken[] = [];
    const { signIn, tokens, pass } = open({ answers });
    await pass(0);
    answers.push(...Array(100).fill(refusal));
    await pass(59 * MINUTE);
    expect(signIn.current()).toBe(tokens[0]);
    await pass(1 * MINUTE);
    expect(signIn.current()).toBeUndefined();
  });
});

test("once closed, Entra is not asked any more", async () => {
  const { signIn, asked, pass } = open();
  await pass(0);
  signIn.close();
  await pass(50 * MINUTE);
  expect(asked()).toBe(1);
});
