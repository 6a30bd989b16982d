import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { ClientAuthentication, ClientCredential } from "../../src/credential/contract.ts";
import { GatewayError } from "../../src/errors.ts";
import { Secret } from "../../src/foundation/secret.ts";
import {
  type Answer,
  assertionOf,
  CLAIMS,
  entraError,
  exchangeWith,
  type FakeEntra,
  FOREIGN,
  GRAPH,
  granted,
  HOME,
  type Responder,
  refusalOf,
  requestOf,
  startFakeEntra,
} from "./fake-entra.ts";

let entra: FakeEntra;
beforeEach(async () => {
  entra = await startFakeEntra();
});
afterEach(() => entra.close());

const userOf = (assertion: string | null) => /^assertion-of-(.+)-\d+$/.exec(assertion ?? "")?.[1] ?? "";
/** Answers these users as given and grants everybody else. */
const refusing =
  (answers: Readonly<Record<string, Answer>>): Responder =>
  (request, count) =>
    answers[userOf(request.form.get("assertion"))] ?? granted(request, count);
const throttled: Answer = {
  status: 429,
  headers: { "content-type": "text/plain", "retry-after": "60" },
  body: "",
};
const askedFor = (user: string) =>
  entra.requests.filter(({ form }) => userOf(form.get("assertion")) === user).length;

describe("one user's failure is not another's", () => {
  test.each<[sentence: string, answer: Answer]>([
    ["a refusal", entraError("invalid_grant", 53003)],
    ["a revoked session", entraError("invalid_grant", 50173)],
    ["a detected loop", entraError("invalid_grant", 50196)],
    ["a 503 that says when to come back", { status: 503, headers: { "retry-after": "60" }, body: {} }],
    ["a 500", { status: 500, body: {} }],
    ["a 429", throttled],
    ["a missing consent", entraError("invalid_grant", 65001)],
    ["an unknown refusal of the client", entraError("unauthorized_client", 999999)],
    ["an HTML page", { status: 502, body: "<html>" }],
    ["a broken connection", { status: 200, body: "{" }],
  ])("%s", async (_, answer) => {
    entra.respond(refusing({ ann: answer }));
    const { exchange } = exchangeWith(entra);
    await refusalOf(exchange(requestOf("ann")));
    expect((await exchange(requestOf("bob"))).origin).toBe("authority");
    await refusalOf(exchange(requestOf("ann")));
    expect((await exchange(requestOf("bob"))).origin).toBe("cache");
  });

  test("whatever mixture of answers many users get, each gets its own", async () => {
    const kinds: readonly [Answer | undefined, string][] = [
      [undefined, "granted"],
      [entraError("invalid_grant", 53003), "blocked_by_policy"],
      [entraError("invalid_grant", 65001), "consent_required"],
      [entraError("interaction_required", 50076, { claims: CLAIMS }), "claims_challenged"],
      [entraError("invalid_grant", 50105), "not_assigned"],
      [{ status: 500, body: {} }, "authority_unavailable"],
      [entraError("invalid_grant", 500133), "token_rejected"],
      [{ status: 503, headers: { "retry-after": "30" }, body: {} }, "authority_unavailable"],
    ];
    const { exchange, clock } = exchangeWith(entra);
    let seed = 42;
    const random = (below: number) => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
      return Math.floor((seed / 2_147_483_648) * below);
    };
    const kindOf = new Map(
      Array.from({ length: 40 }, (_, user) => [`user-${user}`, kinds[random(kinds.length)]]),
    );
    entra.respond((request, count) => {
      const [answer] = kindOf.get(userOf(request.form.get("assertion"))) ?? [];
      return answer ?? granted(request, count);
    });
    for (let round = 0; round < 5; round += 1) {
      const users = Array.from({ length: 30 }, () => `user-${random(40)}`);
      const outcomes = await Promise.all(
        users.map((user) =>
          exchange(requestOf(user)).then(
            ({ token }) => {
              expect(Buffer.from(token.accessToken.reveal(), "base64url").toString()).toContain(
                `of-${user}-`,
              );
              return "granted";
            },
            (error: unknown) => (error instanceof GatewayError ? error.code : error),
          ),
        ),
      );
      expect(outcomes).toEqual(users.map((user) => kindOf.get(user)?.[1]));
      clock.advance(random(5_000));
    }
  });
});

