import { setImmediate as nextTurn } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { GatewayError } from "../../src/errors.ts";
import { createKeyMaker } from "../../src/exchange/cache/keys.ts";
import { createFailureDomains } from "../../src/exchange/failure-domains.ts";
import { loopTurns } from "../../src/foundation/turns.ts";
import {
  assertionOf,
  CLAIMS,
  CLIENT,
  entraError,
  exchangeWith,
  type FakeEntra,
  GRAPH,
  granted,
  HOME,
  HOST,
  holdAnswers,
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

const signIn = (user: string, serial: number) =>
  requestOf(user, { assertion: assertionOf(user, { serial }) });

describe("exchange slots", () => {
  const budget = { total: 16, userShare: 1 / 8, clientShare: 1 };

  test("one user with many tokens holds a share, and another user's exchange is begun all the same", async () => {
    const open = holdAnswers(entra);
    const { exchange, events } = exchangeWith(entra, { budget });
    const held = [1, 2].map((serial) => exchange(signIn("ann", serial)));
    for (let serial = 3; serial < 60; serial += 1) {
      const refusal = await refusalOf(exchange(signIn("ann", serial)));
      expect([refusal.code, refusal.reason, refusal.retryAfterSeconds, refusal.detail]).toEqual([
        "rate_limited",
        "exchanges_of_user",
        1,
        "This user has too many token exchanges under way.",
      ]);
    }
    expect(events).toContainEqual({ type: "share_exhausted", bound: "user" });
    const others = ["bob", "cat", "dan"].map((user) => exchange(requestOf(user)));
    open();
    for (const one of [...held, ...others]) expect((await one).origin).toBe("authority");
  });

  test("a caller who joins an exchange under way takes no slot", async () => {
    const open = holdAnswers(entra);
    const { exchange } = exchangeWith(entra, { budget });
    const joined = Array.from({ length: 20 }, () => exchange(requestOf("ann")));
    open();
    expect((await Promise.all(joined)).filter(({ origin }) => origin === "flight")).toHaveLength(19);
  });

  test("the turn of the event loop that begins exchanges gives their time away, and none for a caller who joins one", async () => {
    const open = holdAnswers(entra);
    const { exchange } = exchangeWith(entra, { budget });
    // The clock stands still, so that nothing but what is given away ends a turn.
    const clock = jest.spyOn(performance, "now").mockReturnValue(performance.now());
    await nextTurn();
    const isFree = [loopTurns.isFree()];
    const held = [exchange(signIn("ann", 1))];
    isFree.push(loopTurns.isFree());
    held.push(exchange(signIn("bob", 1)));
    isFree.push(loopTurns.isFree());
    await nextTurn();
    isFree.push(loopTurns.isFree());
    for (let caller = 0; caller < 8; caller += 1) held.push(exchange(signIn("ann", 1)));
    isFree.push(loopTurns.isFree());
    clock.mockRestore();
    open();
    await Promise.all(held);
    expect(isFree).toEqual([true, true, false, true, true]);
  });

  test("a refusal that is remembered gives no time of a turn away", async () => {
    const { exchange } = exchangeWith(entra, { budget });
    entra.respond(() => entraError("invalid_grant", 65001));
    const spend = jest.spyOn(loopTurns, "spend");
    const codes: string[] = [];
    for (let time = 0; time < 2; time += 1) codes.push((await refusalOf(exchange(requestOf("ann")))).code);
    expect(codes).toEqual(["consent_required", "consent_required"]);
    expect(entra.requests).toHaveLength(1);
    expect(spend).toHaveBeenCalledTimes(1);
    spend.mockRestore();
  });

  test("a slot is given back when its exchange is over, granted or refused", async () => {
    const { exchange } = exchangeWith(entra, { budget });
    for (let serial = 1; serial <= 40; serial += 1) await exchange(signIn("ann", serial));
    entra.respond(() => ({ status: 500, body: {} }));
    for (let serial = 41; serial <= 80; serial += 1)
      expect((await refusalOf(exchange(signIn("ann", serial)))).code).toBe("authority_unavailable");
    entra.respond(granted);
    expect((await exchange(signIn("ann", 81))).origin).toBe("authority");
  });

  test("a client with many users holds its share, and another client is served all the same", async () => {
    const open = holdAnswers(entra);
    const { exchange } = exchangeWith(entra, {
      budget: { total: 8, userShare: 1, clientShare: 0.5 },
    });
    const by = (user: string, clientId: string) => exchange(requestOf(user, { clientId }));
    const held = ["a", "b", "c", "d"].map((user) => by(user, "one"));
    expect(await refusalOf(by("e", "one"))).toMatchObject({
      reason: "exchanges_of_client",
      detail: "This client has too many token exchanges under way.",
    });
    const other = by("e", "two");
    open();
    expect((await other).origin).toBe("authority");
    await Promise.all(held);
  });

  test("claims spelt anew each time are one exchange, and reach Entra as the API wrote them", async () => {
    const { exchange } = exchangeWith(entra, { budget });
    const spellings = [
      '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}',
      '{ "access_token" : {"acrs": {"value":"c1", "essential":true}}}',
      '{"access_token":{"acrs":{"essential":true,"value":"\\u0063\\u0031"}}}',
    ];
    await Promise.all(spellings.map((claims) => exchange(requestOf("ann", { claims }))));
    expect(entra.requests).toHaveLength(1);
    expect(JSON.parse(entra.requests[0]?.form.get("claims") ?? "")).toMatchObject({
      access_token: { acrs: { essential: true, value: "c1" } },
    });
  });

  test("claims nested beyond any request are refused before Entra is asked", async () => {
    const { exchange } = exchangeWith(entra);
    const claims = `{"access_token":{"x":${"[".repeat(3_000)}${"]".repeat(3_000)}}}`;
    expect((await refusalOf(exchange(requestOf("ann", { claims })))).reason).toBe("claims_malformed");
    expect(entra.requests).toHaveLength(0);
  });
});

describe("a user whose sessions have ended", () => {
  test.each([50173, 50132, 50133, 70043, 700082, 700084])(
    "costs Entra one request, however often that user calls on with the same token: AADSTS%i",
    async (number) => {
      entra.respond(() => entraError("invalid_grant", number));
      const { exchange, clock, events } = exchangeWith(entra);
      const first = await refusalOf(exchange(requestOf("ann")));
      expect(first.code).toBe("interaction_required");
      for (let minute = 0; minute < 60; minute += 1) {
        clock.advance(60_000);
        for (const over of [{}, { scopes: ["api://other/.default"] }, { claims: CLAIMS }])
          expect((await refusalOf(exchange(requestOf("ann", over)))).code).toBe("interaction_required");
      }
      expect(entra.requests).toHaveLength(1);
      expect(events.filter(({ type }) => type === "held_back")).toHaveLength(180);
    },
  );

  test("is exchanged again with a newer token, at once", async () => {
    entra.respond((request, count) =>
      request.form.get("assertion") === "assertion-of-ann-1"
        ? entraError("invalid_grant", 50173)
        : granted(request, count),
    );
    const { exchange } = exchangeWith(entra);
    await refusalOf(exchange(requestOf("ann")));
    expect((await exchange(signIn("ann", 2))).origin).toBe("authority");
    expect((await exchange(requestOf("bob"))).origin).toBe("authority");
  });

  test("hears the claims of the API again, where the refusal came of them", async () => {
    entra.respond(() => entraError("invalid_grant", 50173));
    const { exchange } = exchangeWith(entra);
    await refusalOf(exchange(requestOf("ann", { claims: CLAIMS })));
    const again = await refusalOf(exchange(requestOf("ann")));
    expect([again.code, again.claims]).toEqual(["claims_challenged", CLAIMS]);
    expect(entra.requests).toHaveLength(1);
  });

  test("is remembered for ten thousand assertions at most, and for none past its end", () => {
    let time = START;
    const domains = createFailureDomains({ refusalMs: 3_000, now: () => time });
    const keyMaker = createKeyMaker(HOST, CLIENT);
    const subjectOf = (serial: number) => ({
      keys: keyMaker.of(assertionOf("ann", { serial }), GRAPH),
      tenantId: HOME,
      claims: undefined,
      assertionExpiresAt: START + 60_000,
    });
    const error = new GatewayError("interaction_required", { detail: "Sign in again." });
    const refusal = { error, domain: "session", transient: false, forgetUser: true } as const;
    for (let serial = 0; serial <= 10_000; serial += 1) domains.learn(refusal, subjectOf(serial), "proof");
    expect(domains.recallEnded(subjectOf(0))).toBeUndefined();
    expect(domains.recallEnded(subjectOf(1))).toBe(error);
    time += 59_999;
    expect(domains.recallEnded(subjectOf(10_000))).toBe(error);
    time += 1;
    expect(domains.recallEnded(subjectOf(10_000))).toBeUndefined();
  });
});
