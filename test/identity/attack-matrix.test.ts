import { inspect } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import BearerStrategy, { type LoadMetadata } from "passport-azure-ad/lib/bearerstrategy.js";
import { resolveAuthority } from "../../src/identity/authority.ts";
import type { TokenVerifier, Verification } from "../../src/identity/contract.ts";
import { createTokenVerifier } from "../../src/identity/token-verifier.ts";
import { ATTACK_KEY, ATTACKS, PUBLISHED, secretsOf } from "./attacks.ts";
import { captureOutput } from "./captured-output.ts";
import { API, type FakeAuthority, sign, startFakeAuthority, TENANT, USER } from "./fake-authority.ts";
import { CACHE, KEY_SET } from "./verifier-settings.ts";

const VERIFIERS = ["passport-azure-ad", "jose"] as const;

let authority: FakeAuthority;
beforeAll(async () => {
  authority = await startFakeAuthority(PUBLISHED);
});
afterAll(() => authority.close());

function verdictOf(verification: Verification): string {
  if (verification.outcome === "verified") return verification.caller.principal.kind;
  const { code, reason } = verification.error;
  if (code === "token_missing") return "missing";
  return code === "token_rejected" ? (reason ?? "no reason") : code;
}

describe.each(VERIFIERS)("with %s", (name) => {
  const output = captureOutput();
  let verifier: TokenVerifier;
  beforeAll(async () => {
    verifier = await createTokenVerifier({
      verifier: name,
      authority: resolveAuthority("https://login.microsoftonline.com/"),
      tenants: [TENANT],
      audiences: [API],
      allowedClients: [],
      clockToleranceSeconds: 60,
      fetch: authority.fetch,
      keySet: KEY_SET,
      cache: CACHE,
    });
    await verifier.warmUp();
    authority.requests.length = 0;
    output.start();
  });
  afterAll(() => {
    output.stop();
    verifier.close();
  });

  test.each(ATTACKS.map((attack) => [attack.verdict, attack.sentence, attack] as const))(
    "%s: %s",
    async (expected, _sentence, { authorization }) => {
      const verification = await verifier.verify(authorization);
      expect(verdictOf(verification)).toBe(expected);
      if (verification.outcome === "verified") {
        expect(verification.caller.principal.objectId).toBe(USER);
        expect(verification.caller.assertion.token.reveal()).toBe(authorization[0]?.trim().split(/ +/)[1]);
      }
      const printed = inspect(verification, { depth: 20, showHidden: true });
      for (const secret of secretsOf(authorization)) expect(printed).not.toContain(secret);
    },
  );

  test("the whole table costs one refetch of keys, and the keys of version 1.0 one read", () => {
    const documents = authority.requests.filter((request) => request.includes("openid-configuration"));
    expect(documents).toHaveLength(2);
  });

  test("nothing that was written to stdout or stderr holds any part of a token", () => {
    output.stop();
    const text = output.text();
    for (const secret of ["Canary", ...ATTACKS.flatMap(({ authorization }) => secretsOf(authorization))])
      expect(text.includes(secret)).toBe(false);
  });
});

test("the capture sees what the strategy logs when it is not hardened", () => {
  class StockStrategy extends BearerStrategy {
    override loadMetadata(_parameters: unknown, next: LoadMetadata): void {
      next(null, {
        oidc: { issuer: "i", algorithms: ["RS256"] },
        generateOidcPEM: () => ATTACK_KEY.publicKey,
      });
    }
    override fail(): void {}
    override error(): void {}
  }
  const output = captureOutput();
  output.start();
  const strategy = new StockStrategy(
    {
      identityMetadata: "https://metadata.invalid/",
      clientID: API,
      audience: [API],
      validateIssuer: true,
      clockSkew: 60,
      loggingLevel: "fatal",
      loggingNoPII: true,
    },
    () => {},
  );
  strategy.authenticate({ headers: { authorization: `Bearer ${sign(ATTACK_KEY, "Canary, not JSON")}` } });
  output.stop();
  expect(output.text()).toContain("Canary");
});

test("the table holds at least 150 hostile or odd rows", () => {
  expect(ATTACKS.length).toBeGreaterThanOrEqual(150);
  expect(new Set(ATTACKS.map(({ sentence }) => sentence)).size).toBe(ATTACKS.length);
  const accepted = ATTACKS.filter(({ verdict }) => verdict === "user" || verdict === "app").length;
  process.stdout.write(
    `attack matrix: ${ATTACKS.length} rows × ${VERIFIERS.length} verifiers (${accepted} genuine, ${ATTACKS.length - accepted} refused)\n`,
  );
});