describe("a refusal that concerns the user", () => {
  test("is answered from memory for a few seconds, for the same assertion and scopes only", async () => {
    entra.respond(() => entraError("invalid_grant", 65001));
    const { exchange, clock, events } = exchangeWith(entra);
    const first = await refusalOf(exchange(requestOf("ann")));
    clock.advance(2_999);
    expect(await refusalOf(exchange(requestOf("ann")))).toBe(first);
    expect(entra.requests).toHaveLength(1);
    expect(events).toContainEqual({ type: "held_back", tenantId: HOME, code: "consent_required" });

    entra.respond(granted);
    const signedInAnew = requestOf("ann", { assertion: assertionOf("ann", { serial: 2 }) });
    for (const request of [signedInAnew, requestOf("ann", { scopes: ["api://other/.default"] })]) {
      expect((await exchange(request)).origin).toBe("authority");
    }
    clock.advance(1);
    expect((await exchange(requestOf("ann"))).origin).toBe("authority");
  });

  test("neither answers a request with claims nor is learnt from one", async () => {
    entra.respond(() => entraError("interaction_required", 50076, { claims: CLAIMS }));
    const { exchange } = exchangeWith(entra);
    await refusalOf(exchange(requestOf("ann")));
    await refusalOf(exchange(requestOf("ann", { claims: CLAIMS })));
    expect(entra.requests).toHaveLength(2);
    await refusalOf(exchange(requestOf("bob", { claims: CLAIMS })));
    entra.respond(granted);
    expect((await exchange(requestOf("bob"))).origin).toBe("authority");
  });

  test("is asked for anew each time when memory is switched off", async () => {
    entra.respond(() => entraError("invalid_grant", 65001));
    const { exchange } = exchangeWith(entra, { refusalMemoryMs: 0 });
    for (let call = 0; call < 3; call += 1) await refusalOf(exchange(requestOf("ann")));
    expect(entra.requests).toHaveLength(3);
  });
});

