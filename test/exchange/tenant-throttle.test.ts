/** The throttle of a whole tenant, and the holds of users, by themselves: `src/exchange/failure-domains.ts`. */

import { beforeEach, describe, expect, test } from "@jest/globals";
import { GatewayError } from "../../src/errors.ts";
import type { FailureDomain, Refusal } from "../../src/exchange/entra/refusals.ts";
import {
  createFailureDomains,
  createTenantThrottle,
  type ExchangeSubject,
  type FailureDomains,
  type TenantThrottle,
} from "../../src/exchange/failure-domains.ts";

let now: number;
let throttle: TenantThrottle;
beforeEach(() => {
  now = 1_000_000;
  throttle = createTenantThrottle(() => now);
});

const limit = (users: readonly string[], holdMs = 10_000, tenant = "t") => {
  for (const user of users) throttle.throttled(tenant, user, holdMs, false);
};
const serve = (users: readonly string[], sentAt = now) => {
  for (const user of users) throttle.answered("t", user, sentAt);
};
const held = (tenant = "t") => throttle.heldUntil(tenant);
const many = (count: number, name = "u") => Array.from({ length: count }, (_, index) => `${name}${index}`);

describe("a tenant", () => {
  test("that nobody asked for is not held", () => {
    expect(held()).toBeUndefined();
  });

  test("is held when three of its users are limited at once, and only it", () => {
    limit(["a", "b"]);
    expect(held()).toBeUndefined();
    limit(["b"]);
    expect(held()).toBeUndefined();
    limit(["c"]);
    expect(held()).toBe(now + 1_000);
    expect(held("other")).toBeUndefined();
  });

  test("is held when half of those who asked of late are limited, and not when fewer are", () => {
    serve(["s1", "s2", "s3", "s4"]);
    limit(["a", "b", "c"]);
    expect(held()).toBeUndefined();
    limit(["d"]);
    expect(held()).toBe(now + 1_000);
  });

  test("is held at once when Entra says that its limit was reached", () => {
    serve(many(20, "s"));
    throttle.throttled("t", "a", 5_000, true);
    expect(held()).toBe(now + 1_000);
  });

  test("counts a user as served for a minute, and as limited for the time that Entra named", () => {
    serve(["s1", "s2", "s3", "s4"]);
    now += 59_999;
    limit(["a", "b", "c"], 500);
    expect(held()).toBeUndefined();
    now += 1;
    limit(["c"], 500);
    expect(held()).toBeDefined();

    throttle = createTenantThrottle(() => now);
    limit(["a", "b"], 500);
    now += 500;
    limit(["c"], 500);
    expect(held()).toBeUndefined();
    limit(["a", "b"], 500);
    expect(held()).toBeDefined();
  });

  test("counts a user as what Entra said last", () => {
    limit(["a", "b"]);
    serve(["a"]);
    limit(["c"]);
    expect(held()).toBeUndefined();
    limit(["a"]);
    expect(held()).toBeDefined();

    throttle = createTenantThrottle(() => now);
    serve(["a", "b", "c", "d"]);
    // Of four who were served, three are limited now: three of four users, and not three of seven.
    limit(["a", "b", "c"]);
    expect(held()).toBeDefined();
  });

  test("lets one request pass after a second, and the next ones after pauses that double up to half a minute", () => {
    throttle.throttled("t", "a", 300_000, true);
    const began = now;
    const passed: number[] = [];
    for (; now < began + 200_000; now += 500) if (held() === undefined) passed.push((now - began) / 1000);
    expect(passed).toEqual([1, 3, 7, 15, 31, 61, 91, 121, 151, 181]);
  });

  test("says until when it is held: the next probe, or the end where that comes first", () => {
    throttle.throttled("t", "a", 400, true);
    expect(held()).toBe(now + 400);
    now += 400;
    expect(held()).toBeUndefined();
    throttle.throttled("t", "a", 10_000, true);
    expect(held()).toBe(now + 1_000);
    now += 1_000;
    expect(held()).toBeUndefined();
    expect(held()).toBe(now + 2_000);
  });

  test("is held for the longest time that was named, and a later hold begins its probes anew", () => {
    throttle.throttled("t", "a", 20_000, true);
    throttle.throttled("t", "b", 5_000, true);
    const began = now;
    now = began + 19_999;
    expect(held()).toBeUndefined();
    expect(held()).toBe(began + 20_000);
    now = began + 20_000;
    throttle.throttled("t", "a", 20_000, true);
    expect(held()).toBe(now + 1_000);
    now += 1_000;
    expect(held()).toBeUndefined();
    expect(held()).toBe(now + 2_000);
  });

  test("is free again when a probe is answered, and nobody counts as limited from then on", () => {
    limit(["a", "b", "c"]);
    now += 1_000;
    serve(["a"]);
    expect(held()).toBeUndefined();
    limit(["d", "e"]);
    expect(held()).toBeUndefined();
  });

  test("is not freed by an answer to a request that was sent before the hold", () => {
    const before = now;
    now += 100;
    limit(["a", "b", "c"]);
    throttle.answered("t", "d", before);
    expect(held()).toBeDefined();
    throttle.answered("t", "d", before + 100);
    expect(held()).toBeUndefined();
  });

  test("keeps its limited users when an answer comes after the hold is over", () => {
    limit(["a", "b", "c"], 500);
    limit(["x", "y"], 60_000);
    now += 60_000;
    serve(["z"]);
    limit(["c", "d"], 500);
    expect(held()).toBeUndefined();

    throttle = createTenantThrottle(() => now);
    limit(["a", "b"], 60_000);
    limit(["c"], 500);
    // The very end of the hold is after it.
    now += 500;
    serve(["z"]);
    limit(["d"], 500);
    expect(held()).toBeDefined();
  });

  test("gives the places of users whose time is over to others, at the very end of that time", () => {
    limit(["a", "b"], 60_000);
    limit(many(62), 500);
    now += 500;
    limit(["c"], 500);
    // Three are limited still, of whom two were the first.
    expect(held()).toBeDefined();
  });

  test("is one of the thousand that were limited last", () => {
    for (const tenant of many(1_000, "t")) throttle.throttled(tenant, "a", 10_000, true);
    expect(held("t0")).toBeDefined();
    throttle.throttled("one more", "a", 10_000, true);
    expect([held("t0"), held("t1")]).toEqual([undefined, now + 1_000]);
  });

  test("remembers the latest 64 users of each kind", () => {
    serve(many(64, "s"));
    // The oldest of those who were served go as new ones come, so their number stays 64; it does when one comes again.
    serve(many(30, "more"));
    serve(Array(40).fill("more29"));
    limit(many(63));
    expect(held()).toBeUndefined();
    limit(["last"]);
    expect(held()).toBeDefined();
  });
});

