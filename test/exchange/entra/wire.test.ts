import { inspect } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { ClientCredential } from "../../../src/credential/contract.ts";
import type { DelegatedSubject, Renewal } from "../../../src/exchange/contract.ts";
import { Secret } from "../../../src/foundation/secret.ts";
import {
  type Answer,
  assertionOf,
  CLAIMS,
  CLIENT,
  entraError,
  exchangeWith,
  type FakeEntra,
  FOREIGN,
  granted,
  HOME,
  HOST,
  refusalOf,
  requestOf,
  startFakeEntra,
} from "../fake-entra.ts";

let entra: FakeEntra;
beforeEach(async () => {
  entra = await startFakeEntra();
});
afterEach(() => entra.close());

const assertionCredential: ClientCredential = {
  source: "workload-identity",
  authenticate: async ({ clientId, tokenEndpoint }) => ({
    method: "client_assertion",
    clientAssertion: new Secret(`proof ${clientId} ${tokenEndpoint}`),
  }),
};

describe("the request to Entra", () => {
  test("is one on-behalf-of grant to the token endpoint of the assertion's tenant", async () => {
    const { exchange } = exchangeWith(entra);
    await exchange(requestOf("ann", { assertion: assertionOf("ann", { tenantId: FOREIGN }) }));
    expect(entra.urls).toHaveLength(1);
    const { method, path, query, form, headers } = entra.requests[0] ?? {};
    expect([method, path]).toEqual(["POST", `/${FOREIGN}/oauth2/v2.0/token`]);
    expect(headers?.["content-type"]).toBe("application/x-www-form-urlencoded;charset=utf-8");
    expect(query?.get("client-request-id")).toBe("correlation-of-ann");
    expect(Object.fromEntries(form ?? [])).toMatchObject({
      grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer",
      requested_token_use: "on_behalf_of",
      client_id: CLIENT,
      client_secret: "the-client-secret",
      assertion: "assertion-of-ann-1",
      scope: "https://graph.microsoft.com/.default openid profile offline_access",
    });
  });

  test("proves the gateway's identity with an assertion for that tenant's token endpoint", async () => {
    const { exchange } = exchangeWith(entra, { credential: assertionCredential });
    await exchange(requestOf("ann", { assertion: assertionOf("ann", { tenantId: FOREIGN }) }));
    const form = Object.fromEntries(entra.requests[0]?.form ?? []);
    expect(form).toMatchObject({
      client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
      client_assertion: `proof ${CLIENT} ${HOST}${FOREIGN}/oauth2/v2.0/token`,
    });
    expect(form).not.toHaveProperty("client_secret");
  });

  test("declares cp1, and merges it with the claims of a challenge", async () => {
    const { exchange } = exchangeWith(entra);
    await exchange(requestOf("ann"));
    await exchange(requestOf("ann", { claims: CLAIMS }));
    const [plain, challenged] = entra.requests.map(
      ({ form }) => JSON.parse(form.get("claims") ?? "") as object,
    );
    expect(plain).toMatchObject({ access_token: { xms_cc: { values: ["cp1"] } } });
    expect(challenged).toMatchObject({
      access_token: { xms_cc: { values: ["cp1"] }, nbf: { essential: true, value: "1768478400" } },
    });
  });

  test.each([
    ["a host with a port", "https://login.example.test:8443/"],
    ["an alias of the public cloud", "https://login.windows.net/"],
    ["a sovereign cloud", "https://login.microsoftonline.us/"],
    ["a host nobody knows", "https://sts.internal.example/"],
  ])("needs no discovery and keeps its host: %s", async (_, authorityHost) => {
    const { exchange } = exchangeWith(entra, {
      authorityHost,
      tokenEndpoint: (tenantId) => `${authorityHost}${tenantId}/oauth2/v2.0/token`,
      authorizeEndpoint: (tenantId) => `${authorityHost}${tenantId}/oauth2/v2.0/authorize`,
    });
    await exchange(requestOf("ann"));
    expect(entra.urls).toEqual([
      `${authorityHost}${HOME}/oauth2/v2.0/token?client-request-id=correlation-of-ann`,
    ]);
  });

  test("may go to a token endpoint of any scheme and port, as an emulator has", async () => {
    const { exchange } = exchangeWith(entra, {
      tokenEndpoint: (tenantId) => `http://127.0.0.1:9/${tenantId}/oauth2/v2.0/token`,
    });
    await exchange(requestOf("ann"));
    expect(entra.urls[0]).toMatch(/^http:\/\/127\.0\.0\.1:9\//);
  });

  test.each([
    [HOST, "westeurope.login.microsoft.com"],
    ["https://login.microsoftonline.us/", "westeurope.login.microsoftonline.us"],
  ])(
    "goes to the region that is configured, with a proof for the global endpoint: %s",
    async (authorityHost, host) => {
      const { exchange } = exchangeWith(entra, {
        credential: assertionCredential,
        authorityHost,
        tokenEndpoint: (tenantId) => `${authorityHost}${tenantId}/oauth2/v2.0/token`,
        regionalAuthority: "westeurope",
      });
      await exchange(requestOf("ann"));
      expect(new URL(entra.urls[0] ?? "").host).toBe(host);
      expect(entra.requests[0]?.form.get("client_assertion")).toContain(`${authorityHost}${HOME}/`);
    },
  );

  test("that MSAL will not phrase ends in an error of the gateway's own", async () => {
    const empty: ClientCredential = {
      source: "client-secret",
      authenticate: async () => ({ method: "client_secret", clientSecret: new Secret("") }),
    };
    const { exchange } = exchangeWith(entra, { credential: empty });
    const refusal = await refusalOf(exchange(requestOf("ann")));
    expect([refusal.code, refusal.reason]).toEqual(["internal", "request_not_formed"]);
    expect(refusal.diagnostics).toEqual({ error: "invalid_client_credential" });
    expect(entra.urls).toHaveLength(0);
  });

  test("does not touch the caller's request object", async () => {
    const { exchange } = exchangeWith(entra);
    const request = Object.freeze(requestOf("ann"));
    const before = inspect(request, { depth: 5 });
    await exchange(request);
    expect(inspect(request, { depth: 5 })).toBe(before);
  });
});

describe("an answer that does not come whole", () => {
  test("a stall before the headers ends at the deadline", async () => {
    entra.respond(() => () => {});
    const { exchange } = exchangeWith(entra, { timeoutMs: 60, now: Date.now });
    const refusal = await refusalOf(
      exchange(requestOf("ann", { assertion: assertionOf("ann", { expiresAt: 9e15 }) })),
    );
    expect([refusal.code, refusal.reason]).toEqual(["authority_timeout", "timeout"]);
  });

  test("a stall amid the body ends at the deadline", async () => {
    entra.respond(() => (response) => response.writeHead(200).write('{"token_type":"Bearer",'));
    const { exchange } = exchangeWith(entra, { timeoutMs: 60, now: Date.now });
    const refusal = await refusalOf(
      exchange(requestOf("ann", { assertion: assertionOf("ann", { expiresAt: 9e15 }) })),
    );
    expect(refusal.code).toBe("authority_timeout");
  });

  test("one attempt may be shorter than the exchange, and then is repeated", async () => {
    entra.respond((request, count) => (count === 1 ? () => {} : granted(request, count)));
    const { exchange, events } = exchangeWith(entra, { attemptTimeoutMs: 60 });
    expect((await exchange(requestOf("ann"))).origin).toBe("authority");
    expect(events).toContainEqual({ type: "retried", tenantId: HOME, cause: "transient" });
  });

  test("a connection cut amid the body is an outage", async () => {
    entra.respond(() => (response) => {
      response.writeHead(200, { "content-length": "100" }).write('{"token_type":');
      setTimeout(() => response.destroy(), 5);
    });
    const { exchange } = exchangeWith(entra);
    const refusal = await refusalOf(exchange(requestOf("ann")));
    expect([refusal.code, refusal.reason]).toEqual(["authority_unavailable", "network"]);
    expect(entra.requests).toHaveLength(2);
  });

  test("a cut-off JSON text is an outage", async () => {
    entra.respond(() => ({ body: '{"token_type":"Bearer","expires_in":3600,"access_tok' }));
    const { exchange } = exchangeWith(entra);
    expect((await refusalOf(exchange(requestOf("ann")))).code).toBe("authority_unavailable");
  });

  test("a body without end is not read to its end", async () => {
    let closed = false;
    entra.respond(() => (response) => {
      response.on("close", () => {
        closed = true;
      });
      response.writeHead(200);
      const more = () => {
        while (!closed && response.write("x".repeat(65_536)));
      };
      response.on("drain", more);
      more();
    });
    const { exchange } = exchangeWith(entra);
    const refusal = await refusalOf(exchange(requestOf("ann")));
    expect([refusal.code, refusal.reason]).toEqual(["authority_unavailable", "too_large"]);
    while (!closed) await new Promise((resolve) => setTimeout(resolve, 5));
  });

  test("a host that refuses connections is an outage, tried once more", async () => {
    await entra.close();
    const { exchange } = exchangeWith(entra);
    const refusal = await refusalOf(exchange(requestOf("ann")));
    expect([refusal.code, refusal.reason]).toEqual(["authority_unavailable", "network"]);
    expect(entra.urls).toHaveLength(2);
    expect(inspect(refusal, { depth: 10 })).not.toMatch(/assertion-of|the-client-secret/);
  });

  test("a redirect is not followed", async () => {
    entra.respond(() => ({
      status: 307,
      headers: { location: "https://elsewhere.example.test/" },
      body: "",
    }));
    const { exchange } = exchangeWith(entra);
    expect((await refusalOf(exchange(requestOf("ann")))).code).toBe("authority_unavailable");
    expect(entra.urls).toHaveLength(1);
  });
});

describe("a delegation", () => {
  /** As the delegations room makes one, around these refresh tokens. */
  const delegated = (...refreshTokens: readonly string[]) => {
    const kept: (string | undefined)[] = [];
    const renewal: Renewal = {
      async renew(redeem) {
        let refusal: unknown;
        for (const token of refreshTokens) {
          const granted = await redeem(new Secret(token)).catch((error: unknown) => {
            refusal = error;
          });
          if (granted === undefined) continue;
          kept.push(granted.refreshToken?.reveal());
          return granted;
        }
        throw refusal;
      },
    };
    return { assertion: { ...assertionOf("ann"), renewal } satisfies DelegatedSubject, kept };
  };

  test("begins with the refresh token of an exchange, which is asked for each time and kept nowhere else", async () => {
    entra.respond((request, count) => granted(request, count, { refresh_token: `refresh ${count}` }));
    const { grantOffline, exchange } = exchangeWith(entra);
    const ordinary = await exchange(requestOf("ann"));
    expect(inspect(ordinary, { depth: 9 })).not.toContain("refresh");
    expect((await grantOffline(requestOf("ann"))).reveal()).toBe("refresh 2");
    const both = await Promise.all([grantOffline(requestOf("ann")), grantOffline(requestOf("ann"))]);
    expect(new Set(both.map((token) => token.reveal())).size).toBe(2);
    expect(entra.requests.map(({ form }) => form.get("assertion"))).toEqual(
      Array(4).fill("assertion-of-ann-1"),
    );
  });

  test.each([undefined, "", 7, "line\nbreak", "x".repeat(16_385)])(
    "does not begin where Entra gives none that could be kept (%p)",
    async (token) => {
      entra.respond((request, count) => granted(request, count, { refresh_token: token }));
      const { grantOffline } = exchangeWith(entra);
      expect(await refusalOf(grantOffline(requestOf("ann")))).toMatchObject({
        code: "downstream_misconfigured",
        reason: "refresh_token_absent",
      });
    },
  );

  test("goes on by the refresh grant, with the gateway's proof, in the user's tenant", async () => {
    const { assertion, kept } = delegated("the-refresh-token");
    entra.respond((request, count) => granted(request, count, { refresh_token: "the-next" }));
    const { exchange, events } = exchangeWith(entra, { credential: assertionCredential });
    const { token, origin } = await exchange(requestOf("ann", { assertion }));
    expect([origin, kept]).toEqual(["authority", ["the-next"]]);
    expect(inspect(token, { depth: 9 })).not.toContain("the-next");
    const { form, path } = entra.requests[0] ?? {};
    expect(path).toBe(`/${HOME}/oauth2/v2.0/token`);
    expect(Object.fromEntries(form ?? [])).toMatchObject({
      grant_type: "refresh_token",
      refresh_token: "the-refresh-token",
      client_id: CLIENT,
      client_assertion: `proof ${CLIENT} ${HOST}${HOME}/oauth2/v2.0/token`,
      scope: "https://graph.microsoft.com/.default openid profile offline_access",
    });
    expect(form?.get("claims")).toContain("cp1");
    expect([form?.has("assertion"), form?.has("requested_token_use")]).toEqual([false, false]);
    expect(events).toContainEqual(
      expect.objectContaining({ facts: expect.objectContaining({ grant: "refresh_token" }) }),
    );
  });

  test("takes claims of the API along, as an exchange does", async () => {
    const { exchange } = exchangeWith(entra);
    await exchange(requestOf("ann", { assertion: delegated("one").assertion, claims: CLAIMS }));
    expect(JSON.parse(entra.requests[0]?.form.get("claims") ?? "")).toMatchObject(JSON.parse(CLAIMS));
  });

  test.each<[string, Answer, string, boolean]>([
    [
      "a revoked session",
      entraError("invalid_grant", 50173, { suberror: "bad_token" }),
      "delegation_ended",
      true,
    ],
    ["ninety idle days", entraError("invalid_grant", 700082), "delegation_ended", true],
    ["a single-page application's day", entraError("invalid_grant", 700084), "delegation_ended", true],
    ["a sign-in that is too old", entraError("invalid_grant", 70043), "delegation_ended", true],
    ["a grant that is unknown", entraError("invalid_grant", 70000), "delegation_ended", true],
    ["an invalid_grant of an unknown number", entraError("invalid_grant", 999999), "delegation_ended", true],
    [
      "a bad token of an unknown number",
      entraError("invalid_grant", 999999, { suberror: "bad_token" }),
      "delegation_ended",
      true,
    ],
    [
      "an assertion's refusal, which no number should bring",
      entraError("invalid_grant", 50013),
      "delegation_ended",
      true,
    ],
    [
      "claims, whatever the number",
      entraError("invalid_grant", 50173, { claims: CLAIMS }),
      "claims_challenged",
      false,
    ],
    [
      "a second factor",
      entraError("interaction_required", 50076, { claims: CLAIMS }),
      "claims_challenged",
      false,
    ],
    [
      "a second factor without claims",
      entraError("invalid_grant", 50076, { suberror: "basic_action" }),
      "interaction_required",
      false,
    ],
    [
      "missing consent",
      entraError("invalid_grant", 65001, { suberror: "consent_required" }),
      "consent_required",
      false,
    ],
    [
      "a policy",
      entraError("invalid_grant", 53003, { suberror: "message_only" }),
      "blocked_by_policy",
      false,
    ],
    ["a disabled account", entraError("invalid_grant", 50057), "blocked_by_policy", false],
    ["a lost assignment", entraError("invalid_grant", 50105), "not_assigned", false],
    ["the gateway's proof", entraError("invalid_client", 700027), "client_rejected", false],
    ["a busy Entra", { status: 500, body: "" }, "authority_unavailable", false],
    ["throttling", { status: 429, body: "" }, "authority_throttled", false],
  ])("%s: whether another refresh token is tried, and its code", async (_, answer, code, triesNext) => {
    entra.respond((request, count) =>
      request.form.get("refresh_token") === "one" ? answer : granted(request, count),
    );
    const { exchange } = exchangeWith(entra);
    const alone = await refusalOf(exchange(requestOf("ann", { assertion: delegated("one").assertion })));
    expect(alone.code).toBe(code);
    if (!triesNext) return;
    // Nothing of an ended refresh token is remembered: the next one of the same delegation serves at once.
    const next = await exchange(requestOf("ann", { assertion: delegated("one", "two").assertion }));
    expect(next.origin).toBe("authority");
  });
});