describe("throttling", () => {
  test("a 429 holds its user back until Retry-After has passed, counting down", async () => {
    entra.respond(refusing({ ann: throttled }));
    const { exchange, clock } = exchangeWith(entra);
    expect((await refusalOf(exchange(requestOf("ann")))).retryAfterSeconds).toBe(60);
    clock.advance(20_500);
    const held = await refusalOf(exchange(requestOf("ann")));
    expect([held.code, held.reason, held.retryAfterSeconds]).toEqual([
      "authority_throttled",
      "held_back",
      40,
    ]);
    expect(askedFor("ann")).toBe(1);
    clock.advance(39_500);
    entra.respond(granted);
    expect((await exchange(requestOf("ann"))).origin).toBe("authority");
  });

  test("two accounts' 429s, however long their Retry-After, leave a third user's exchange alone", async () => {
    const long = { ...throttled, headers: { "retry-after": "300" } };
    entra.respond(refusing({ ann: long, bob: long }));
    const { exchange, clock } = exchangeWith(entra);
    for (const user of ["ann", "bob"]) await refusalOf(exchange(requestOf(user)));
    expect((await exchange(requestOf("cat"))).origin).toBe("authority");
    clock.advance(1_000);
    expect((await exchange(requestOf("dan"))).origin).toBe("authority");
  });

  test("a 429 holds its user for all scopes and assertions", async () => {
    entra.respond(refusing({ ann: throttled }));
    const { exchange } = exchangeWith(entra);
    await refusalOf(exchange(requestOf("ann")));
    for (const over of [
      { scopes: ["api://other/.default"] },
      { assertion: assertionOf("ann", { serial: 2 }) },
      { claims: CLAIMS },
    ])
      expect((await refusalOf(exchange(requestOf("ann", over)))).code).toBe("authority_throttled");
    expect(askedFor("ann")).toBe(1);
  });

  const users = (count: number, prefix = "user") =>
    Array.from({ length: count }, (_, index) => `${prefix}-${index}`);

  test("a tenant whose users are all limited is held, and no other tenant", async () => {
    entra.respond((request, count) => (request.tenantId === HOME ? throttled : granted(request, count)));
    const { exchange } = exchangeWith(entra);
    for (const user of users(30)) {
      const refusal = await refusalOf(exchange(requestOf(user)));
      expect([refusal.code, (refusal.retryAfterSeconds ?? 0) > 0]).toEqual(["authority_throttled", true]);
    }
    expect(entra.requests).toHaveLength(3);
    const elsewhere = requestOf("eve", { assertion: assertionOf("eve", { tenantId: FOREIGN }) });
    expect((await exchange(elsewhere)).origin).toBe("authority");
  });

  test("a held tenant is probed, less and less often, and never for the whole Retry-After unprobed", async () => {
    entra.respond(() => ({ ...throttled, headers: { "retry-after": "300" } }));
    const { exchange, clock } = exchangeWith(entra);
    for (const user of users(3)) await refusalOf(exchange(requestOf(user)));
    const asked: number[] = [];
    for (let second = 0; second < 250; second += 1) {
      clock.advance(1_000);
      await refusalOf(exchange(requestOf(`late-${second}`)));
      asked.push(entra.requests.length);
    }
    expect(asked[0]).toBe(4);
    expect(asked[249]).toBeGreaterThan(8);
    expect(asked[249]).toBeLessThan(20);
  });

  test("one answered probe ends the hold, long before Retry-After", async () => {
    entra.respond(() => ({ ...throttled, headers: { "retry-after": "300" } }));
    const { exchange, clock } = exchangeWith(entra);
    for (const user of users(3)) await refusalOf(exchange(requestOf(user)));
    entra.respond(granted);
    expect((await refusalOf(exchange(requestOf("early")))).reason).toBe("held_back");
    clock.advance(1_000);
    for (const user of users(5, "later")) expect((await exchange(requestOf(user))).origin).toBe("authority");
  });

  test("a few limited users among many who are answered do not hold the tenant", async () => {
    const limited = Object.fromEntries(users(8, "busy").map((user) => [user, throttled]));
    entra.respond(refusing(limited));
    const { exchange } = exchangeWith(entra);
    for (const user of users(10)) await exchange(requestOf(user));
    for (const user of users(8, "busy")) await refusalOf(exchange(requestOf(user)));
    expect((await exchange(requestOf("another"))).origin).toBe("authority");
  });

  test("one user's 429s, however many, do not hold the tenant back", async () => {
    entra.respond(refusing({ ann: throttled }));
    const { exchange } = exchangeWith(entra);
    for (const scope of ["api://x/a", "api://x/b", "api://x/c", "api://x/d"]) {
      await refusalOf(exchange(requestOf("ann", { scopes: [scope] })));
    }
    expect((await exchange(requestOf("bob"))).origin).toBe("authority");
  });

  test("Entra's own word that the tenant is throttled needs no second one", async () => {
    entra.respond(() => ({ ...entraError("temporarily_unavailable", 90055), status: 429 }));
    const { exchange } = exchangeWith(entra);
    for (const user of ["ann", "bob"]) await refusalOf(exchange(requestOf(user)));
    expect(entra.requests).toHaveLength(1);
  });

  test("cached tokens keep serving while their tenant is held back", async () => {
    const { exchange } = exchangeWith(entra);
    await exchange(requestOf("ann"));
    entra.respond(() => throttled);
    for (const user of ["bob", "cat"]) await refusalOf(exchange(requestOf(user)));
    expect((await exchange(requestOf("ann"))).origin).toBe("cache");
  });

  test("a detected loop holds back this user and these scopes for a minute, across sign-ins and claims", async () => {
    entra.respond(() => entraError("invalid_grant", 50196));
    const { exchange, clock } = exchangeWith(entra);
    await refusalOf(exchange(requestOf("ann")));
    entra.respond(granted);
    const anew = assertionOf("ann", { serial: 2 });
    for (const over of [{}, { assertion: anew }, { claims: CLAIMS }]) {
      expect((await refusalOf(exchange(requestOf("ann", over)))).code).toBe("authority_throttled");
    }
    expect(
      (await exchange(requestOf("ann", { scopes: [...GRAPH, "https://graph.microsoft.com/User.Read"] })))
        .origin,
    ).toBe("authority");
    clock.advance(60_000);
    expect((await exchange(requestOf("ann"))).origin).toBe("authority");
  });

  test("nobody is held back for longer than five minutes, whatever Entra says", async () => {
    entra.respond(() => ({ ...throttled, headers: { "retry-after": "86400" } }));
    const { exchange, clock } = exchangeWith(entra);
    await refusalOf(exchange(requestOf("ann")));
    clock.advance(300_000);
    entra.respond(granted);
    expect((await exchange(requestOf("ann"))).origin).toBe("authority");
  });
});

