import type { ServerResponse } from "node:http";
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { ConfigurationError } from "../../src/errors.ts";
import { boundedFetch } from "../../src/foundation/bounded-fetch.ts";
import { resolveAuthority } from "../../src/identity/authority.ts";
import type { TokenVerifier, TokenVerifierEvent } from "../../src/identity/contract.ts";
import { type Schedule, scheduleTimeout } from "../../src/identity/key-set.ts";
import { createTokenVerifier, type TokenVerifierOptions } from "../../src/identity/token-verifier.ts";
import {
  API,
  bearer,
  CLIENT,
  encode,
  type FakeAuthority,
  generateKey,
  type Json,
  jwkOf,
  OTHER_TENANT,
  sendJson,
  sign,
  startFakeAuthority,
  TENANT,
  type TestKey,
  userClaims,
  v1Claims,
} from "./fake-authority.ts";
import { CACHE, KEY_SET } from "./verifier-settings.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

const key = generateKey("key-1");
const nextKey = generateKey("key-2");

let authority: FakeAuthority;
let verifier: TokenVerifier;
let events: TokenVerifierEvent[];
let clock: number;
let timer: { callback: () => void; delayMs: number } | undefined;
const timers = new Set<object>();

const schedule: Schedule = (callback, delayMs) => {
  const scheduled = { callback, delayMs };
  timer = scheduled;
  timers.add(scheduled);
  return () => {
    timers.delete(scheduled);
    if (timer === scheduled) timer = undefined;
  };
};

async function create(options: Partial<TokenVerifierOptions> = {}): Promise<TokenVerifier> {
  verifier?.close();
  verifier = await createTokenVerifier({
    verifier: "passport-azure-ad",
    authority: resolveAuthority("https://login.microsoftonline.com/"),
    tenants: [TENANT],
    audiences: [API],
    allowedClients: [],
    clockToleranceSeconds: 60,
    fetch: authority.fetch,
    now: () => clock,
    schedule,
    onEvent: (event) => events.push(event),
    keySet: { ...KEY_SET, failureBackoffMs: 1 },
    cache: CACHE,
    ...options,
  });
  return verifier;
}

/** Lives for 28 hours, so that it outlasts what the clock is moved by; each call gives another token. */
let serial = 0;
function token(signer: TestKey = key, claims: Json = {}, header: Json = {}): string {
  const now = Math.floor(Date.now() / 1000);
  serial += 1;
  return sign(signer, userClaims({ exp: now + 28 * 3_600 - 60, uti: String(serial), ...claims }), header);
}

async function outcomeOf(value: string): Promise<string> {
  const verification = await verifier.verify(bearer(value));
  if (verification.outcome === "verified") return "verified";
  return `${verification.outcome}: ${verification.error.reason}`;
}

const metadataOf = async ({ fetch }: FakeAuthority) => {
  const url = `https://login.microsoftonline.com/${TENANT}/v2.0/.well-known/openid-configuration`;
  return JSON.parse((await boundedFetch(fetch, url, { timeoutMs: 1_000, maxBytes: 1e6 })).text);
};
const reads = () => authority.requests.filter((request) => request.endsWith("openid-configuration")).length;
const typesOf = (type: TokenVerifierEvent["type"]) => events.filter((event) => event.type === type);

beforeEach(async () => {
  authority = await startFakeAuthority([jwkOf(key)]);
  events = [];
  clock = Date.now();
  timer = undefined;
  timers.clear();
  await create();
});

afterEach(async () => {
  verifier.close();
  await authority.close();
});

