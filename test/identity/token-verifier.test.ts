import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { ConfigurationError } from "../../src/errors.ts";
import { resolveAuthority } from "../../src/identity/authority.ts";
import type { TokenVerifier, TokenVerifierEvent } from "../../src/identity/contract.ts";
import type { Schedule } from "../../src/identity/key-set.ts";
import { createTokenVerifier, type TokenVerifierOptions } from "../../src/identity/token-verifier.ts";
import {
  API,
  bearer,
  CLIENT,
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

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

const key = generateKey("key-1");
const nextKey = generateKey("key-2");

let authority: FakeAuthority;
let verifier: TokenVerifier;
let events: TokenVerifierEvent[];
let clock: number;
let timer: { callback: () => void; delayMs: number } | undefined;

const schedule: Schedule = (callback, delayMs) => {
  const scheduled = { callback, delayMs };
  timer = scheduled;
  return () => {
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
    keySet: { failureBackoffMs: 1 },
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

const reads = () => authority.requests.filter((request) => request.endsWith("openid-configuration")).length;
const typesOf = (type: TokenVerifierEvent["type"]) => events.filter((event) => event.type === type);

beforeEach(async () => {
  authority = await startFakeAuthority([jwkOf(key)]);
  events = [];
  clock = Date.now();
  timer = undefined;
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

  test("warm-up tries until there are keys", async () => {
    authority.respond.metadata = (_request, response) => {
      authority.respond.metadata = undefined;
      sendJson(response, {}, 503);
    };
    await verifier.warmUp();
    expect(verifier.ready()).toBe(true);
    expect(typesOf("key_set_failed")).toHaveLength(1);
    expect(typesOf("key_set_refreshed")).toHaveLength(1);
  });

  test("warm-up ends when its signal fires, and when the verifier is closed", async () => {
    authority.respond.metadata = (_request, response) => sendJson(response, {}, 503);
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
    await create({ keySet: { failureBackoffMs: 40 } });
    authority.respond.metadata = (_request, response) => sendJson(response, {}, 503);
    const started = performance.now();
    for (let call = 0; call < 4; call += 1) expect(await outcomeOf(token())).toBe("unavailable: status");
    // Three waits between four reads; a timer may fire a millisecond early.
    expect(performance.now() - started).toBeGreaterThanOrEqual(3 * 39);
  });

  test("closing ends a read that is under way, and reports no failure of the authority", async () => {
    authority.respond.metadata = () => {};
    const waiting = outcomeOf(token());
    while (authority.requests.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    verifier.close();
    expect(await waiting).toBe("unavailable: aborted");
    expect(events).toEqual([]);
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
  });

  test("costs one read a minute, however many callers invent one", async () => {
    await verifier.warmUp();
    const invent = () => outcomeOf(token(key, {}, { kid: `invented-${serial}` }));
    const storm = await Promise.all(Array.from({ length: 100 }, invent));
    expect(new Set(storm)).toEqual(new Set(["rejected: unknown_key"]));
    expect(reads()).toBe(2);
    clock += MINUTE - 1;
    await invent();
    expect(reads()).toBe(2);
    clock += 1;
    await invent();
    expect(reads()).toBe(3);
    expect(typesOf("key_unknown").length).toBeGreaterThan(0);
  });

  test("is the authority's fault, not the caller's, while it cannot be looked up", async () => {
    await verifier.warmUp();
    authority.respond.keys = (_request, response) => sendJson(response, {}, 500);
    authority.keys = [jwkOf(key), jwkOf(nextKey)];
    expect(await outcomeOf(token(nextKey))).toBe("unavailable: status");
    clock += 20_000;
    const during = await verifier.verify(bearer(token(nextKey)));
    expect(during).toMatchObject({ outcome: "unavailable", error: { retryAfterSeconds: 40 } });
    expect(await outcomeOf(token())).toBe("verified");

    authority.respond.keys = undefined;
    clock += 40_000;
    expect(await outcomeOf(token(nextKey))).toBe("verified");
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

  test("survives a refresh that brought the same keys", async () => {
    const value = token();
    await outcomeOf(value);
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
    await create({ cache: { maxEntries: 2 } });
    const values = [token(), token(), token()];
    for (const value of values) await outcomeOf(value);
    events = [];
    for (const value of values.toReversed()) await outcomeOf(value);
    expect(events.map((event) => "origin" in event && event.origin)).toEqual(["cache", "cache", "signature"]);

    for (const cache of [{ maxBytes: 1 }, { maxEntries: 0 }]) {
      await create({ cache });
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
    await create({ tenants: ["*"] });
    authority.keys = [jwkOf(key, { issuer: otherIssuer }), jwkOf(key, { issuer: template })];
    expect(await outcomeOf(token())).toBe("verified");
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
            "rejected: issuer",
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

describe("an allow-list of clients", () => {
  test("refuses the token of another client before any key is read", async () => {
    await create({ allowedClients: [OTHER_TENANT] });
    expect(await outcomeOf(token())).toBe("rejected: client");
    expect(authority.requests).toEqual([]);
    await create({ allowedClients: [CLIENT] });
    expect(await outcomeOf(token())).toBe("verified");
  });
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
