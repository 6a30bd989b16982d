import { describe, expect, test } from "@jest/globals";
import { assertExchangeable } from "../../src/exchange/exchange.ts";
import { refusal } from "../support/refusal.ts";
import { assertionOf, FOREIGN, HOME } from "./fake-entra.ts";

describe("an exchange", () => {
  const check = (tenantId: string, allowedTenants: readonly string[] | "*", now = 0, expiresAt = 1) =>
    refusal(() =>
      assertExchangeable(
        { assertion: { ...assertionOf("ann", { tenantId }), expiresAt } },
        { allowedTenants },
        now,
      ),
    );

  test.each<[string, readonly string[] | "*", boolean]>([
    [HOME, [HOME], true],
    [HOME.toUpperCase(), [HOME], true],
    [FOREIGN, [HOME], false],
    [FOREIGN, [HOME, FOREIGN], true],
    [FOREIGN, "*", true],
    [FOREIGN, [], false],
    ["common", "*", false],
    [`${HOME}/x`, "*", false],
    [`x${HOME}`, "*", false],
    ["AAAAAAAA-BBBB-4CCC-8DDD-EEEEEEEEEEEE", "*", true],
    ["11111111-1111-4111-8111-11111111111", "*", false],
    ["11111111-1111-4111-8111-1111111111111", "*", false],
    ["1111111-1111-4111-8111-111111111111", "*", false],
    ["11111111-1111-4111-111111111111", "*", false],
    ["11111111-1111-4111-8111-1111-111111111111", "*", false],
    ["11111111-111-4111-8111-111111111111", "*", false],
    ["g1111111-1111-4111-8111-111111111111", "*", false],
    ["../../../../../../../../../../../..", "*", false],
  ])("of the tenant %s where %j are allowed: %p", (tenantId, allowed, may) => {
    expect(check(tenantId, allowed)).toEqual(
      may ? undefined : { code: "tenant_not_onboarded", reason: "tenant_not_allowed" },
    );
  });

  test("is made up to the end of the assertion", () => {
    expect(check(HOME, "*", 999, 1_000)).toBeUndefined();
    expect(check(HOME, "*", 1_000, 1_000)).toEqual({ code: "token_rejected", reason: "assertion_expired" });
  });
});
