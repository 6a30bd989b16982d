import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { ExchangeEvent } from "../../src/exchange/contract.ts";
import { createClockDrift } from "../../src/exchange/exchange.ts";
import {
  type Answer,
  entraError,
  exchangeWith,
  type FakeEntra,
  granted,
  refusalOf,
  requestOf,
  START,
  startFakeEntra,
} from "./fake-entra.ts";

let entra: FakeEntra;
beforeEach(async () => {
  entra = await startFakeEntra();
});
afterEach(() => entra.close());

/** Entra's clock stands so far from the gateway's, ms. */
function rigAt(entraAheadMs: number, answer?: Answer) {
  const rig = exchangeWith(entra);
  entra.respond((request, count) => ({
    ...(answer ?? granted(request, count)),
    headers: { date: new Date(rig.clock.now() + entraAheadMs).toUTCString() },
  }));
  return rig;
}

describe("the difference to Entra's clock", () => {
  test("is unknown before the first answer, and where an answer has no Date", async () => {
    const rig = exchangeWith(entra);
    expect(rig.clockDriftMs()).toBeUndefined();
    await rig.exchange(requestOf("ann"));
    expect(rig.clockDriftMs()).toBeUndefined();
  });

  test.each([
    ["behind", 90_000],
    ["ahead of", -90_000],
  ])("is seen when the gateway's clock is %s Entra's", async (_, entraAheadMs) => {
    const rig = rigAt(entraAheadMs);
    await rig.exchange(requestOf("ann"));
    expect(Math.abs((rig.clockDriftMs() ?? 0) + entraAheadMs)).toBeLessThanOrEqual(1_000);
    expect(rig.events).toContainEqual({ type: "clock_drift", driftMs: rig.clockDriftMs() });
  });

  test("is seen in a refusal as well", async () => {
    const rig = rigAt(90_000, entraError("invalid_grant", 500133));
    await refusalOf(rig.exchange(requestOf("ann")));
    expect(rig.clockDriftMs()).toBeLessThan(-89_000);
  });

  test("becomes one event, not one for each answer, and none when the clocks agree", async () => {
    const rig = rigAt(90_000);
    for (const user of ["a", "b", "c", "d"]) await rig.exchange(requestOf(user));
    expect(rig.events.filter(({ type }) => type === "clock_drift")).toHaveLength(1);
    const agreeing = rigAt(0);
    for (const user of ["a", "b"]) await agreeing.exchange(requestOf(user));
    expect(agreeing.events.filter(({ type }) => type === "clock_drift")).toHaveLength(0);
  });

  test("is not changed by one odd Date among several", async () => {
    const rig = rigAt(0);
    for (const user of ["a", "b", "c"]) await rig.exchange(requestOf(user));
    entra.respond((request, count) => ({
      ...granted(request, count),
      headers: { date: "Thu, 01 Jan 1970 00:00:00 GMT" },
    }));
    await rig.exchange(requestOf("d"));
    expect(Math.abs(rig.clockDriftMs() ?? Number.NaN)).toBeLessThanOrEqual(1_000);
  });

  test("is an event again when the clock was put right", async () => {
    const rig = rigAt(90_000);
    await rig.exchange(requestOf("a"));
    entra.respond((request, count) => ({
      ...granted(request, count),
      headers: { date: new Date(rig.clock.now()).toUTCString() },
    }));
    for (const user of ["b", "c", "d"]) await rig.exchange(requestOf(user));
    const events = rig.events.filter((event) => event.type === "clock_drift");
    expect(Math.abs(events.at(-1)?.driftMs ?? Number.NaN)).toBeLessThanOrEqual(1_000);
  });
});

