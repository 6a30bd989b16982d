import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import {
  assertionOf,
  entraError,
  exchangeWith,
  type FakeEntra,
  granting,
  HOME,
  holdAnswers,
  type Rig,
  requestOf,
  START,
  startFakeEntra,
} from "./fake-entra.ts";

/** Served life is 3600 s less the margin of 60 s. */
const DUE_MS = 0.8 * 3_540_000;

let entra: FakeEntra;
beforeAll(async () => {
  entra = await startFakeEntra();
});
afterAll(() => entra.close());
beforeEach(() => {
  entra.requests.length = 0;
  entra.respond(granting);
});

const requests = async (count: number) => {
  while (entra.requests.length < count) await new Promise((resolve) => setTimeout(resolve, 5));
};
/** Until the background work that was begun has ended one way or the other. */
const ended = async ({ events }: Rig, count: number) => {
  while (events.filter(({ type }) => type === "exchanged" || type === "refused").length < count)
    await new Promise((resolve) => setTimeout(resolve, 5));
};
const refreshes = ({ events }: Rig) => events.filter(({ type }) => type === "refreshed_ahead").length;

describe("a token in use", () => {
  test("is replaced after four fifths of its served life, while the old one is served", async () => {
    const rig = exchangeWith(entra);
    const first = await rig.exchange(requestOf("ann"));
    rig.clock.advance(DUE_MS - 1);
    await rig.exchange(requestOf("ann"));
    expect(refreshes(rig)).toBe(0);
    rig.clock.advance(1);
    const atHand = await rig.exchange(requestOf("ann"));
    expect([atHand.origin, atHand.token]).toEqual(["cache", first.token]);
    await ended(rig, 2);
    const next = await rig.exchange(requestOf("ann"));
    expect(next.origin).toBe("cache");
    expect(next.token.accessToken.reveal()).not.toBe(first.token.accessToken.reveal());
    expect(next.token.expiresAt).toBe(Math.min(START + DUE_MS + 3_600_000, START + 4_000_000));
    expect(entra.requests).toHaveLength(2);
  });

  test("is replaced once, however many callers meet it when it is due", async () => {
    const rig = exchangeWith(entra);
    await rig.exchange(requestOf("ann"));
    rig.clock.advance(DUE_MS);
    await Promise.all(Array.from({ length: 50 }, () => rig.exchange(requestOf("ann"))));
    await ended(rig, 2);
    expect([refreshes(rig), entra.requests.length]).toEqual([1, 2]);
  });

  test("serves on when its replacement fails, which is tried again before the end, a few times at most", async () => {
    const rig = exchangeWith(entra);
    await rig.exchange(requestOf("ann"));
    entra.respond(() => entraError("temporarily_unavailable", 90033));
    rig.clock.advance(DUE_MS);
    while (rig.clock.now() < START + 3_539_000) {
      const served = await rig.exchange(requestOf("ann"));
      expect(served.origin).toBe("cache");
      if (refreshes(rig) > 0) await ended(rig, 1 + refreshes(rig));
      rig.clock.advance(1_000);
    }
    expect(refreshes(rig)).toBeGreaterThan(1);
    expect(refreshes(rig)).toBeLessThan(15);
  });

  test("goes when the attempt to replace it finds the user's sessions ended", async () => {
    const rig = exchangeWith(entra);
    await rig.exchange(requestOf("ann"));
    entra.respond(() => entraError("invalid_grant", 50173, { suberror: "bad_token" }));
    rig.clock.advance(DUE_MS);
    await rig.exchange(requestOf("ann"));
    await ended(rig, 2);
    expect(rig.cached.entries()).toBe(0);
  });

  test("is not replaced when the assertion ends before it does", async () => {
    const rig = exchangeWith(entra);
    const assertion = assertionOf("ann", { expiresAt: START + 3_000_000 });
    await rig.exchange(requestOf("ann", { assertion }));
    rig.clock.advance(2_999_999);
    expect((await rig.exchange(requestOf("ann", { assertion }))).origin).toBe("cache");
    expect(refreshes(rig)).toBe(0);
  });

  test("is replaced although the caller who met it when it was due has left before Entra answers", async () => {
    const rig = exchangeWith(entra);
    const first = await rig.exchange(requestOf("ann"));
    rig.clock.advance(DUE_MS);
    const release = holdAnswers(entra);
    const leaving = new AbortController();
    const spans: string[] = [];
    const trace = {
      tokenRequest(endpoint: string) {
        spans.push(endpoint);
        return { ended() {} };
      },
    };
    await rig.exchange(requestOf("ann", { signal: leaving.signal, trace }));
    await requests(2);
    // The caller's trace ends with the caller's request.
    expect(spans).toEqual([]);
    leaving.abort();
    release();
    await ended(rig, 2);
    const { origin, token } = await rig.exchange(requestOf("ann"));
    expect([origin, token.accessToken.reveal() === first.token.accessToken.reveal()]).toEqual([
      "cache",
      false,
    ]);
    expect(rig.events.some(({ type }) => type === "refused")).toBe(false);
  });

  test("is refreshed although earlier refreshes failed: their places are given back", async () => {
    const rig = exchangeWith(entra, { budget: { total: 10, userShare: 1, clientShare: 1 } });
    const users = ["a", "b", "c", "d"];
    for (const user of users) await rig.exchange(requestOf(user));
    rig.clock.advance(DUE_MS);
    entra.respond(() => entraError("temporarily_unavailable", 90033));
    for (const [index, user] of users.entries()) {
      await rig.exchange(requestOf(user));
      await ended(rig, users.length + index + 1);
      // The place is given back a moment after the exchange has told its end.
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(refreshes(rig)).toBe(users.length);
  });
});

test("a token that nobody asks for is not replaced", async () => {
  const rig = exchangeWith(entra);
  await rig.exchange(requestOf("ann"));
  await rig.exchange(requestOf("bob"));
  rig.clock.advance(DUE_MS);
  await rig.exchange(requestOf("bob"));
  await ended(rig, 3);
  const users = entra.requests.map(({ form }) => form.get("assertion"));
  expect(users.filter((assertion) => assertion?.includes("ann"))).toHaveLength(1);
});

test("of few exchanges one may be a refresh", async () => {
  const rig = exchangeWith(entra, { budget: { total: 5, userShare: 1, clientShare: 1 } });
  for (const user of ["ann", "bob"]) await rig.exchange(requestOf(user));
  const release = holdAnswers(entra);
  rig.clock.advance(DUE_MS);
  for (const user of ["ann", "bob"]) await rig.exchange(requestOf(user));
  release();
  await ended(rig, 3);
  expect(rig.events.filter(({ type }) => type === "refreshed_ahead")).toEqual([
    { type: "refreshed_ahead", tenantId: HOME },
  ]);
});

test("refreshes under way are bounded, and those left out cost nobody anything", async () => {
  const rig = exchangeWith(entra, { budget: { total: 20, userShare: 1, clientShare: 1 } });
  const users = Array.from({ length: 12 }, (_, index) => `user-${index}`);
  for (const user of users) await rig.exchange(requestOf(user));
  const release = holdAnswers(entra);
  rig.clock.advance(DUE_MS);
  const origins = await Promise.all(users.map(async (user) => (await rig.exchange(requestOf(user))).origin));
  expect(origins.every((origin) => origin === "cache")).toBe(true);
  await requests(users.length + 2);
  release();
  await ended(rig, users.length + 2);
  expect([refreshes(rig), entra.requests.length]).toEqual([2, users.length + 2]);
});
