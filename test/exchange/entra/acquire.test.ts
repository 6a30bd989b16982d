import { describe, expect, jest, test } from "@jest/globals";
import type { ClientCredential } from "../../../src/credential/contract.ts";
import { GatewayError } from "../../../src/errors.ts";
import { createKeyMaker } from "../../../src/exchange/cache/keys.ts";
import type { ExchangeEvent, TokenRequestFacts } from "../../../src/exchange/contract.ts";
import {
  createAcquire,
  createRetryBudget,
  createTokenResponses,
  pauseBeforeRetry,
} from "../../../src/exchange/entra/acquire.ts";
import { applicationSubject } from "../../../src/exchange/entra/application.ts";
import type { Refusal } from "../../../src/exchange/entra/refusals.ts";
import { createFailureDomains } from "../../../src/exchange/failure-domains.ts";
import { Secret } from "../../../src/foundation/secret.ts";

describe("the budget of retries", () => {
  const spent = (budget: ReturnType<typeof createRetryBudget>) => {
    let count = 0;
    while (count < 100 && budget.spend()) count += 1;
    return count;
  };

  test("holds ten at the start, and one more for ten first attempts", () => {
    const budget = createRetryBudget();
    expect(spent(budget)).toBe(10);
    for (let first = 0; first < 9; first += 1) budget.earn();
    expect(spent(budget)).toBe(0);
    // Ten tenths are a little less than one in binary, so the eleventh makes it certain.
    for (let first = 0; first < 2; first += 1) budget.earn();
    expect(spent(budget)).toBe(1);
  });

  test("saves ten at most, however many first attempts there were", () => {
    const budget = createRetryBudget();
    for (let first = 0; first < 1_000; first += 1) budget.earn();
    expect(spent(budget)).toBe(10);
  });
});

describe("the pause before a retry", () => {
  const refusal = (transient: boolean, retryAfterSeconds?: number): Refusal => ({
    error: new GatewayError("authority_unavailable", {
      detail: "d",
      ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
    }),
    domain: "none",
    transient,
    forgetUser: false,
  });
  const pauses = (retryAfterSeconds?: number) =>
    Array.from({ length: 200 }, () => pauseBeforeRetry(refusal(true, retryAfterSeconds), 60_000) ?? -1);

  test("is 50 to 150 ms, by chance, so that callers do not come back together", () => {
    const all = pauses();
    expect(Math.min(...all)).toBeGreaterThanOrEqual(50);
    expect(Math.max(...all)).toBeLessThan(150);
    expect(Math.max(...all) - Math.min(...all)).toBeGreaterThan(50);
  });

  test("comes on top of a pause of two seconds at most that Entra asked for", () => {
    const all = pauses(2);
    expect(Math.min(...all)).toBeGreaterThanOrEqual(2_050);
    expect(Math.max(...all)).toBeLessThan(2_150);
    expect(pauseBeforeRetry(refusal(true, 3), 60_000)).toBeUndefined();
  });

  test("is none for a refusal that stands", () => {
    expect(pauseBeforeRetry(refusal(false), 60_000)).toBeUndefined();
  });

  test("leaves half of the time for the attempt itself", () => {
    expect(pauseBeforeRetry(refusal(true), 100)).toBeUndefined();
    expect(pauseBeforeRetry(refusal(true), 300)).toBeDefined();
    expect(pauseBeforeRetry(refusal(true, 1), 2_099)).toBeUndefined();
    const chance = jest.spyOn(Math, "random").mockReturnValue(0);
    try {
      expect([100, 101].map((leftMs) => pauseBeforeRetry(refusal(true), leftMs))).toEqual([undefined, 50]);
    } finally {
      chance.mockRestore();
    }
  });
});