describe("an outage", () => {
  test("a 503 is tried once more, with the proof asked for anew", async () => {
    let proofs = 0;
    const credential: ClientCredential = {
      source: "certificate",
      authenticate: async () => {
        proofs += 1;
        return { method: "client_assertion", clientAssertion: new Secret(`proof-${proofs}`) };
      },
    };
    entra.respond((request, count) => (count === 1 ? { status: 503, body: {} } : granted(request, count)));
    const { exchange } = exchangeWith(entra, { credential });
    expect((await exchange(requestOf("ann"))).origin).toBe("authority");
    expect(entra.requests.map(({ form }) => form.get("client_assertion"))).toEqual(["proof-1", "proof-2"]);
  });

  test.each<[sentence: string, answer: Answer]>([
    ["a 503 with a long Retry-After", { status: 503, headers: { "retry-after": "30" }, body: {} }],
    ["a 500", { status: 500, body: {} }],
    ["a 502", { status: 502, body: "<html>" }],
    ["a refusal", entraError("invalid_grant", 53003)],
  ])("%s is not", async (_, answer) => {
    entra.respond(() => answer);
    const { exchange } = exchangeWith(entra);
    await refusalOf(exchange(requestOf("ann")));
    expect(entra.requests).toHaveLength(1);
  });

  test("retries add a tenth at most to the load, beyond a small reserve", async () => {
    entra.respond(() => ({ status: 503, body: {} }));
    const { exchange } = exchangeWith(entra);
    const users = Array.from({ length: 200 }, (_, user) => `user-${user}`);
    await Promise.all(users.map((user) => refusalOf(exchange(requestOf(user)))));
    expect(entra.requests.length).toBeGreaterThan(200);
    expect(entra.requests.length).toBeLessThanOrEqual(200 + 200 / 10 + 10);
  });

  test("the second attempt has only what is left of the exchange's time", async () => {
    entra.respond(async (_, count) => {
      if (count > 1) return () => {};
      await new Promise((resolve) => setTimeout(resolve, 800));
      return { status: 503, body: {} };
    });
    const { exchange } = exchangeWith(entra, { timeoutMs: 1_600, now: Date.now });
    const assertion = assertionOf("ann", { expiresAt: Date.now() + 60_000 });
    const began = performance.now();
    expect((await refusalOf(exchange(requestOf("ann", { assertion })))).code).toBe("authority_timeout");
    expect(entra.requests).toHaveLength(2);
    // A second attempt with all of the time for itself would end after 2450 ms at the earliest.
    expect(performance.now() - began).toBeLessThan(2_400);
  });

  test("no pause is begun that the deadline would not let end", async () => {
    entra.respond(() => ({ status: 503, headers: { "retry-after": "1" }, body: {} }));
    const { exchange } = exchangeWith(entra, { timeoutMs: 2_000 });
    await refusalOf(exchange(requestOf("ann")));
    expect(entra.requests).toHaveLength(1);
  });
});