describe("what is remembered of refusals", () => {
  let domains: FailureDomains;
  beforeEach(() => {
    domains = createFailureDomains({ refusalMs: 30_000, now: () => now });
  });

  const subject = (over: Partial<ExchangeSubject> = {}, user = "ann"): ExchangeSubject => ({
    keys: {
      token: `token of ${user}`,
      group: "group",
      user,
      userAndScopes: `${user} scopes`,
      assertion: `assertion of ${user}`,
    } as ExchangeSubject["keys"],
    tenantId: "t",
    claims: undefined,
    assertionExpiresAt: now + 3_600_000,
    ...over,
  });
  const refusal = (domain: FailureDomain, retryAfterSeconds?: number, claims?: string): Refusal => ({
    error: new GatewayError(
      domain === "tenant" || domain === "user" ? "authority_throttled" : "interaction_required",
      {
        detail: "The detail.",
        reason: "the_reason",
        diagnostics: { error: "e" },
        ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
        ...(claims !== undefined && { claims }),
      },
    ) as Refusal["error"],
    domain,
    transient: false,
    forgetUser: false,
  });

  test("a request's refusal stands for the same request for its time, and not with claims", () => {
    const refused = refusal("request");
    domains.learn(refused, subject(), "proof");
    now += 29_999;
    expect(domains.recall(subject())).toBe(refused.error);
    expect(domains.recall(subject({ claims: "{}" }))).toBeUndefined();
    expect(domains.recall(subject({}, "bob"))).toBeUndefined();
    now += 1;
    expect(domains.recall(subject())).toBeUndefined();
    domains.learn(refused, subject({ claims: "{}" }), "proof");
    expect(domains.recall(subject())).toBeUndefined();
  });

  test("a refusal stands for what it speaks of, and for nothing else", () => {
    const proof = () => domains.recallCredential(subject(), "proof");
    domains.learn(refusal("request", 20), subject(), "proof");
    expect([domains.recallEnded(subject()), proof()]).toEqual([undefined, undefined]);
    const ofSession = createFailureDomains({ refusalMs: 30_000, now: () => now });
    ofSession.learn(refusal("session", 20), subject(), "proof");
    expect(ofSession.recall(subject())).toBeUndefined();
    for (const domain of ["user", "tenant"] as const) domains.learn(refusal(domain, 20), subject(), "proof");
    expect(proof()).toBeUndefined();
    const ofScopes = createFailureDomains({ refusalMs: 30_000, now: () => now });
    ofScopes.learn(refusal("scopes", 20), subject(), "proof");
    const others = { ...subject().keys, userAndScopes: "ann other scopes" };
    expect(ofScopes.recall(subject({ keys: others }))).toBeUndefined();
  });

  test("a refusal without a time of its own does not end the hold before it", () => {
    domains.learn(refusal("scopes", 20), subject(), "proof");
    domains.learn(refusal("scopes"), subject(), "proof");
    expect(domains.recall(subject())).toMatchObject({ retryAfterSeconds: 20 });
  });

  test("a millisecond is a time for which a refusal stands", () => {
    domains = createFailureDomains({ refusalMs: 1, now: () => now });
    for (const domain of ["request", "session"] as const)
      domains.learn(refusal(domain), subject({ assertionExpiresAt: now + 1 }), "proof");
    expect([domains.recall(subject()), domains.recallEnded(subject())]).toEqual([
      expect.any(GatewayError),
      expect.any(GatewayError),
    ]);
    now += 1;
    expect([domains.recall(subject()), domains.recallEnded(subject())]).toEqual([undefined, undefined]);
  });

  test("nothing of a user stands where no time is configured", () => {
    domains = createFailureDomains({ refusalMs: 0, now: () => now });
    for (const domain of ["request", "session"] as const) domains.learn(refusal(domain), subject(), "proof");
    expect([domains.recall(subject()), domains.recallEnded(subject())]).toEqual([undefined, undefined]);
  });

  test("the end of a session stands until the assertion ends, and takes the claims of the API along", () => {
    const refused = refusal("session");
    domains.learn(refused, subject(), "proof");
    now += 3_599_999;
    expect(domains.recallEnded(subject())).toBe(refused.error);
    now += 1;
    expect(domains.recallEnded(subject())).toBeUndefined();

    domains.learn(refused, subject({ claims: '{"a":{}}' }), "proof");
    const ended = domains.recallEnded(subject());
    expect(ended).toMatchObject({
      code: "claims_challenged",
      claims: '{"a":{}}',
      detail: "The detail.",
      reason: "the_reason",
      diagnostics: { error: "e" },
      cause: refused.error,
    });
    const named = refusal("session", undefined, '{"b":{}}');
    domains.learn(named, subject({ claims: '{"a":{}}' }), "proof");
    expect(domains.recallEnded(subject())).toBe(named.error);
  });

  test("the end of a session without an end of the assertion is not kept", () => {
    domains.learn(refusal("session"), subject({ assertionExpiresAt: Number.POSITIVE_INFINITY }), "proof");
    expect(domains.recallEnded(subject())).toBeUndefined();
  });

  test.each([
    ["user", { keys: { ...subject().keys, userAndScopes: "others", token: "other" } }],
    ["scopes", { keys: { ...subject().keys, user: "none", token: "other" } }],
  ] as const)(
    "a %s is held for the time that Entra named, with the rest of it as the pause",
    (domain, same) => {
      domains.learn(refusal(domain, 20), subject(), "proof");
      now += 4_500;
      const again = domains.recall(subject(same));
      expect(again).toMatchObject({
        code: domain === "user" ? "authority_throttled" : "interaction_required",
        detail: "The detail.",
        reason: "held_back",
        retryAfterSeconds: 16,
        diagnostics: { error: "e" },
      });
      now += 15_499;
      expect(domains.recall(subject(same))?.retryAfterSeconds).toBe(1);
      now += 1;
      expect(domains.recall(subject(same))).toBeUndefined();
    },
  );

  test("nobody is held for longer than five minutes, and nobody where no time was named", () => {
    domains.learn(refusal("user", 3_600), subject(), "proof");
    now += 299_999;
    expect(domains.recall(subject())).toBeDefined();
    now += 1;
    expect(domains.recall(subject())).toBeUndefined();
    domains.learn(refusal("scopes"), subject(), "proof");
    expect(domains.recall(subject())).toBeUndefined();
  });

  test("a proof is held for a second in its tenant", () => {
    const refused = refusal("credential");
    domains.learn(refused, subject(), "proof");
    now += 999;
    expect(domains.recallCredential(subject({}, "bob"), "proof")).toBe(refused.error);
    expect(domains.recallCredential(subject(), "other proof")).toBeUndefined();
    expect(domains.recallCredential(subject({ tenantId: "other" }), "proof")).toBeUndefined();
    expect(domains.recall(subject())).toBeUndefined();
    now += 1;
    expect(domains.recallCredential(subject(), "proof")).toBeUndefined();
  });

  test("a refusal that speaks for nothing later is not kept", () => {
    domains.learn(refusal("none", 20), subject(), "proof");
    expect(domains.recall(subject())).toBeUndefined();
  });

  test("a tenant whose limit was reached is held for all its users, with the rest of the time as the pause", () => {
    domains.learn(refusal("tenant", 20), subject(), "proof");
    now += 400;
    expect(domains.recall(subject({}, "bob"))).toMatchObject({
      code: "authority_throttled",
      reason: "held_back",
      retryAfterSeconds: 1,
      detail: "The identity provider is limiting requests of the user's organisation at the moment.",
    });
    expect(domains.recall(subject({ tenantId: "other" }, "bob"))).toBeUndefined();
    domains.answered(subject({}, "bob"), now);
    expect(domains.recall(subject({}, "cid"))).toBeUndefined();
  });

  test.each([
    [20, 20_000],
    [3_600, 300_000],
  ])(
    "a tenant's hold of %i seconds ends after %i ms, though no request was answered meanwhile",
    (seconds, ms) => {
      domains.learn(refusal("tenant", seconds), subject(), "proof");
      now += ms - 1;
      // One request passes as a probe.
      domains.recall(subject({}, "bob"));
      expect(domains.recall(subject({}, "bob"))).toBeDefined();
      now += 1;
      for (const user of ["bob", "cid"]) expect(domains.recall(subject({}, user))).toBeUndefined();
    },
  );

  test("three users who are limited hold their tenant", () => {
    for (const user of ["ann", "bob"]) domains.learn(refusal("user", 20), subject({}, user), "proof");
    expect(domains.recall(subject({}, "dan"))).toBeUndefined();
    domains.learn(refusal("user", 20), subject({}, "cid"), "proof");
    expect(domains.recall(subject({}, "dan"))).toMatchObject({ reason: "held_back" });
  });
});
