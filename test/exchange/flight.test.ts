/** One flight: where its token comes from, whose place that token takes, and what events and audit say of it. */

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import type { DelegatedSubject, ExchangeEvent, TokenSubject } from "../../src/exchange/contract.ts";
import { applicationSubject } from "../../src/exchange/entra/application.ts";
import { Secret } from "../../src/foundation/secret.ts";
import { until } from "../support/until.ts";
import {
  assertionOf,
  CLAIMS,
  CLIENT,
  entraError,
  exchangeWith,
  type FakeEntra,
  GRAPH,
  gate,
  granted,
  granting,
  HOME,
  type Rig,
  refusalOf,
  requestOf,
  START,
  startFakeEntra,
  types,
} from "./fake-entra.ts";
import { createMemoryStore, type MemoryStore, openMemoryRedis } from "./memory-store.ts";

let entra: FakeEntra;
beforeAll(async () => {
  entra = await startFakeEntra();
});
afterAll(() => entra.close());
beforeEach(() => {
  entra.requests.length = 0;
  entra.respond(granting);
});

const HOUR_MS = 3_600_000;
/** Served life is an hour less the margin of a minute. */
const DUE_MS = 0.8 * 3_540_000;
const textOf = ({ token }: { token: { accessToken: Secret } }) => token.accessToken.reveal();
const latest = <Type extends ExchangeEvent["type"]>({ events }: Rig, type: Type) =>
  events.findLast((event): event is Extract<ExchangeEvent, { type: Type }> => event.type === type);

const delegated = (): DelegatedSubject => ({
  ...assertionOf("ann"),
  renewal: { renew: (redeem) => redeem(new Secret("the-refresh-token")) },
});

describe("the audit of an exchange", () => {
  const ofAnn = { objectId: "ann", assertion: assertionOf("ann").token.fingerprint() };

  test.each<[string, TokenSubject, object, object]>([
    ["a user's", assertionOf("ann"), {}, { ...ofAnn, grant: "on_behalf_of", challenged: false }],
    [
      "one after a claims challenge",
      assertionOf("ann"),
      { claims: CLAIMS },
      { ...ofAnn, grant: "on_behalf_of", challenged: true },
    ],
    [
      "one for the second side",
      assertionOf("ann"),
      { via: "local" },
      { ...ofAnn, grant: "on_behalf_of", challenged: false, via: "local" },
    ],
    ["a job's", delegated(), {}, { ...ofAnn, grant: "refresh_token", challenged: false }],
    [
      "the gateway's own",
      applicationSubject(HOME, CLIENT),
      {},
      { grant: "client_credentials", challenged: false, objectId: undefined, assertion: undefined },
    ],
  ])("says for whom and why it was made, granted and refused: %s", async (_, assertion, over, expected) => {
    const rig = exchangeWith(entra);
    const request = requestOf("ann", { assertion, ...over });
    const facts = {
      correlationId: "correlation-of-ann",
      tenantId: HOME,
      scopes: GRAPH,
      via: undefined,
      ahead: false,
      tokenRequest: { requestId: "trace-1", source: "client-secret" },
      ...expected,
    };
    entra.respond((...asked) => {
      rig.clock.advance(1_234);
      return { ...granted(...asked), headers: { "x-ms-request-id": "trace-1" } };
    });
    const { token, tokenRequest } = await rig.exchange(request);
    expect(tokenRequest).toEqual(facts.tokenRequest);
    expect(latest(rig, "exchanged")).toEqual({
      type: "exchanged",
      tenantId: HOME,
      durationMs: 1_234,
      grantedScopes: token.grantedScopes,
      facts: { ...facts, token: token.accessToken.fingerprint(), expiresAt: START + HOUR_MS },
    });

    rig.forget(request);
    entra.respond(() => {
      rig.clock.advance(700);
      return { ...entraError("invalid_grant", 65001), headers: { "x-ms-request-id": "trace-1" } };
    });
    const { diagnostics } = await refusalOf(rig.exchange(request));
    expect(latest(rig, "refused")).toEqual({
      type: "refused",
      tenantId: HOME,
      durationMs: 700,
      code: "consent_required",
      reason: "consent_missing",
      aadsts: [65001],
      diagnostics,
      facts,
    });
  });

  test("says that no request was answered, and has no numbers, where Entra is silent", async () => {
    const rig = exchangeWith({ fetch: () => Promise.reject(new TypeError("fetch failed")) });
    await refusalOf(rig.exchange(requestOf("ann")));
    expect(latest(rig, "refused")).toMatchObject({
      reason: "network",
      aadsts: [],
      diagnostics: undefined,
      facts: { tokenRequest: undefined },
    });
  });

  test("says that a token is fetched before the end of the one that it replaces", async () => {
    const rig = exchangeWith(entra);
    await rig.exchange(requestOf("ann"));
    rig.clock.advance(DUE_MS);
    await rig.exchange(requestOf("ann"));
    await until(() => entra.requests.length === 2 && latest(rig, "exchanged")?.facts.ahead === true);
  });

  test("has nothing of a defect, which reaches the caller as it is", async () => {
    const defect = new TypeError("a defect");
    const rig = exchangeWith(entra, {}, () => Promise.reject(defect));
    await expect(rig.exchange(requestOf("ann"))).rejects.toBe(defect);
    expect(types(rig)).toEqual(["miss"]);
  });
});

test("a token that leaves a full cache is an event", async () => {
  const rig = exchangeWith(entra, { cache: { maxEntries: 1, maxBytes: 2 ** 20, expiryMarginMs: 60_000 } });
  for (const user of ["ann", "bob"]) await rig.exchange(requestOf(user));
  expect(rig.events).toContainEqual({ type: "evicted", cause: "full" });
});