describe("the gateway's own credential", () => {
  /** Offers these proofs in turn; `refused` moves on and tells whether there was another. */
  function ring(...proofs: readonly string[]) {
    let at = 0;
    const blamed: ClientAuthentication[] = [];
    const credential: ClientCredential = {
      source: "client-secret",
      authenticate: async () => ({ method: "client_secret", clientSecret: new Secret(proofs[at] ?? "") }),
      refused: async (authentication) => {
        blamed.push(authentication);
        at += 1;
        return at < proofs.length;
      },
    };
    return { credential, blamed };
  }
  const accepting =
    (secret: string): Responder =>
    (request, count) =>
      request.form.get("client_secret") === secret
        ? granted(request, count)
        : entraError("invalid_client", 7000215);

  test("when refused may offer another proof once in the same exchange", async () => {
    entra.respond(accepting("new"));
    const { credential, blamed } = ring("old", "new");
    const { exchange, events } = exchangeWith(entra, { credential });
    expect((await exchange(requestOf("ann"))).origin).toBe("authority");
    expect(blamed).toHaveLength(1);
    expect(events).toContainEqual({ type: "retried", tenantId: HOME, cause: "credential" });
  });

  test("when refused twice is the operator's matter, and not asked for a third proof", async () => {
    entra.respond(accepting("none of them"));
    const { credential, blamed } = ring("a", "b", "c");
    const { exchange } = exchangeWith(entra, { credential });
    const refusal = await refusalOf(exchange(requestOf("ann")));
    expect([refusal.code, refusal.actor, refusal.reason]).toEqual([
      "client_rejected",
      "operator",
      "secret_wrong",
    ]);
    expect(entra.requests).toHaveLength(2);
    expect(blamed).toHaveLength(1);
  });

  test("when refused is left alone for a second in that tenant; another proof or tenant is not", async () => {
    entra.respond(accepting("good"));
    let secret = "bad";
    const credential: ClientCredential = {
      source: "client-secret",
      authenticate: async () => ({ method: "client_secret", clientSecret: new Secret(secret) }),
    };
    const { exchange, clock } = exchangeWith(entra, { credential });
    await refusalOf(exchange(requestOf("ann")));
    await refusalOf(exchange(requestOf("bob")));
    expect(entra.requests).toHaveLength(1);
    await refusalOf(exchange(requestOf("eve", { assertion: assertionOf("eve", { tenantId: FOREIGN }) })));
    expect(entra.requests).toHaveLength(2);
    secret = "good";
    expect((await exchange(requestOf("bob"))).origin).toBe("authority");
    secret = "bad";
    clock.advance(1_000);
    await refusalOf(exchange(requestOf("cat")));
    expect(entra.requests).toHaveLength(4);
  });

  test.each<[sentence: string, payload: object | string, shown: object]>([
    [
      "an assertion",
      {
        iss: "https://issuer.example.test/",
        sub: "system:serviceaccount:a:b",
        aud: ["api://AzureADTokenExchange"],
      },
      {
        assertion_iss: "https://issuer.example.test/",
        assertion_sub: "system:serviceaccount:a:b",
        assertion_aud: "api://AzureADTokenExchange",
      },
    ],
    ["an assertion of odd claims", { iss: "a\nb", sub: 1, aud: "x".repeat(300) }, {}],
    ["something that is no assertion", "not json", {}],
  ])("when it matches no registration shows what was presented: %s", async (_, payload, shown) => {
    const encoded = Buffer.from(typeof payload === "string" ? payload : JSON.stringify(payload)).toString(
      "base64url",
    );
    const clientAssertion = new Secret(`header.${encoded}.signature`);
    entra.respond(() => entraError("invalid_client", 700213));
    const { exchange } = exchangeWith(entra, {
      credential: {
        source: "workload-identity",
        authenticate: async () => ({ method: "client_assertion", clientAssertion }),
      },
    });
    const { diagnostics = {} } = await refusalOf(exchange(requestOf("ann")));
    expect(
      Object.fromEntries(Object.entries(diagnostics).filter(([name]) => name.startsWith("assertion_"))),
    ).toEqual(shown);
    expect(JSON.stringify(diagnostics)).not.toContain("signature");
  });

  test("is not blamed for refusals of the registration", async () => {
    entra.respond(() => entraError("unauthorized_client", 7000112));
    const { credential, blamed } = ring("a", "b");
    const { exchange } = exchangeWith(entra, { credential });
    await refusalOf(exchange(requestOf("ann")));
    expect(blamed).toHaveLength(0);
  });

  test("when it has nothing to offer says so itself", async () => {
    const error = new GatewayError("credential_unavailable", { detail: "No proof." });
    const credential: ClientCredential = { source: "certificate", authenticate: () => Promise.reject(error) };
    const { exchange } = exchangeWith(entra, { credential });
    expect(await refusalOf(exchange(requestOf("ann")))).toBe(error);
    expect(entra.requests).toHaveLength(0);
  });

  test.each<[sentence: string, authenticate: ClientCredential["authenticate"], reason: string]>([
    ["breaks", () => Promise.reject(new Error("broken")), "unexpected"],
    ["never answers", () => new Promise(() => {}), "timeout"],
  ])("that %s is unavailable", async (_, authenticate, reason) => {
    const { exchange } = exchangeWith(entra, {
      credential: { source: "certificate", authenticate },
      timeoutMs: 50,
    });
    const refusal = await refusalOf(exchange(requestOf("ann")));
    expect([refusal.code, refusal.reason]).toEqual(["credential_unavailable", reason]);
  });
});