describe("the difference, by the Dates of answers alone", () => {
  const rigOf = () => {
    const events: ExchangeEvent[] = [];
    let now = START;
    const drift = createClockDrift({ now: () => now, onEvent: (event) => events.push(event) });
    /** An answer whose Date makes the difference to be so much, ms, where it was under way for no time. */
    const observe = (ms: number, sentAt = now) =>
      drift.observe(new Headers({ date: new Date(now - ms - 500).toUTCString() }), sentAt);
    const at = (ms: number) => {
      now = START + ms;
    };
    return { ...drift, events, answer: observe, at };
  };

  test("is measured in the middle between question and answer, and in the middle of Entra's second", () => {
    const rig = rigOf();
    rig.at(901);
    rig.observe(new Headers({ date: new Date(START).toUTCString() }), START + 200);
    // Half way between 200 and 901, less half a second.
    expect(rig.ms()).toBe(51);
  });

  test.each([30_000, -30_000])(
    "is the middle one of the latest five: a change by %d ms shows with the third",
    (ms) => {
      const rig = rigOf();
      rig.at(500);
      for (let answer = 0; answer < 7; answer += 1) rig.answer(0);
      rig.answer(ms);
      rig.answer(ms);
      expect(rig.ms()).toBe(0);
      rig.answer(ms);
      expect(rig.ms()).toBe(ms);
      for (let answer = 0; answer < 2; answer += 1) rig.answer(0);
      expect(rig.ms()).toBe(ms);
      rig.answer(0);
      expect(rig.ms()).toBe(0);
    },
  );

  test("is the middle one by size, in whatever order the answers came", () => {
    const rig = rigOf();
    rig.at(500);
    for (const ms of [9_000, -70_000, 20_000, -3_000, 1_000]) rig.answer(ms);
    expect(rig.ms()).toBe(1_000);
  });

  test("is reported once it has changed by a second", () => {
    const rig = rigOf();
    const steps = [
      [999, 0],
      [1_000, 1],
      [1_999, 1],
      [2_000, 2],
      [1_001, 2],
      [1_000, 3],
    ] as const;
    for (const [ms, reports] of steps) {
      const past = (ms % 1_000) + 500;
      rig.at(past);
      const date = new Date(START - Math.floor(ms / 1_000) * 1_000).toUTCString();
      for (let answer = 0; answer < 5; answer += 1) rig.observe(new Headers({ date }), START + past);
      expect([rig.ms(), rig.events.length]).toEqual([ms, reports]);
    }
    expect(rig.events.at(-1)).toEqual({ type: "clock_drift", driftMs: 1_000 });
  });
});

describe("the scopes that Entra granted", () => {
  const scopes = async (scope: unknown) => {
    entra.respond((request, count) => granted(request, count, { scope }));
    const rig = exchangeWith(entra);
    const { token } = await rig.exchange(requestOf("ann"));
    const [event] = rig.events.filter(({ type }) => type === "exchanged");
    const evented = event?.type === "exchanged" ? event.grantedScopes : undefined;
    expect(evented).toEqual(token.grantedScopes);
    expect((await rig.exchange(requestOf("ann"))).token.grantedScopes).toEqual(token.grantedScopes);
    return token.grantedScopes;
  };

  test("are kept with the token and told with the exchange", async () => {
    expect(
      await scopes("https://graph.microsoft.com/User.Read https://graph.microsoft.com/.default"),
    ).toEqual(["https://graph.microsoft.com/User.Read", "https://graph.microsoft.com/.default"]);
  });

  test.each<[sentence: string, scope: unknown]>([
    ["absent", undefined],
    ["empty", ""],
    ["no text", ["User.Read"]],
    ["a list with two blanks in a row", "User.Read  Mail.Read"],
    ["a list with a line break", "User.Read\nMail.Read"],
    ["longer than any list", Array.from({ length: 500 }, (_, index) => `api://x/scope-${index}`).join(" ")],
  ])("are unknown where the member is %s", async (_, scope) => {
    expect(await scopes(scope)).toBeUndefined();
  });

  test("are one list for all tokens that have the same", async () => {
    const rig = exchangeWith(entra);
    const [one, other] = await Promise.all(["ann", "bob"].map((user) => rig.exchange(requestOf(user))));
    expect(one?.token.grantedScopes).toBe(other?.token.grantedScopes);
    expect(one?.token.grantedScopes).toBeDefined();
  });
});