test("a request that the cache has just been read for does not read it again", async () => {
  const rig = exchangeWith(entra);
  const first = await rig.exchange(requestOf("ann"));
  const second = await rig.exchange(requestOf("ann", { recalled: true }));
  expect([second.origin, textOf(second) === textOf(first)]).toEqual(["authority", false]);
});

test.each([
  [
    "of a tenant that is not allowed",
    { tenantId: "44444444-4444-4444-8444-444444444444" },
    "tenant_not_onboarded",
  ],
  ["whose token is over", { expiresAt: START }, "token_rejected"],
])("no delegation begins for a user %s", async (_, over, code) => {
  const { grantOffline } = exchangeWith(entra);
  const refusal = await refusalOf(grantOffline(requestOf("ann", { assertion: assertionOf("ann", over) })));
  expect([refusal.code, entra.requests.length]).toEqual([code, 0]);
});

describe("processes that share tokens", () => {
  let store: MemoryStore;
  let one: Rig;
  let other: Rig;
  beforeEach(() => {
    store = createMemoryStore();
    const redis = openMemoryRedis(store);
    [one, other] = [exchangeWith(entra, { redis }), exchangeWith(entra, { redis })];
  });
  const advance = (ms: number) => {
    for (const { clock } of [one, other]) clock.advance(ms);
  };

  test("report whether a token was found there", async () => {
    await one.exchange(requestOf("ann"));
    await one.close();
    expect((await other.exchange(requestOf("ann"))).origin).toBe("shared");
    expect((await other.exchange(requestOf("ann"))).origin).toBe("cache");
    expect([types(one), types(other)]).toEqual([
      ["miss", "shared_miss", "exchanged"],
      ["miss", "shared_hit", "hit"],
    ]);
  });

  test("serve what is there to a user whom Entra refuses at the moment", async () => {
    await one.exchange(requestOf("ann"));
    await one.close();
    entra.respond(() => ({ status: 429, headers: { "retry-after": "60" }, body: "" }));
    const elsewhere = { scopes: ["api://other/.default"] };
    await refusalOf(other.exchange(requestOf("ann", elsewhere)));
    expect((await refusalOf(other.exchange(requestOf("ann", elsewhere)))).reason).toBe("held_back");
    expect((await other.exchange(requestOf("ann"))).origin).toBe("shared");
  });

  test("do not replace a token that was fetched here by one that was read before", async () => {
    const old = await one.exchange(requestOf("ann"));
    await one.close();
    const answer = gate();
    entra.respond(async (...asked) => {
      await answer.opened;
      return granted(...asked);
    });
    const challenged = other.exchange(requestOf("ann", { claims: CLAIMS }));
    await until(() => entra.requests.length === 2);
    const reading = gate();
    store.reading = reading.opened;
    const reader = other.exchange(requestOf("ann"));
    answer.open();
    const fetched = await challenged;
    reading.open();
    expect([(await reader).origin, textOf(await reader)]).toEqual(["shared", textOf(old)]);
    const after = await other.exchange(requestOf("ann"));
    expect([after.origin, textOf(after)]).toEqual(["cache", textOf(fetched)]);
  });

  test("replace a token before its end by a longer one that is there, and ask Entra once for all", async () => {
    await other.exchange(requestOf("ann"));
    await other.close();
    await one.exchange(requestOf("ann"));
    advance(DUE_MS);
    // The token that both hold is there, and ends too soon.
    await one.exchange(requestOf("ann"));
    await until(() => latest(one, "exchanged") !== undefined);
    await one.close();
    const longer = await one.exchange(requestOf("ann"));
    expect((await other.exchange(requestOf("ann"))).origin).toBe("cache");
    await until(() => latest(other, "shared_hit") !== undefined);
    await until(() => textOf(other.recall(requestOf("ann")) as typeof longer) === textOf(longer));
    expect(entra.requests).toHaveLength(2);
  });

  test("do not share a token of the gateway's own, which the master key alone would open", async () => {
    const request = requestOf("ann", { assertion: applicationSubject(HOME, CLIENT) });
    const { token } = await one.exchange(request);
    one.forget({ ...request, refused: token.accessToken });
    await one.close();
    expect([store.calls, types(one)]).toEqual([[], ["miss", "exchanged"]]);
  });

  test("ask Entra for a delegation, whatever is there", async () => {
    await one.exchange(requestOf("ann"));
    await one.close();
    entra.respond((request, count) => granted(request, count, { refresh_token: `refresh ${count}` }));
    expect((await other.grantOffline(requestOf("ann"))).reveal()).toBe("refresh 2");
  });

  test("keep a token that one of them forgets without a refusal of the API", async () => {
    await one.exchange(requestOf("ann"));
    await one.close();
    one.forget(requestOf("ann"));
    await one.close();
    expect((await one.exchange(requestOf("ann"))).origin).toBe("shared");
    expect(types(one)).not.toContain("shared_failed");
  });

  test("end after what they write is written", async () => {
    const writing = gate();
    store.writing = writing.opened;
    await one.exchange(requestOf("ann"));
    let isClosed = false;
    const closed = one.close().then(() => {
      isClosed = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(isClosed).toBe(false);
    writing.open();
    await closed;
    expect(store.calls.some((call) => call.startsWith("write "))).toBe(true);
  });
});

test("a process that shares nothing ends at once", async () => {
  await expect(exchangeWith(entra).close()).resolves.toBeUndefined();
});