describe("a host's clock that is set", () => {
  test.each([120_000, -120_000])("by %d ms during an exchange neither ends nor prolongs it", async (ms) => {
    const { exchange, clock } = exchangeWith(entra);
    entra.respond((request, count) => {
      if (count > 1) return granted(request, count);
      clock.advance(ms);
      return { status: 503, body: {} };
    });
    expect((await exchange(requestOf("ann"))).origin).toBe("authority");
    expect(entra.requests).toHaveLength(2);
  });

  test("back does not make a hold of a minute one of three", async () => {
    entra.respond(refusing({ ann: throttled }));
    const { exchange, clock } = exchangeWith(entra);
    await refusalOf(exchange(requestOf("ann")));
    clock.advance(-120_000);
    await refusalOf(exchange(requestOf("ann")));
    expect(askedFor("ann")).toBe(1);
    entra.respond(granted);
    clock.advance(60_000);
    expect((await exchange(requestOf("ann"))).origin).toBe("authority");
  });

  test("back does not hold a tenant back for longer than it was to be", async () => {
    const users = ["ann", "bob", "cat", "dan"];
    entra.respond(refusing(Object.fromEntries(users.map((user) => [user, throttled]))));
    const { exchange, clock } = exchangeWith(entra);
    for (const user of users) await refusalOf(exchange(requestOf(user)));
    expect((await refusalOf(exchange(requestOf("eve")))).code).toBe("authority_throttled");
    entra.respond(granted);
    clock.advance(-120_000);
    await refusalOf(exchange(requestOf("eve")));
    clock.advance(2_000);
    // The probe that is due a second after the hold began.
    expect((await exchange(requestOf("eve"))).origin).toBe("authority");
    expect((await exchange(requestOf("fay"))).origin).toBe("authority");
  });
});
