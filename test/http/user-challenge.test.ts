import { describe, expect, test } from "@jest/globals";
import { GatewayError, type GatewayErrorCode } from "../../src/errors.ts";
import { notTheUsers } from "../../src/http/user-challenge.ts";

describe("a refusal where the gateway acts for itself", () => {
  const codeOf = (code: GatewayErrorCode) => {
    const rephrased = notTheUsers(new GatewayError(code, { detail: "Refused." }));
    return rephrased instanceof GatewayError ? rephrased.code : rephrased;
  };

  test("of a tenant that is not onboarded stays that tenant's matter", () => {
    expect(codeOf("tenant_not_onboarded")).toBe("tenant_not_onboarded");
  });

  test.each<GatewayErrorCode>([
    "interaction_required",
    "claims_challenged",
    "consent_required",
    "admin_consent_required",
    "blocked_by_policy",
    "not_assigned",
    "token_rejected",
  ])("that no user can meet is the operator's: %s", (code) => {
    expect(codeOf(code)).toBe("client_rejected");
  });

  test.each<GatewayErrorCode>([
    "authority_throttled",
    "overloaded",
    "rate_limited",
    "downstream_misconfigured",
  ])("that blames no user stays as it is: %s", (code) => {
    expect(codeOf(code)).toBe(code);
  });
});
