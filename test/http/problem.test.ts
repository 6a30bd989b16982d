import { describe, expect, test } from "@jest/globals";
import { ACTOR_OF, GatewayError, type GatewayErrorCode } from "../../src/errors.ts";
import { type ChallengeFacts, phraseProblem } from "../../src/http/problem.ts";

const TENANT = "11111111-1111-4111-8111-111111111111";
const CLIENT = "22222222-2222-4222-8222-222222222222";
const FACTS: ChallengeFacts = {
  clientId: CLIENT,
  authorizeEndpoint: (tenantId) => `https://login.example/${tenantId}/oauth2/v2.0/authorize`,
  resourceMetadata: undefined,
};
const REQUEST = { correlationId: "abc", tenantId: TENANT };
const CLAIMS = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}';

/** The public contract, written down a second time on purpose. */
const STATUS: Readonly<Record<GatewayErrorCode, number>> = {
  token_missing: 401,
  token_rejected: 401,
  scope_insufficient: 403,
  user_token_required: 403,
  route_unknown: 404,
  method_not_allowed: 405,
  target_forbidden: 403,
  request_malformed: 400,
  body_too_large: 413,
  rate_limited: 429,
  claims_challenged: 401,
  interaction_required: 401,
  consent_required: 403,
  admin_consent_required: 403,
  blocked_by_policy: 403,
  not_assigned: 403,
  tenant_not_onboarded: 403,
  delegation_ended: 401,
  credential_unavailable: 503,
  client_rejected: 503,
  downstream_misconfigured: 502,
  key_set_unavailable: 503,
  authority_unavailable: 503,
  authority_throttled: 503,
  authority_timeout: 504,
  downstream_unreachable: 502,
  downstream_timeout: 504,
  overloaded: 503,
  draining: 503,
  internal: 500,
};

const codes = Object.keys(ACTOR_OF) as GatewayErrorCode[];

describe("a refusal as an HTTP answer", () => {
  test.each(codes)("%s has its status, an RFC 9457 body and is never cached", (code) => {
    const problem = phraseProblem(new GatewayError(code, { detail: "What to do." }), FACTS, REQUEST);
    expect(problem.status).toBe(STATUS[code]);
    expect(problem.body).toEqual({
      type: `urn:obo-gateway:problem:${code}`,
      title: expect.any(String),
      status: STATUS[code],
      code,
      detail: "What to do.",
      correlationId: "abc",
    });
    expect(problem.headers).toMatchObject({
      "content-type": "application/problem+json",
      "cache-control": "no-store",
    });
  });

  test.each(codes)(
    "%s carries a challenge exactly when its status is 401, or its scope was too small",
    (code) => {
      const { status, headers } = phraseProblem(new GatewayError(code, { detail: "" }), FACTS, REQUEST);
      expect("www-authenticate" in headers).toBe(status === 401 || code === "scope_insufficient");
    },
  );

  test.each<[string, GatewayError, string]>([
    [
      "no credentials: a bare challenge without error",
      new GatewayError("token_missing", { detail: "" }),
      "Bearer",
    ],
    [
      "a refused token: invalid_token, and nothing about why",
      new GatewayError("token_rejected", { detail: "", reason: "expired" }),
      'Bearer error="invalid_token", error_description="The access token was not accepted"',
    ],
    [
      "a scope too small: every scope that would have been enough",
      new GatewayError("scope_insufficient", { detail: "", requiredScopes: ["a.read", "a.write"] }),
      'Bearer error="insufficient_scope", scope="a.read a.write"',
    ],
    [
      "a claims challenge: the gateway's own client id and authorize endpoint",
      new GatewayError("claims_challenged", { detail: "", claims: CLAIMS }),
      `Bearer realm="${TENANT}", authorization_uri="https://login.example/${TENANT}/oauth2/v2.0/authorize", ` +
        `client_id="${CLIENT}", error="insufficient_claims", claims="${Buffer.from(CLAIMS).toString("base64")}"`,
    ],
    [
      "interaction for a client without the capability: no claims in the challenge",
      new GatewayError("interaction_required", { detail: "", claims: CLAIMS }),
      `Bearer realm="${TENANT}", authorization_uri="https://login.example/${TENANT}/oauth2/v2.0/authorize", error="interaction_required"`,
    ],
  ])("%s", (_, error, challenge) => {
    expect(phraseProblem(error, FACTS, REQUEST).headers["www-authenticate"]).toBe(challenge);
  });

  test("with published metadata every plain challenge says where it is", () => {
    const facts = { ...FACTS, resourceMetadata: "https://api.example/.well-known/oauth-protected-resource" };
    const { headers } = phraseProblem(new GatewayError("token_missing", { detail: "" }), facts, REQUEST);
    expect(headers["www-authenticate"]).toBe(
      'Bearer resource_metadata="https://api.example/.well-known/oauth-protected-resource"',
    );
  });

  test("the body holds what the caller can act on, and of the diagnostics only Entra's ids", () => {
    const error = new GatewayError("consent_required", {
      detail: "",
      claims: CLAIMS,
      consentUri: "https://login.example/consent",
      diagnostics: { trace_id: "t-1", correlation_id: "c-1", error: "invalid_grant", error_codes: [65001] },
    });
    const { body } = phraseProblem(error, FACTS, REQUEST);
    expect(body).toMatchObject({
      consentUri: "https://login.example/consent",
      claims: CLAIMS,
      authorityTraceId: "t-1",
      authorityCorrelationId: "c-1",
    });
    expect(JSON.stringify(body)).not.toMatch(/invalid_grant|65001/);
  });

  test("a wait is told in whole seconds, rounded up", () => {
    const error = new GatewayError("authority_throttled", { detail: "", retryAfterSeconds: 1.2 });
    expect(phraseProblem(error, FACTS, REQUEST).headers["retry-after"]).toBe("2");
  });
});

