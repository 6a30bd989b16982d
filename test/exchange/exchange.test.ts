import { AsyncLocalStorage } from "node:async_hooks";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { ExchangeResult } from "../../src/exchange/contract.ts";
import {
  type Answer,
  assertionOf,
  CLAIMS,
  entraError,
  exchangeWith,
  type FakeEntra,
  FOREIGN,
  gate,
  granted,
  HOME,
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

const tokenOf = ({ token }: ExchangeResult) => token.accessToken.reveal();
const contentOf = (result: ExchangeResult) => Buffer.from(tokenOf(result), "base64url").toString();
const codeOf = async (exchange: Promise<unknown>) => (await refusalOf(exchange)).code;
async function arrivals(count: number): Promise<void> {
  while (entra.requests.length < count) await new Promise((resolve) => setTimeout(resolve, 5));
}

describe("the cache", () => {
  test("a second call for the same assertion and scopes is answered without Entra", async () => {
    const { exchange, events } = exchangeWith(entra);
    const first = await exchange(requestOf("ann"));
    const second = await exchange(requestOf("ann"));
    expect([first.origin, second.origin]).toEqual(["authority", "cache"]);
    expect(tokenOf(second)).toBe(tokenOf(first));
    expect(entra.requests).toHaveLength(1);
    expect(events.map(({ type }) => type)).toEqual(["miss", "exchanged", "hit"]);
    expect(events[1]).toMatchObject({ facts: { tokenRequest: { source: expect.any(String) } } });
  });

  test("one assertion presented for two tenants yields each tenant its own token", async () => {
    const { exchange } = exchangeWith(entra);
    const home = await exchange(requestOf("ann", { assertion: assertionOf("ann", { tenantId: HOME }) }));
    const foreign = await exchange(
      requestOf("ann", { assertion: assertionOf("ann", { tenantId: FOREIGN }) }),
    );
    expect(contentOf(home)).toContain(HOME);
    expect(contentOf(foreign)).toContain(FOREIGN);
    const again = await exchange(requestOf("ann", { assertion: assertionOf("ann", { tenantId: HOME }) }));
    expect(tokenOf(again)).toBe(tokenOf(home));
    expect(entra.requests).toHaveLength(2);
  });

  test("two live assertions of one user do not push each other out", async () => {
    const { exchange } = exchangeWith(entra);
    for (let round = 0; round < 5; round += 1) {
      for (const serial of [1, 2]) {
        const result = await exchange(requestOf("ann", { assertion: assertionOf("ann", { serial }) }));
        expect(contentOf(result)).toContain(`assertion-of-ann-${serial}`);
      }
    }
    expect(entra.requests).toHaveLength(2);
  });

  test("the same scopes in another order or repeated are the same exchange", async () => {
    const { exchange } = exchangeWith(entra);
    await exchange(requestOf("ann", { scopes: ["api://x/a", "api://x/b"] }));
    const second = await exchange(requestOf("ann", { scopes: ["api://x/b", "api://x/a", "api://x/b"] }));
    expect(second.origin).toBe("cache");
  });

  test("an array of scopes that changed after its first use asks for what it says now", async () => {
    const { exchange } = exchangeWith(entra);
    const scopes = ["api://x/read"];
    await exchange(requestOf("ann", { scopes }));
    scopes[0] = "api://x/write";
    expect((await exchange(requestOf("ann", { scopes }))).origin).toBe("authority");
    expect(entra.requests[1]?.form.get("scope")).toContain("api://x/write");
  });

  test("an array of scopes that changes while the exchange is under way does not change what is sent", async () => {
    const { exchange } = exchangeWith(entra);
    const scopes = ["api://x/read"];
    const result = exchange(requestOf("ann", { scopes }));
    scopes[0] = "api://x/write";
    await result;
    expect(entra.requests[0]?.form.get("scope")).toContain("api://x/read");
  });

  test("answers serve from the cache whatever scope string Entra echoes", async () => {
    for (const scope of [undefined, "", " ", "User.Read openid"]) {
      entra.respond((request, count) => granted(request, count, { scope }));
      const { exchange } = exchangeWith(entra);
      await exchange(requestOf("ann"));
      expect((await exchange(requestOf("ann"))).origin).toBe("cache");
    }
  });

  test.each([
    [3_539_999, "cache"],
    [3_540_000, "authority"],
  ])(
    "a token is served until its own expiry less the margin, and not after: %d ms",
    async (after, origin) => {
      const { exchange, clock } = exchangeWith(entra);
      const { token } = await exchange(requestOf("ann"));
      expect(token.expiresAt).toBe(START + 3_600_000);
      clock.advance(after);
      expect((await exchange(requestOf("ann"))).origin).toBe(origin);
    },
  );

  test("no token is served past the end of the assertion that obtained it", async () => {
    const { exchange, clock } = exchangeWith(entra);
    const assertion = assertionOf("ann", { expiresAt: START + 600_000 });
    const { token } = await exchange(requestOf("ann", { assertion }));
    expect(token.expiresAt).toBe(START + 600_000);
    clock.advance(599_999);
    expect((await exchange(requestOf("ann", { assertion }))).origin).toBe("cache");
    clock.advance(1);
    expect(await codeOf(exchange(requestOf("ann", { assertion })))).toBe("token_rejected");
    expect(entra.requests).toHaveLength(1);
  });

  test("a token that lives no longer than the margin is handed out but not kept", async () => {
    entra.respond((request, count) => granted(request, count, { expires_in: 60 }));
    const { exchange, cached } = exchangeWith(entra);
    expect((await exchange(requestOf("ann"))).token.expiresAt).toBe(START + 60_000);
    expect(cached.entries()).toBe(0);
  });

  test("forgetting drops the token of this assertion and these scopes, and nothing else", async () => {
    const { exchange, forget } = exchangeWith(entra);
    const other = { scopes: ["api://other/.default"] };
    for (const request of [requestOf("ann"), requestOf("ann", other), requestOf("bob")])
      await exchange(request);
    forget(requestOf("ann"));
    expect((await exchange(requestOf("ann", other))).origin).toBe("cache");
    expect((await exchange(requestOf("bob"))).origin).toBe("cache");
    expect((await exchange(requestOf("ann"))).origin).toBe("authority");
  });

  test("a token that came in place of the refused one is not dropped with it", async () => {
    const { exchange, forget } = exchangeWith(entra);
    const refused = (await exchange(requestOf("ann"))).token.accessToken;
    forget({ ...requestOf("ann"), refused });
    const fresh = (await exchange(requestOf("ann"))).token.accessToken;
    forget({ ...requestOf("ann"), refused });
    const served = await exchange(requestOf("ann"));
    expect([served.origin, served.token.accessToken]).toEqual(["cache", fresh]);
    forget({ ...requestOf("ann"), refused: fresh });
    expect((await exchange(requestOf("ann"))).origin).toBe("authority");
  });

  test("ended sessions take all of that user's tokens along, and no other user's", async () => {
    const { exchange, events, cached } = exchangeWith(entra);
    for (const serial of [1, 2, 3]) {
      await exchange(requestOf("ann", { assertion: assertionOf("ann", { serial }) }));
    }
    await exchange(requestOf("bob"));
    await exchange(requestOf("ann", { assertion: assertionOf("ann", { tenantId: FOREIGN }) }));
    entra.respond(() => entraError("invalid_grant", 50173, { suberror: "bad_token" }));
    const refused = exchange(requestOf("ann", { assertion: assertionOf("ann", { serial: 4 }) }));
    expect(await codeOf(refused)).toBe("interaction_required");
    expect(cached.entries()).toBe(2);
    expect(events).toContainEqual({ type: "purged", tenantId: HOME, tokens: 3 });
    expect((await exchange(requestOf("bob"))).origin).toBe("cache");
  });
});

describe("claims", () => {
  test("a request with claims is never answered from the cache, and its token replaces the cached one", async () => {
    const { exchange, cached } = exchangeWith(entra);
    const plain = await exchange(requestOf("ann"));
    const stepped = await exchange(requestOf("ann", { claims: CLAIMS }));
    const after = await exchange(requestOf("ann"));
    expect(stepped.origin).toBe("authority");
    expect(tokenOf(stepped)).not.toBe(tokenOf(plain));
    expect(after.origin).toBe("cache");
    expect(tokenOf(after)).toBe(tokenOf(stepped));
    expect(cached.entries()).toBe(1);
  });

  test("an older answer that comes late does not overwrite the token that satisfied the claims", async () => {
    const { open, opened } = gate();
    entra.respond(async (request, count) => {
      if (count === 1) await opened;
      return granted(request, count);
    });
    const { exchange } = exchangeWith(entra);
    const slow = exchange(requestOf("ann"));
    await arrivals(1);
    const stepped = await exchange(requestOf("ann", { claims: CLAIMS }));
    open();
    await slow;
    expect(tokenOf(await exchange(requestOf("ann")))).toBe(tokenOf(stepped));
  });

  test("concurrent requests with the same claims share one flight, with other claims they do not", async () => {
    const { exchange } = exchangeWith(entra);
    const other = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}';
    await Promise.all([CLAIMS, CLAIMS, other].map((claims) => exchange(requestOf("ann", { claims }))));
    expect(entra.requests).toHaveLength(2);
  });

  test.each([
    ["no JSON", "{"],
    ["an array", "[]"],
    ["a string", '"access_token"'],
    ["a number", "1"],
    ["null", "null"],
    ["empty text", ""],
    ["members that are no objects", '{"access_token":"cp1"}'],
    ["a null member", '{"id_token":null}'],
    ["more than any challenge needs", `{"access_token":{"x":"${"x".repeat(9000)}"}}`],
  ])("claims that are %s are refused rather than dropped on the way", async (_, claims) => {
    const { exchange } = exchangeWith(entra);
    await exchange(requestOf("ann"));
    expect(await refusalOf(exchange(requestOf("ann", { claims })))).toMatchObject({
      code: "internal",
      reason: "claims_malformed",
    });
    expect(entra.requests).toHaveLength(1);
  });
});