describe("reading keys", () => {
  test("nothing is read before the first plausible token", async () => {
    const stale = Math.floor(clock / 1000) - 10;
    for (const authorization of [
      [],
      ["Basic dXNlcjpwYXNz"],
      bearer("opaque"),
      bearer(token(key, {}, { alg: "none" })),
      bearer(token(key, { aud: CLIENT })),
      bearer(token(key, { tid: OTHER_TENANT })),
      bearer(token(key, { exp: stale })),
      bearer(token(key, { ver: "3.0" })),
    ])
      expect((await verifier.verify(authorization)).outcome).toBe("rejected");
    expect(authority.requests).toEqual([]);
    expect(verifier.ready()).toBe(false);
  });

  test("two hundred callers on a cold start share one read", async () => {
    const outcomes = await Promise.all(Array.from({ length: 200 }, () => outcomeOf(token())));
    expect(new Set(outcomes)).toEqual(new Set(["verified"]));
    expect(authority.requests).toHaveLength(2);
  });

  test("warm-up tries each second until there are keys", async () => {
    authority.respond.metadata = (_request, response) => sendJson(response, {}, 503);
    setTimeout(() => {
      authority.respond.metadata = undefined;
    }, 200);
    await verifier.warmUp();
    expect(verifier.ready()).toBe(true);
    expect(typesOf("key_set_failed")).toHaveLength(1);
    expect(typesOf("key_set_refreshed")).toHaveLength(1);
  });

  test("warm-up ends when its signal fires, and when the verifier is closed", async () => {
    authority.respond.metadata = (_request, response) => sendJson(response, {}, 503);
    const left = AbortSignal.abort(new Error("left before"));
    await expect(verifier.warmUp(left)).rejects.toThrow("left before");
    expect(authority.requests).toEqual([]);
    const leaving = new AbortController();
    const first = verifier.warmUp(leaving.signal);
    leaving.abort(new Error("left"));
    await expect(first).rejects.toThrow();
    const second = verifier.warmUp();
    verifier.close();
    await expect(second).rejects.toThrow();
    expect(verifier.ready()).toBe(false);
  });

  test("keys are refreshed every hour, and after a minute when that failed", async () => {
    await verifier.warmUp();
    expect(timer?.delayMs).toBe(HOUR);
    authority.respond.keys = (_request, response) => sendJson(response, {}, 500);
    timer?.callback();
    while (typesOf("key_set_failed").length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(timer?.delayMs).toBe(MINUTE);
  });

  test("an authority that fails at once is not asked faster than the back-off allows", async () => {
    await create({ keySet: { ...KEY_SET, failureBackoffMs: 40 } });
    authority.respond.metadata = (_request, response) => sendJson(response, {}, 503);
    const started = performance.now();
    for (let call = 0; call < 4; call += 1) expect(await outcomeOf(token())).toBe("unavailable: status");
    // Three waits between four reads; a timer may fire a millisecond early.
    expect(performance.now() - started).toBeGreaterThanOrEqual(3 * 39);
  });

  test("an authority that failed longer ago than the back-off is asked at once", async () => {
    await create({ keySet: { ...KEY_SET, failureBackoffMs: 5_000 } });
    authority.respond.metadata = (_request, response) => sendJson(response, {}, 503);
    await outcomeOf(token());
    clock += 5_000;
    const started = performance.now();
    expect(await outcomeOf(token())).toBe("unavailable: status");
    expect(performance.now() - started).toBeLessThan(4_000);
  });

  test("both documents are asked for as JSON and have one time together", async () => {
    await create({ keySet: { ...KEY_SET, fetchTimeoutMs: 500 } });
    const accepted: unknown[] = [];
    authority.respond.metadata = ({ headers }, response) => {
      accepted.push(headers.accept);
      authority.respond.metadata = undefined;
      sendJson(response, {
        issuer: `https://login.microsoftonline.com/${TENANT}/v2.0`,
        jwks_uri: "https://login.microsoftonline.com/discovery/keys",
      });
    };
    authority.respond.keys = ({ headers }) => void accepted.push(headers.accept);
    expect(await outcomeOf(token())).toBe("unavailable: timeout");
    expect(accepted).toEqual(["application/json", "application/json"]);
  });

  test("closing ends a read that is under way, and reports no failure of the authority", async () => {
    authority.respond.metadata = () => {};
    const waiting = outcomeOf(token());
    while (authority.requests.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    verifier.close();
    expect(await waiting).toBe("unavailable: aborted");
    expect(events).toEqual([]);
    expect(timers.size).toBe(0);
  });

  test("a closed verifier has no timer left and still serves the keys it has", async () => {
    await verifier.warmUp();
    verifier.close();
    expect(timer).toBeUndefined();
    expect(await outcomeOf(token())).toBe("verified");
  });
});

describe("a key that is not known", () => {
  test("is fetched at once when it is new, without waiting for the hour", async () => {
    await verifier.warmUp();
    authority.keys = [jwkOf(key), jwkOf(nextKey)];
    expect(await outcomeOf(token(nextKey))).toBe("verified");
    expect(reads()).toBe(2);
    // The hour begins anew with that read, so the timer of the earlier one is gone.
    expect(timers.size).toBe(1);
  });

  /** With a signature of nobody: it is not looked at before the key is known. */
  const forged = (kid: string, claims: Json = {}) =>
    outcomeOf(
      `${encode({ alg: "RS256", typ: "JWT", kid })}.${encode(userClaims(claims))}.${"A".repeat(342)}`,
    );
  const invented = () => {
    serial += 1;
    return forged(`invented-${serial}`, { exp: Math.floor(clock / 1000) + 3_600 });
  };

  test("is looked for with one read, however many callers invent one at a time", async () => {
    await verifier.warmUp();
    const storm = await Promise.all(Array.from({ length: 100 }, invented));
    expect(new Set(storm)).toEqual(new Set(["rejected: unknown_key"]));
    for (let more = 0; more < 50; more += 1) await invented();
    expect(reads()).toBe(2);
    expect(typesOf("key_unknown").length).toBeGreaterThan(0);
  });

  test("holds up 256 callers for a read that another began, and answers all others at once", async () => {
    await verifier.warmUp();
    for (const _storm of [1, 2]) {
      events = [];
      await Promise.all(Array.from({ length: 258 }, invented));
      const waited = typesOf("key_unknown").map((event) => "refetched" in event && event.refetched);
      expect(waited.filter((refetched) => refetched)).toHaveLength(257);
      expect(waited).toHaveLength(258);
      clock += 2_000;
    }
  });

  test("is looked for a few times in ten minutes of a flood of invented ones", async () => {
    await verifier.warmUp();
    for (let second = 0; second < 600; second += 1) {
      await invented();
      clock += 1_000;
    }
    // Four at first, then one a minute; the first of all is the warm-up.
    expect(reads()).toBeLessThanOrEqual(1 + 4 + 10);
    expect(reads()).toBeGreaterThan(5);
  });

  test("is looked for a few times when forged senders make every invented one look like a rollover", async () => {
    await verifier.warmUp();
    for (let second = 0; second < 600; second += 1) {
      for (const oid of ["a", "b", "c", "d"])
        await forged(`invented-${Math.floor(second / 3)}`, { oid, exp: Math.floor(clock / 1000) + 3_600 });
      clock += 1_000;
    }
    expect(reads()).toBeLessThanOrEqual(1 + 2 * (4 + 10));
  });

  test("of a rollover is found by its first token, beside a caller who invents one each minute", async () => {
    await verifier.warmUp();
    for (let minute = 0; minute < 30; minute += 1) {
      await invented();
      clock += MINUTE;
    }
    await invented();
    authority.keys = [jwkOf(nextKey)];
    clock += 3_000;
    expect(await outcomeOf(token(nextKey))).toBe("verified");
    const before = reads();
    expect(await outcomeOf(token(nextKey))).toBe("verified");
    expect(reads()).toBe(before);
  });

  test("costs nothing where it was found, so that rollovers may follow each other", async () => {
    await verifier.warmUp();
    for (let rollover = 0; rollover < 6; rollover += 1) {
      const rolled = { ...nextKey, kid: `rolled-${rollover}` };
      authority.keys = [jwkOf(rolled)];
      expect(await outcomeOf(token(rolled))).toBe("verified");
      clock += 2_000;
    }
  });

  test("of a rollover is found within two seconds after an invented one was looked for", async () => {
    await verifier.warmUp();
    await invented();
    authority.keys = [jwkOf(nextKey)];
    expect(await outcomeOf(token(nextKey))).toBe("rejected: unknown_key");
    clock += 2_000;
    expect(await outcomeOf(token(nextKey))).toBe("verified");
  });

  test("of a rollover is found in a flood as soon as three users bring it, and not for one alone", async () => {
    await verifier.warmUp();
    const flood = async () => {
      await invented();
      clock += 1_000;
    };
    for (let second = 0; second < 300; second += 1) await flood();
    // Until the flood has just used the read that came back.
    for (const before = reads(); reads() === before; ) await flood();
    authority.keys = [jwkOf(nextKey)];
    clock += 2_000;
    const used = reads();
    for (let again = 0; again < 5; again += 1)
      expect(await outcomeOf(token(nextKey, { oid: "first" }))).toBe("rejected: unknown_key");
    for (let more = 0; more < 500; more += 1) await invented();
    expect(await outcomeOf(token(nextKey, { oid: "second" }))).toBe("rejected: unknown_key");
    expect(await outcomeOf(token(nextKey, { oid: "third" }))).toBe("verified");
    expect(reads()).toBe(used + 1);
  });

  test("is the authority's fault, not the caller's, while it cannot be looked up", async () => {
    await verifier.warmUp();
    authority.respond.keys = (_request, response) => sendJson(response, {}, 500);
    authority.keys = [jwkOf(key), jwkOf(nextKey)];
    expect(await outcomeOf(token(nextKey))).toBe("unavailable: status");
    for (const _ of [1, 2, 3]) {
      clock += 2_000;
      expect(await outcomeOf(token(nextKey))).toBe("unavailable: status");
    }
    const used = reads();
    clock += 14_000;
    const during = await verifier.verify(bearer(token(nextKey)));
    expect(during).toMatchObject({ outcome: "unavailable", error: { retryAfterSeconds: 40 } });
    expect(reads()).toBe(used);
    expect(await outcomeOf(token())).toBe("verified");

    authority.respond.keys = undefined;
    clock += 40_000;
    expect(await outcomeOf(token(nextKey))).toBe("verified");
    // The authority can be read again, so that an invented key is the caller's fault again.
    expect(await invented()).toBe("rejected: unknown_key");
  });

  test("a clock that is set back does not stretch the cooldown", async () => {
    await verifier.warmUp();
    await outcomeOf(token(key, {}, { kid: "invented" }));
    clock -= MINUTE / 2;
    authority.keys = [jwkOf(nextKey)];
    expect(await outcomeOf(token(nextKey))).toBe("verified");
  });
});

describe("last known good", () => {
  test("keys that cannot be read again are trusted for 24 hours and not longer", async () => {
    await verifier.warmUp();
    authority.respond.metadata = (request) => request.socket.destroy();
    clock += 24 * HOUR - 1;
    expect(await outcomeOf(token())).toBe("verified");
    expect(verifier.ready()).toBe(true);
    clock += 1;
    expect(verifier.ready()).toBe(false);
    expect(await outcomeOf(token())).toBe("unavailable: network");
    authority.respond.metadata = undefined;
    expect(await outcomeOf(token())).toBe("verified");
  });
});

describe("the verified-token cache", () => {
  test("a token is verified once and then known, as the same caller", async () => {
    const value = token();
    const first = await verifier.verify(bearer(value));
    const second = await verifier.verify(bearer(value));
    expect(first).toEqual(second);
    expect(
      first.outcome === "verified" && second.outcome === "verified" && first.caller === second.caller,
    ).toBe(true);
    expect(typesOf("token_verified")).toEqual([
      { type: "token_verified", origin: "signature" },
      { type: "token_verified", origin: "cache" },
    ]);
  });

  test("knows a token whatever blanks and letter case come before it", async () => {
    const value = token();
    await verifier.verify(bearer(value));
    for (const spelling of [`Bearer   ${value}`, `bearer ${value}`, `BEARER ${value} `])
      expect((await verifier.verify([spelling])).outcome).toBe("verified");
    expect(typesOf("token_verified").map((event) => "origin" in event && event.origin)).toEqual([
      "signature",
      ...Array(3).fill("cache"),
    ]);
  });

  test("recognizes the caller of a token that was verified, and of no other spelling, without a look at the signature", async () => {
    const value = token();
    expect(verifier.recognize(bearer(value))).toBeUndefined();
    const first = await verifier.verify(bearer(value));
    expect(first).toEqual({ outcome: "verified", caller: verifier.recognize(bearer(value)) });
    for (const other of [
      [],
      [`bearer ${value}`],
      [`Bearer ${value}=`],
      [`Bearer ${value}`, `Bearer ${value}`],
      ["Bearer "],
    ])
      expect(verifier.recognize(other)).toBeUndefined();
    clock += 5 * MINUTE;
    expect(verifier.recognize(bearer(value))).toBeUndefined();
    expect(typesOf("token_verified")).toHaveLength(1);
  });

  test("says whom a token speaks of that was not verified, and of what is no token nothing", () => {
    const claimed = (payload: string) =>
      verifier.claimedUser(bearer(`e30.${Buffer.from(payload).toString("base64url")}.c2ln`));
    const [tid, oid] = ["11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-AAAAAAAAAAAA"];
    expect(claimed(`{"oid":"${oid}","groups":["a"],"tid":"${tid}"}`)).toBe(`${tid} ${oid}`);
    for (const payload of [
      `{"oid":"${oid}"}`,
      `{"tid":"${tid}"}`,
      `{"tid":"${tid}","oid":"${oid}0"}`,
      `{"tid":"${tid}","oid":""}`,
      "",
      "[",
    ])
      expect(claimed(payload)).toBeUndefined();
    for (const other of [
      [],
      ["Bearer "],
      ["Bearer a.b"],
      ["Basic YQ=="],
      [`Bearer ${"a".repeat(30_000)}.b.c`],
    ])
      expect(verifier.claimedUser(other)).toBeUndefined();
  });

  test("is believed for five minutes", async () => {
    const value = token();
    await outcomeOf(value);
    clock += 5 * MINUTE - 1;
    await outcomeOf(value);
    clock += 1;
    await outcomeOf(value);
    expect(typesOf("token_verified").map((event) => "origin" in event && event.origin)).toEqual([
      "signature",
      "cache",
      "signature",
    ]);
  });

  test("never outlives the token", async () => {
    const value = token(key, { exp: Math.floor(clock / 1000) + 60 });
    expect(await outcomeOf(value)).toBe("verified");
    clock += 61_000;
    expect(await outcomeOf(value)).toBe("rejected: expired");
  });

  test("is emptied when the keys change, so a revoked key stops working at the next refresh", async () => {
    const value = token();
    expect(await outcomeOf(value)).toBe("verified");
    authority.keys = [jwkOf(nextKey)];
    expect(await outcomeOf(value)).toBe("verified");
    timer?.callback();
    while (typesOf("key_set_refreshed").length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    clock += MINUTE;
    expect(await outcomeOf(value)).toBe("rejected: unknown_key");
  });

  test("forgets a token whose key is bound to another issuer afterwards", async () => {
    await create({ tenants: ["*"] });
    const issuer = (tenant: string) => `https://login.microsoftonline.com/${tenant}/v2.0`;
    authority.keys = [jwkOf(key, { issuer: issuer("{tenantid}") })];
    const value = token();
    expect(await outcomeOf(value)).toBe("verified");
    authority.keys = [jwkOf(key, { issuer: issuer(OTHER_TENANT) })];
    timer?.callback();
    while (typesOf("key_set_refreshed").length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(await outcomeOf(value)).toBe("rejected: issuer");
  });

  test("survives a refresh that brought the same keys in another order", async () => {
    authority.keys = [jwkOf(key), jwkOf(nextKey)];
    const value = token();
    await outcomeOf(value);
    authority.keys = [jwkOf(nextKey), jwkOf(key)];
    timer?.callback();
    while (typesOf("key_set_refreshed").length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    await outcomeOf(value);
    expect(typesOf("key_set_refreshed").map((event) => "changed" in event && event.changed)).toEqual([
      true,
      false,
    ]);
    expect(events.at(-1)).toEqual({ type: "token_verified", origin: "cache" });
  });

  test("a refusal is never remembered", async () => {
    const value = token(nextKey);
    expect(await outcomeOf(value)).toBe("rejected: unknown_key");
    authority.keys = [jwkOf(nextKey)];
    clock += MINUTE;
    expect(await outcomeOf(value)).toBe("verified");
  });

  test("holds no more entries and bytes than it may", async () => {
    await create({ cache: { ...CACHE, maxEntries: 2 } });
    const values = [token(), token(), token()];
    for (const value of values) await outcomeOf(value);
    events = [];
    for (const value of values.toReversed()) await outcomeOf(value);
    expect(events.map((event) => "origin" in event && event.origin)).toEqual(["cache", "cache", "signature"]);

    for (const cache of [{ maxBytes: 1 }, { maxEntries: 0 }]) {
      await create({ cache: { ...CACHE, ...cache } });
      events = [];
      const value = token();
      await outcomeOf(value);
      await outcomeOf(value);
      expect(typesOf("token_verified")).toEqual(
        Array(2).fill({ type: "token_verified", origin: "signature" }),
      );
    }
  });
});

describe("tenants", () => {
  const otherIssuer = `https://login.microsoftonline.com/${OTHER_TENANT}/v2.0`;
  const template = "https://login.microsoftonline.com/{tenantid}/v2.0";

  test("of a list, each is verified by its own document", async () => {
    await create({ tenants: [TENANT, OTHER_TENANT.toUpperCase()] });
    expect(await outcomeOf(token())).toBe("verified");
    expect(await outcomeOf(token(key, { tid: OTHER_TENANT, iss: otherIssuer }))).toBe("verified");
    expect(authority.requests.filter((request) => request.endsWith("openid-configuration"))).toEqual([
      `login.microsoftonline.com/${TENANT}/v2.0/.well-known/openid-configuration`,
      `login.microsoftonline.com/${OTHER_TENANT}/v2.0/.well-known/openid-configuration`,
    ]);
  });

  test("of a list, one whose document is gone does not keep the gateway from being ready", async () => {
    await create({ tenants: [OTHER_TENANT, TENANT] });
    authority.respond.metadata = (request, response) => {
      if (request.url?.includes(OTHER_TENANT)) sendJson(response, { error: "invalid_tenant" }, 400);
      else
        sendJson(response, {
          issuer: `https://login.microsoftonline.com/${TENANT}/v2.0`,
          jwks_uri: "https://login.microsoftonline.com/discovery/keys",
        });
    };
    await verifier.warmUp();
    expect(verifier.ready()).toBe(true);
    expect(await outcomeOf(token())).toBe("verified");
    expect(await outcomeOf(token(key, { tid: OTHER_TENANT, iss: otherIssuer }))).toBe("unavailable: status");
  });

  test("any: one document serves all, and the issuer is bound to each token's tid", async () => {
    await create({ tenants: ["*"] });
    authority.keys = [jwkOf(key, { issuer: template }), jwkOf(nextKey, { issuer: otherIssuer })];
    expect(await outcomeOf(token())).toBe("verified");
    expect(await outcomeOf(token(key, { tid: OTHER_TENANT, iss: otherIssuer }))).toBe("verified");
    expect(await outcomeOf(token(key, { tid: OTHER_TENANT }))).toBe("rejected: issuer");
    expect(await outcomeOf(token(key, { iss: template }))).toBe("rejected: issuer");
    // A key of one tenant, such as the one for consumer accounts, signs for no other.
    expect(await outcomeOf(token(nextKey, { tid: OTHER_TENANT, iss: otherIssuer }))).toBe("verified");
    expect(await outcomeOf(token(nextKey))).toBe("rejected: issuer");
    expect(authority.requests).toHaveLength(2);
    expect(authority.requests[0]).toBe(
      "login.microsoftonline.com/common/v2.0/.well-known/openid-configuration",
    );
  });

  test("any: a key published under several issuers signs for each of them", async () => {
    for (const issuers of [
      [otherIssuer, template],
      [template, otherIssuer],
    ]) {
      await create({ tenants: ["*"] });
      authority.keys = issuers.map((issuer) => jwkOf(key, { issuer }));
      expect(await outcomeOf(token())).toBe("verified");
    }
  });

  test("version 1.0 tokens are verified by the version 1.0 document, and only when there are some", async () => {
    await verifier.warmUp();
    expect(reads()).toBe(1);
    const claims = { ...v1Claims(), azp: undefined };
    authority.keys = [jwkOf(key, { issuer: template })];
    expect(await outcomeOf(token(key, claims, { x5t: "key-1" }))).toBe("verified");
    expect(authority.requests.at(-2)).toBe(
      `login.microsoftonline.com/${TENANT}/.well-known/openid-configuration`,
    );
  });

  test.each([
    [[], [API], "identity.tenants"],
    [["*", TENANT], [API], "identity.tenants"],
    [[TENANT], [], "identity.audiences"],
  ])("a verifier for tenants %j and audiences %j is refused", async (tenants, audiences, path) => {
    try {
      await create({ tenants, audiences });
      throw new Error("was accepted");
    } catch (error) {
      expect(error).toBeInstanceOf(ConfigurationError);
      expect((error as ConfigurationError).faults.map((fault) => fault.path)).toEqual([path]);
    }
  });
});

describe.each([
  ["https://login.microsoftonline.com/", "login.microsoftonline.com", "https://sts.windows.net"],
  ["https://login.microsoftonline.us/", "login.microsoftonline.us", "https://sts.windows.net"],
  [
    "https://login.partner.microsoftonline.cn/",
    "login.partner.microsoftonline.cn",
    "https://sts.chinacloudapi.cn",
  ],
  ["https://login.chinacloudapi.cn/", "login.partner.microsoftonline.cn", "https://sts.chinacloudapi.cn"],
  ["https://login.sovcloud-identity.fr/", "login.sovcloud-identity.fr", "https://sts.windows.net"],
  ["https://login.sovcloud-identity.de/", "login.sovcloud-identity.de", "https://sts.windows.net"],
  ["https://login.sovcloud-identity.sg/", "login.sovcloud-identity.sg", "https://sts.windows.net"],
  ["https://localhost:8443", "localhost:8443", "https://sts.windows.net"],
])("at %s", (host, network, v1Issuer) => {
  test.each(["passport-azure-ad", "jose"] as const)(
    "tokens of both versions pass, those of other clouds do not (%s)",
    async (name) => {
      await create({ verifier: name, authority: resolveAuthority(host) });
      const here = { iss: `https://${network}/${TENANT}/v2.0` };
      expect(await outcomeOf(token(key, here))).toBe("verified");
      expect(
        await outcomeOf(token(key, { ...v1Claims(), azp: undefined, iss: `${v1Issuer}/${TENANT}/` })),
      ).toBe("verified");
      for (const elsewhere of [
        "login.microsoftonline.com",
        "login.microsoftonline.us",
        "login.partner.microsoftonline.cn",
      ])
        if (elsewhere !== network)
          expect(await outcomeOf(token(key, { iss: `https://${elsewhere}/${TENANT}/v2.0` }))).toBe(
            `rejected: ${host.includes("localhost") ? "issuer" : "other_cloud"}`,
          );
      expect(new Set(authority.requests.map((request) => request.split("/")[0]))).toEqual(new Set([network]));
    },
  );
});

test.each(["passport-azure-ad", "jose"] as const)(
  "time is told by the gateway's clock alone (%s)",
  async (name) => {
    clock += 10 * 24 * HOUR;
    await create({ verifier: name });
    const now = Math.floor(clock / 1000);
    expect(await outcomeOf(token(key, { iat: now, nbf: now, exp: now + 60 }))).toBe("verified");
    expect(await outcomeOf(token())).toBe("rejected: expired");
  },
);

describe.each(["passport-azure-ad", "jose"] as const)("a host whose clock is wrong (%s)", (name) => {
  const fresh = () => {
    const issued = Math.floor(Date.now() / 1000);
    return token(key, { iat: issued, nbf: issued, exp: issued + 3_600 });
  };
  const verifyAt = async (offsetMs: number, driftMs: number | undefined, value: string) => {
    clock = Date.now() + offsetMs;
    await create({ verifier: name, clockDriftMs: () => driftMs });
    return outcomeOf(value);
  };

  test("accepts fresh tokens when it is known to be behind, and does not blame their callers", async () => {
    expect(await verifyAt(-90_000, undefined, fresh())).toBe("rejected: not_yet_valid");
    expect(await verifyAt(-90_000, -90_000, fresh())).toBe("verified");
    expect(await verifyAt(-600_000, -600_000, fresh())).toBe("verified");
  });

  test("accepts a token no earlier than the authority's time allows", async () => {
    const issued = Math.floor(Date.now() / 1000) + 120;
    const early = () => token(key, { iat: issued, nbf: issued, exp: issued + 3_600 });
    expect(await verifyAt(-90_000, -90_000, early())).toBe("rejected: not_yet_valid");
  });

  test("refuses a token that has expired by the authority's time, although its clock says otherwise", async () => {
    const ended = Math.floor(Date.now() / 1000) - 30;
    const over = () => token(key, { iat: ended - 3_600, nbf: ended - 3_600, exp: ended });
    expect(await verifyAt(-90_000, -90_000, over())).toBe("rejected: expired");
  });

  test("drops a token from its memory when it ends by the authority's time", async () => {
    const issued = Math.floor(Date.now() / 1000);
    const short = token(key, { iat: issued, nbf: issued, exp: issued + 60 });
    expect(await verifyAt(-90_000, -90_000, short)).toBe("verified");
    clock += 61_000;
    expect(await outcomeOf(short)).toBe("rejected: expired");
  });

  test("does not believe a drift of more than ten minutes, nor one that makes tokens live longer", async () => {
    expect(await verifyAt(-600_001, -600_001, fresh())).toBe("rejected: not_yet_valid");
    const ended = Math.floor(Date.now() / 1000) - 30;
    const over = token(key, { iat: ended - 3_600, nbf: ended - 3_600, exp: ended });
    expect(await verifyAt(0, 300_000, over)).toBe("rejected: expired");
  });
});

describe("a failure to read keys", () => {
  const causes = () =>
    typesOf("key_set_failed").map(
      (event) => "error" in event && { reason: event.error.reason, ...event.error.diagnostics },
    );

  test("tells the operator of a tenant that does not exist", async () => {
    authority.respond.metadata = (_request, response) =>
      sendJson(
        response,
        { error: "invalid_tenant", error_description: "AADSTS90002: Canary", error_codes: [90002] },
        400,
      );
    const verification = await verifier.verify(bearer(token()));
    expect(verification).toMatchObject({ outcome: "unavailable", error: { reason: "status" } });
    expect(causes()).toEqual([
      { reason: "status", document: "metadata", status: 400, error: "invalid_tenant", error_codes: [90002] },
    ]);
    // Entra's text may hold anything, and is not ours to repeat.
    expect(JSON.stringify(events)).not.toContain("Canary");
  });

  test.each([
    [
      "a page in place of keys",
      (response: ServerResponse) => void response.end("<html>"),
      { reason: "content" },
    ],
    [
      "a busy host",
      (response: ServerResponse) => sendJson(response, [], 503),
      { reason: "status", status: 503 },
    ],
    ["no key", (response: ServerResponse) => sendJson(response, { keys: [] }), { reason: "no_keys" }],
    ["no list of keys", (response: ServerResponse) => sendJson(response, {}), { reason: "no_keys" }],
    ["a cut connection", (response: ServerResponse) => void response.destroy(), { reason: "network" }],
    [
      "labels that are none",
      (response: ServerResponse) => sendJson(response, { error: "x y", error_codes: ["1", null, 7.5] }, 400),
      { reason: "status", status: 400 },
    ],
  ])("tells of %s", async (_, answer, cause) => {
    authority.respond.keys = (_request, response) => answer(response);
    await outcomeOf(token());
    expect(causes()).toEqual([{ document: "keys", ...cause }]);
  });

  test.each([
    ["another issuer", { issuer: "https://login.example/v2.0" }, "issuer"],
    ["keys at another origin", { jwks_uri: "https://login.example/keys" }, "jwks_uri"],
    ["no address of keys", { jwks_uri: 7 }, "jwks_uri"],
  ])("names the metadata that states %s", async (_, metadata, reason) => {
    authority.metadata = metadata;
    await outcomeOf(token());
    expect(causes()).toEqual([{ document: "metadata", reason }]);
  });

  test("is not made of keys without a name", async () => {
    authority.keys = ["", 7, null, undefined].map((kid) => ({ ...jwkOf(key), kid }));
    expect(await outcomeOf(token())).toBe("unavailable: no_keys");
    authority.keys.push(jwkOf(key));
    expect(await outcomeOf(token())).toBe("verified");
    expect(typesOf("key_set_refreshed")).toEqual([expect.objectContaining({ keys: 1 })]);
  });

  test.each(["metadata", "keys"] as const)(
    "is a document of more than 512 KiB, to the byte: %s",
    async (document) => {
      const honest = document === "keys" ? { keys: authority.keys } : await metadataOf(authority);
      const padded = (bytes: number) => {
        authority.respond[document] = (_, response) => {
          response.end(JSON.stringify(honest).padEnd(bytes, " "));
        };
      };
      padded(512 * 1_024 + 1);
      await outcomeOf(token());
      expect(causes()).toEqual([{ document, reason: "too_large" }]);
      padded(512 * 1_024);
      expect(await outcomeOf(token())).toBe("verified");
    },
  );

  test("is not made of keys of another cloud, whose metadata does not state its own", async () => {
    authority.metadata = { cloud_instance_name: undefined };
    authority.keys = [jwkOf(key, { cloud_instance_name: "microsoftonline.us" })];
    expect(await outcomeOf(token())).toBe("unavailable: no_keys");
    authority.keys = [jwkOf(key, { cloud_instance_name: "microsoftonline.com" })];
    expect(await outcomeOf(token())).toBe("verified");
  });

  test("has the failure of the network as its cause, a second as the least wait, and a defect is no failure of the authority", async () => {
    authority.respond.metadata = (request) => request.socket.destroy();
    const verification = await verifier.verify(bearer(token()));
    expect(verification).toMatchObject({ outcome: "unavailable", error: { retryAfterSeconds: 1 } });
    const failure = verification.outcome === "unavailable" ? (verification.error.cause as Error) : undefined;
    expect(String(failure?.cause)).toMatch(/FetchFailure|network/);
    const real = resolveAuthority("https://login.microsoftonline.com/");
    await create({
      authority: {
        ...real,
        isTrusted: () => {
          throw new TypeError("a bug");
        },
      },
    });
    authority.respond.metadata = undefined;
    expect(await outcomeOf(token())).toBe("unavailable: internal");
  });
});

describe("an allow-list of clients", () => {
  test("refuses the token of another client before any key is read", async () => {
    await create({ allowedClients: [OTHER_TENANT] });
    expect(await outcomeOf(token())).toBe("rejected: client");
    expect(authority.requests).toEqual([]);
    await create({ allowedClients: [CLIENT] });
    expect(await outcomeOf(token())).toBe("verified");
  });
});

test("a background read is called for once, after its time, and not once it was cancelled", () => {
  jest.useFakeTimers();
  try {
    const called: string[] = [];
    scheduleTimeout(() => called.push("first"), 1_000);
    const cancel = scheduleTimeout(() => called.push("second"), 1_000);
    jest.advanceTimersByTime(999);
    expect(called).toEqual([]);
    cancel();
    jest.advanceTimersByTime(10_000);
    expect(called).toEqual(["first"]);
  } finally {
    jest.useRealTimers();
  }
});

test("a fault of ours is no reason to let anybody in, nor to end the process", async () => {
  let broken = false;
  await create({
    now: () => {
      if (broken) throw new Error("no clock");
      return clock;
    },
  });
  const known = token();
  expect(await outcomeOf(known)).toBe("verified");
  broken = true;
  expect(await outcomeOf(known)).toBe("rejected: internal");
  expect(await outcomeOf(token())).toBe("rejected: internal");
});