describe("when to try again", () => {
  const retryAfter = (code: GatewayErrorCode, retryAfterSeconds?: number) => {
    const details = { detail: "", ...(retryAfterSeconds !== undefined && { retryAfterSeconds }) };
    return phraseProblem(new GatewayError(code, details), FACTS, REQUEST).headers["retry-after"];
  };

  test.each(codes.filter((code) => [503, 504].includes(STATUS[code])))(
    "%s names a time, known or guessed",
    (code) => {
      expect(Number(retryAfter(code))).toBeGreaterThanOrEqual(1);
      expect(Number(retryAfter(code))).toBeLessThanOrEqual(60);
      expect(retryAfter(code, 7)).toBe("7");
    },
  );

  test.each(codes.filter((code) => ![503, 504].includes(STATUS[code])))("%s names none by itself", (code) => {
    expect(retryAfter(code)).toBeUndefined();
  });
});

describe("below a route to Graph the problem also has the error that Graph's SDKs read", () => {
  const facts = { ...FACTS, graphMounts: ["/graph", "/beta"] };
  const refusal = new GatewayError("consent_required", { detail: "Consent is missing." });
  const typeAt = (target: string, isGraphSdk: boolean, accept?: string) =>
    phraseProblem(refusal, facts, { ...REQUEST, target, accept, isGraphSdk }).headers["content-type"];

  test("and has the type that they read, unless one asks for a problem", () => {
    expect(typeAt("/graph/me", true)).toBe("application/json");
    expect(typeAt("/graph/me", true, "*/*")).toBe("application/json");
    expect(typeAt("/graph/me", true, "application/json, application/problem+json")).toBe(
      "application/problem+json",
    );
    expect(typeAt("/api/me", true)).toBe("application/problem+json");
  });

  test("and every other caller gets the type of problems", () => {
    expect(typeAt("/graph/me", false)).toBe("application/problem+json");
    expect(typeAt("/graph/me", false, "application/json")).toBe("application/problem+json");
  });

  const bodyAt = (target: string | undefined) =>
    phraseProblem(refusal, facts, { ...REQUEST, ...(target !== undefined && { target }) }).body;

  test.each(["/graph", "/graph/me", "/graph?$top=1", "/graph/$batch", "/beta/users"])("%s", (target) => {
    expect(bodyAt(target)).toMatchObject({
      type: "urn:obo-gateway:problem:consent_required",
      code: "consent_required",
      detail: "Consent is missing.",
      error: { code: "consent_required", message: "Consent is missing." },
    });
  });

  test.each(["/graphs/me", "/api/graph", "/", undefined])("not at %s", (target) => {
    expect(bodyAt(target)).not.toHaveProperty("error");
  });
});