describe("single flight", () => {
  test("20 concurrent calls for one assertion reach Entra once", async () => {
    const { exchange, events } = exchangeWith(entra);
    const results = await Promise.all(Array.from({ length: 20 }, () => exchange(requestOf("ann"))));
    expect(entra.requests).toHaveLength(1);
    expect(new Set(results.map(tokenOf)).size).toBe(1);
    expect(results.filter(({ origin }) => origin === "authority")).toHaveLength(1);
    expect(events.filter(({ type }) => type === "joined")).toHaveLength(19);
  });

  test("a failed flight is shared by those on board and then forgotten", async () => {
    entra.respond(() => ({ status: 500, body: {} }));
    const { exchange } = exchangeWith(entra);
    const outcomes = await Promise.all([1, 2, 3].map(() => codeOf(exchange(requestOf("ann")))));
    expect(outcomes).toEqual(Array(3).fill("authority_unavailable"));
    expect(entra.requests).toHaveLength(1);
    entra.respond(granted);
    expect((await exchange(requestOf("ann"))).origin).toBe("authority");
  });

  test("one caller's abort ends that caller's wait alone", async () => {
    const { open, opened } = gate();
    entra.respond(async (request, count) => {
      await opened;
      return granted(request, count);
    });
    const { exchange } = exchangeWith(entra);
    const leaver = new AbortController();
    const leaving = exchange(requestOf("ann", { signal: leaver.signal })).catch((error: unknown) => error);
    const staying = exchange(requestOf("ann"));
    await arrivals(1);
    const reason = new Error("the caller hung up");
    leaver.abort(reason);
    expect(await leaving).toBe(reason);
    open();
    expect((await staying).origin).toBe("flight");
    expect(entra.requests).toHaveLength(1);
  });

  test("a flight that everyone left still fills the cache, and its failure troubles nobody", async () => {
    for (const [reply, origin] of [
      [undefined, "cache"],
      [{ status: 500, body: {} } satisfies Answer, "authority"],
    ] as const) {
      const { open, opened } = gate();
      entra.respond(async (request, count) => {
        await opened;
        return reply ?? granted(request, count);
      });
      const { exchange, events } = exchangeWith(entra);
      const leaver = new AbortController();
      const before = entra.requests.length;
      const leaving = exchange(requestOf("ann", { signal: leaver.signal })).catch(() => "left");
      await arrivals(before + 1);
      leaver.abort();
      expect(await leaving).toBe("left");
      open();
      while (events.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
      entra.respond(granted);
      expect((await exchange(requestOf("ann"))).origin).toBe(origin);
    }
  });

  test("a caller who has already gone starts nothing", async () => {
    const { exchange } = exchangeWith(entra);
    await expect(exchange(requestOf("ann", { signal: AbortSignal.abort() }))).rejects.toThrow("aborted");
    await exchange(requestOf("bob"));
    expect(entra.requests).toHaveLength(1);
  });

  test("past the limit of concurrent exchanges new ones are refused, and those under way can still be joined", async () => {
    const { open, opened } = gate();
    entra.respond(async (request, count) => {
      await opened;
      return granted(request, count);
    });
    const { exchange } = exchangeWith(entra, { budget: { total: 1, userShare: 1, clientShare: 1 } });
    const first = exchange(requestOf("ann"));
    const joined = exchange(requestOf("ann"));
    expect(await refusalOf(exchange(requestOf("bob")))).toMatchObject({
      code: "overloaded",
      reason: "exchanges",
      retryAfterSeconds: 1,
    });
    open();
    expect([(await first).origin, (await joined).origin]).toEqual(["authority", "flight"]);
    expect((await exchange(requestOf("bob"))).origin).toBe("authority");
  });

  test("each caller keeps its own asynchronous context across a shared flight", async () => {
    const caller = new AsyncLocalStorage<string>();
    const { exchange } = exchangeWith(entra);
    const seen = await Promise.all(
      ["one", "two", "three"].map((name) =>
        caller.run(name, async () => {
          await exchange(requestOf("ann", { signal: new AbortController().signal }));
          return caller.getStore();
        }),
      ),
    );
    expect(seen).toEqual(["one", "two", "three"]);
    expect(caller.getStore()).toBeUndefined();
  });
});

describe("what is refused without asking Entra", () => {
  test.each([
    ["a tenant that is not on the list", "44444444-4444-4444-8444-444444444444", [HOME]],
    ["a tenant id that is no GUID, though any tenant is allowed", "../common", "*"],
  ] as const)("%s", async (_, tenantId, allowedTenants) => {
    const { exchange } = exchangeWith(entra, { allowedTenants });
    const request = requestOf("ann", { assertion: assertionOf("ann", { tenantId }) });
    expect(await codeOf(exchange(request))).toBe("tenant_not_onboarded");
    expect(entra.urls).toHaveLength(0);
  });

  test("any tenant passes when all are allowed, and a listed one in any letter case", async () => {
    const any = exchangeWith(entra, { allowedTenants: "*" });
    const listed = exchangeWith(entra, { allowedTenants: ["ABCDEF00-0000-4000-8000-000000000000"] });
    const assertion = assertionOf("ann", { tenantId: "abcdef00-0000-4000-8000-000000000000" });
    for (const { exchange } of [any, listed]) {
      expect((await exchange(requestOf("ann", { assertion }))).origin).toBe("authority");
    }
  });

  test.each([
    ["no scope at all", []],
    ["an empty scope", [""]],
    ["a blank scope", [" "]],
    ["two scopes in one string", ["api://x/a api://x/b"]],
    ["a scope with a line break", ["api://x/a\r\n"]],
  ])("%s", async (_, scopes) => {
    const { exchange } = exchangeWith(entra);
    expect(await codeOf(exchange(requestOf("ann", { scopes })))).toBe("downstream_misconfigured");
    expect(entra.urls).toHaveLength(0);
  });
});
