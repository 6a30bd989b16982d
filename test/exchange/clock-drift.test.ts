import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import {
  type Answer,
  entraError,
  exchangeWith,
  type FakeEntra,
  granted,
  refusalOf,
  requestOf,
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
