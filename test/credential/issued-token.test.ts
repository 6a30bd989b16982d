import { beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import type { CredentialEvent } from "../../src/credential/contract.ts";
import { openIssuedToken } from "../../src/credential/issued-token.ts";
import { ConfigurationError, GatewayError } from "../../src/errors.ts";
import { generateRsa, NOON, serviceAccountToken } from "./keys.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const key = generateRsa();
const request = { clientId: "c", tokenEndpoint: "https://login.example/token" };

let now: number;
let events: CredentialEvent[];
/** What the issuer gives next; it gives the last one again. */
let tokens: (string | Error)[];
let asked: number;

let hour: string;
beforeAll(async () => {
  hour = await serviceAccountToken(key, NOON + HOUR_MS, "hour");
});
beforeEach(() => {
  now = NOON;
  events = [];
  tokens = [hour];
  asked = 0;
});

const refusal = (problem: string) => new ConfigurationError([{ path: "ISSUER", problem }]);
const open = (inBackground = false) =>
  openIssuedToken(
    {
      source: "github-actions",
      setting: "ISSUER",
      origin: "issuer.example",
      renewMs: 10 * MINUTE_MS,
      inBackground,
      async obtain() {
        asked += 1;
        const [next = ""] = tokens.length > 1 ? tokens.splice(0, 1) : tokens;
        if (next instanceof Error) throw next;
        return next;
      },
    },
    { now: () => now, emit: (event) => events.push(event), canary: undefined },
  );
async function proven(credential: Awaited<ReturnType<typeof open>>) {
  const { authentication, generation } = await credential.prove(request);
  if (authentication.method !== "client_assertion") throw new Error("no assertion");
  return { token: authentication.clientAssertion.reveal(), generation };
}

describe("a token of an issuer", () => {
  test("serves until ten minutes before its end without another request", async () => {
    const credential = await open();
    now = NOON + 50 * MINUTE_MS;
    expect(await proven(credential)).toEqual({ token: hour, generation: 1 });
    expect(asked).toBe(1);
    const next = await serviceAccountToken(key, NOON + 2 * HOUR_MS, "next");
    tokens = [next];
    now += 1;
    expect(await proven(credential)).toEqual({ token: next, generation: 2 });
    expect(asked).toBe(2);
    expect(events.map(({ type, generation }) => [type, generation])).toEqual([["reloaded", 2]]);
  });

  test("that is given again is no new generation", async () => {
    const credential = await open();
    now = NOON + 51 * MINUTE_MS;
    expect(await proven(credential)).toEqual({ token: hour, generation: 1 });
    expect([asked, events]).toEqual([2, []]);
  });

  test("is asked for at most every five seconds by an issuer that gives nothing", async () => {
    const credential = await open();
    tokens = [refusal("is asleep")];
    now = NOON + 51 * MINUTE_MS;
    await proven(credential);
    now += 4_999;
    await proven(credential);
    expect(asked).toBe(2);
    now += 1;
    await proven(credential);
    expect(asked).toBe(3);
    expect(events.map(({ type, message }) => `${type}: ${message}`)).toEqual([
      "reload_failed: ISSUER: is asleep",
    ]);
    expect(credential.status()).toMatchObject({
      source: "github-actions",
      state: "usable",
      fault: { since: NOON + 51 * MINUTE_MS, problem: "ISSUER: is asleep" },
    });
  });

  test("is not handed out in its last ten seconds", async () => {
    const credential = await open();
    tokens = [refusal("is asleep")];
    now = NOON + HOUR_MS - 10_001;
    expect((await proven(credential)).token).toBe(hour);
    now += 1;
    const failure = await credential.prove(request).catch((cause: unknown) => cause);
    expect(failure).toBeInstanceOf(GatewayError);
    expect(failure).toMatchObject({
      code: "credential_unavailable",
      reason: "unreadable",
      diagnostics: {
        source: "github-actions",
        problem: `ISSUER: is asleep; what issuer.example last gave is valid until ${new Date(NOON + HOUR_MS).toISOString()}`,
      },
    });
  });

  test("that Entra refused is replaced, unless the issuer gave it within the last minute", async () => {
    const credential = await open();
    now = NOON + 59_999;
    await credential.look(true);
    expect(asked).toBe(1);
    now += 1;
    await credential.look(true);
    expect(asked).toBe(2);
  });

  test("is looked at again by a clock that was set back", async () => {
    const credential = await open();
    now = NOON - 1;
    await credential.look(true);
    expect(asked).toBe(2);
  });

  test.each([false, true])(
    "in the background (%p) is renewed while the one before serves, or awaited",
    async (inBackground) => {
      const credential = await open(inBackground);
      const next = await serviceAccountToken(key, NOON + 2 * HOUR_MS, "next");
      tokens = [next];
      now = NOON + 51 * MINUTE_MS;
      expect((await proven(credential)).token).toBe(inBackground ? hour : next);
      await new Promise((resolve) => setImmediate(resolve));
      expect((await proven(credential)).token).toBe(next);
    },
  );

  test("in the background is awaited once the one before is over", async () => {
    const credential = await open(true);
    const next = await serviceAccountToken(key, NOON + 2 * HOUR_MS, "next");
    tokens = [next];
    now = NOON + HOUR_MS - 10_000;
    expect((await proven(credential)).token).toBe(next);
  });
});

describe("at the start", () => {
  test.each([
    ["no JWT", "x", "the token of issuer.example does not hold a JWT (three base64url parts joined by dots)"],
    ["nothing", "", "the token of issuer.example is empty"],
  ])("an issuer that gives %s is a fault of its setting", async (_, token, problem) => {
    tokens = [token];
    await expect(open()).rejects.toMatchObject({ faults: [{ path: "ISSUER", problem }] });
  });

  test("a token serves that has more than ten seconds left, and none that has not", async () => {
    tokens = [await serviceAccountToken(key, NOON + 11_000)];
    await open();
    tokens = [await serviceAccountToken(key, NOON + 10_000)];
    await expect(open()).rejects.toMatchObject({
      faults: [
        {
          path: "ISSUER",
          problem: "the token that issuer.example gave has ended already; is the clock right?",
        },
      ],
    });
  });
});
