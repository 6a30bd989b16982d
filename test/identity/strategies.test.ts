import { expect, test } from "@jest/globals";
import passport from "passport";
import BearerStrategy from "passport-azure-ad/lib/bearerstrategy.js";
import { GatewayError } from "../../src/errors.ts";
import { createJoseStrategy } from "../../src/identity/jose.ts";
import { createPassportAzureAdStrategy } from "../../src/identity/passport-azure-ad.ts";
import { tokenRejected } from "../../src/identity/rejection.ts";
import { refuse, type StrategyOptions, standInRequest, tokenOf } from "../../src/identity/strategy.ts";
import { API, generateKey, sign, TENANT, userClaims } from "./fake-authority.ts";

const key = generateKey("key-1");
const token = sign(key, userClaims({ oid: "user-0" }));

function optionsWith(more: Partial<StrategyOptions> = {}): StrategyOptions {
  return {
    admit: async (admitted) => {
      if (admitted !== token) throw tokenRejected("malformed");
      return { key: key.publicKey, issuer: `https://login.microsoftonline.com/${TENANT}/v2.0` };
    },
    principalOf: (claims) => ({ objectId: claims.oid }) as never,
    audiences: [API],
    clockToleranceSeconds: 60,
    now: Date.now,
    ...more,
  };
}

type Run = (request: object, response: undefined, next: (error: unknown) => void) => void;

/** As an Express app would: resolves to the user, rejects with the error or the refusal. */
function authenticate(request: object, strategy: passport.Strategy, byName = true): Promise<unknown> {
  const authenticator = new passport.Passport();
  authenticator.use("by-name", strategy);
  return new Promise((resolve, reject) => {
    const run: Run = authenticator.authenticate(
      byName ? "by-name" : strategy,
      { session: false },
      (error: unknown, user?: unknown, refusal?: unknown) =>
        user ? resolve(user) : reject(error ?? refusal),
    );
    run(request, undefined, reject);
  });
}

const good = () => ({ headers: { authorization: `Bearer ${token}` } });

const STRATEGIES = [
  ["passport-azure-ad", createPassportAzureAdStrategy],
  ["jose", createJoseStrategy],
] as const;

test.each(STRATEGIES)("%s sees a token in the header and nowhere else", async (_name, createStrategy) => {
  const strategy = createStrategy(optionsWith());
  const elsewhere = {
    query: { access_token: token },
    body: { access_token: token },
    cookies: { access_token: token },
  };
  await expect(authenticate({ headers: {}, ...elsewhere }, strategy)).rejects.toMatchObject({
    reason: "malformed",
  });
  // Beside a good header the same things are not even looked at.
  await expect(authenticate({ ...good(), ...elsewhere }, strategy)).resolves.toEqual({ objectId: "user-0" });
  const hostile = { access_token: { toString: null } };
  await expect(authenticate({ ...good(), body: hostile, query: hostile }, strategy)).resolves.toEqual({
    objectId: "user-0",
  });
});

test.each(STRATEGIES)("%s refuses to be shared by concurrent requests", async (_name, createStrategy) => {
  await expect(authenticate(good(), createStrategy(optionsWith()), false)).rejects.toThrow("by its name");
});

test("a request without the field has no token", () => {
  expect([tokenOf({ headers: {} }), tokenOf(standInRequest("a.b.c"))]).toEqual(["", "a.b.c"]);
});

test("a defect is refused with itself as the cause, and a failure of the authority is no refusal", () => {
  const ended: [string, unknown][] = [];
  const strategy = {
    fail: (challenge: object) => ended.push(["fail", challenge]),
    error: (error: unknown) => ended.push(["error", error]),
  };
  const defect = new TypeError("a defect");
  const rejected = tokenRejected("expired");
  const unavailable = new GatewayError("key_set_unavailable", { detail: "d" });
  for (const refusal of [defect, rejected, unavailable]) refuse(strategy, refusal);
  expect(ended).toEqual([
    ["fail", expect.objectContaining({ code: "token_rejected", reason: "internal" })],
    ["fail", rejected],
    ["error", unavailable],
  ]);
  expect(ended[0]?.[1]).toHaveProperty("cause", defect);
});

test.each(STRATEGIES)("%s survives a mapping of claims that throws", async (_name, createStrategy) => {
  const strategy = createStrategy(
    optionsWith({
      principalOf: () => {
        throw new TypeError("mapping");
      },
    }),
  );
  await expect(authenticate(good(), strategy)).rejects.toThrow();
});

test.each(STRATEGIES)(
  "%s checks issuer, audience and time itself, besides the policy",
  async (_name, createStrategy) => {
    const refuses = async (claims: object) => {
      const bad = sign(key, userClaims({ ...claims }));
      const { issuer } = await optionsWith().admit(token);
      const strategy = createStrategy(optionsWith({ admit: async () => ({ key: key.publicKey, issuer }) }));
      await expect(
        authenticate({ headers: { authorization: `Bearer ${bad}` } }, strategy),
      ).rejects.toMatchObject({
        code: "token_rejected",
      });
    };
    await refuses({ iss: "https://evil.test/" });
    await refuses({ aud: "another API" });
    await refuses({ exp: Math.floor(Date.now() / 1000) - 61 });
    await refuses({ nbf: Math.floor(Date.now() / 1000) + 120 });
  },
);

test.each(["authenticate", "loadMetadata", "failWithLog"] as const)(
  "a passport-azure-ad without %s is found out when the gateway starts",
  (method) => {
    const original = Object.getOwnPropertyDescriptor(BearerStrategy.prototype, method);
    try {
      Object.defineProperty(BearerStrategy.prototype, method, { ...original, value: undefined });
      expect(() => createPassportAzureAdStrategy(optionsWith())).toThrow(method);
    } finally {
      Object.defineProperty(BearerStrategy.prototype, method, original ?? {});
    }
  },
);