describe("a token request", () => {
  const authentication = { method: "client_secret", clientSecret: new Secret("s") } as const;
  const granted = { access_token: "t", token_type: "Bearer", expires_in: 3_600 };

  function acquiring(
    answers: readonly { status: number; body: object }[],
    credential: Partial<ClientCredential> = {},
  ) {
    const left = [...answers];
    const spans: object[] = [];
    const answered: number[] = [];
    const events: ExchangeEvent[] = [];
    let facts: TokenRequestFacts | undefined;
    const domains = createFailureDomains({ refusalMs: 0, now: Date.now });
    const acquire = createAcquire(
      {
        clientId: "client",
        tokenEndpoint: (tenant) => `https://login.example/${tenant}/token`,
        credential: { source: "client-secret", authenticate: async () => authentication, ...credential },
        timeoutMs: 5_000,
        attemptTimeoutMs: 5_000,
      },
      {
        send: async () => {
          const { status, body } = left.shift() ?? { status: 200, body: granted };
          return { status, headers: new Headers({ "x-ms-request-id": "r" }), text: JSON.stringify(body) };
        },
        responses: createTokenResponses({
          homeTenantId: "home",
          consentUri: () => "",
          adminConsentUri: () => "",
          now: Date.now,
        }),
        domains: { ...domains, answered: (_subject, sentAt) => answered.push(sentAt) },
        clockDrift: { observe: () => {}, ms: () => undefined },
        now: Date.now,
        onEvent: (event) => events.push(event),
        forgetUser: () => {},
      },
    );
    const assertion = applicationSubject("home", "client");
    const scopes = ["a"];
    const subject = {
      keys: createKeyMaker("https://login.example/", "client").of(assertion, scopes),
      tenantId: "home",
      claims: undefined,
      assertionExpiresAt: assertion.expiresAt,
    };
    const trace = {
      tokenRequest: (url: string) => ({ ended: (end: object) => void spans.push({ url, ...end }) }),
    };
    const run = () =>
      acquire({ assertion, scopes, correlationId: "c", trace }, subject, performance.now(), (latest) => {
        facts = latest;
      });
    return { run, spans, answered, events, facts: () => facts };
  }

  const url = "https://login.example/home/token";

  test("is traced with its status, and with the code of a refusal", async () => {
    const { run, spans, facts } = acquiring([
      { status: 200, body: granted },
      { status: 400, body: { error: "invalid_grant" } },
    ]);
    await run();
    await expect(run()).rejects.toMatchObject({ code: "interaction_required" });
    expect(spans).toEqual([
      { url, status: 200, code: undefined },
      { url, status: 400, code: "interaction_required" },
    ]);
    expect(facts()).toMatchObject({ source: "client-secret" });
  });

  test("is known by the credential that proved the gateway, and by which content of it", async () => {
    const originOf = () => ({ source: "certificate", generation: 2 }) as const;
    const { run, facts } = acquiring([], { originOf });
    await run();
    expect(facts()).toEqual({ requestId: "r", source: "certificate", generation: 2 });
  });

  test("gives no refresh token on that was not asked for", async () => {
    const { run } = acquiring([{ status: 200, body: { ...granted, refresh_token: "r" } }]);
    expect(await run()).not.toHaveProperty("refreshToken");
  });

  test("earns a retry with ten that need none, once the reserve is spent", async () => {
    const busy = { status: 503, body: {} };
    const fine = { status: 200, body: granted };
    const answers = [...Array(10).fill(busy), ...Array(10).fill(fine), busy];
    const { run, events } = acquiring([...answers, ...Array(11).fill(fine), busy]);
    const chance = jest.spyOn(Math, "random").mockReturnValue(0);
    try {
      // All ten find Entra busy before one of them comes again.
      await Promise.all(Array.from({ length: 10 }, run));
      await expect(run()).rejects.toMatchObject({ code: "authority_unavailable" });
      for (let request = 0; request < 11; request += 1) await run();
      await run();
    } finally {
      chance.mockRestore();
    }
    expect(events).toEqual(Array(11).fill({ type: "retried", tenantId: "home", cause: "transient" }));
  });

  test("leaves no timer behind that would keep the process alive", async () => {
    const timers = () => process.getActiveResourcesInfo().filter((resource) => resource === "Timeout").length;
    const before = timers();
    await acquiring([]).run();
    expect(timers()).toBe(before);
  });

  test("that found Entra busy is made again after its pause", async () => {
    const { run, events } = acquiring([{ status: 503, body: { error: "temporarily_unavailable" } }]);
    const began = performance.now();
    await run();
    expect(performance.now() - began).toBeGreaterThanOrEqual(49);
    expect(events).toEqual([{ type: "retried", tenantId: "home", cause: "transient" }]);
  });

  test("shows that Entra answers, granted or refused, unless Entra is what refuses", async () => {
    const { run, answered } = acquiring([
      { status: 200, body: granted },
      { status: 400, body: { error: "invalid_grant" } },
      { status: 429, body: {} },
    ]);
    await run();
    expect(answered).toHaveLength(1);
    await run().catch(() => {});
    expect(answered).toHaveLength(2);
    await run().catch(() => {});
    expect(answered).toHaveLength(2);
  });
});
