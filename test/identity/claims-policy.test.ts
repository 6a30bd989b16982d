import { describe, expect, test } from "@jest/globals";
import { resolveAuthority } from "../../src/identity/authority.ts";
import { authorize, createClaimsPolicy } from "../../src/identity/claims-policy.ts";
import type { Principal, RoutePolicy } from "../../src/identity/contract.ts";
import { refusal } from "../support/refusal.ts";
import {
  API,
  CLIENT,
  type Json,
  OTHER_TENANT,
  TENANT,
  USER,
  userClaims,
  v1Claims,
} from "./fake-authority.ts";

const NOW = 1_800_000_000;

function principalOf(
  claims: Json,
  options: { allowedClients?: string[]; tenants?: string[] } = {},
): Principal {
  return createClaimsPolicy({
    authority: resolveAuthority("https://login.microsoftonline.com/"),
    tenants: [TENANT],
    audiences: [API, `api://${API}`],
    allowedClients: [],
    clockToleranceSeconds: 60,
    now: () => NOW * 1000,
    ...options,
  })(claims);
}

const claims = (more: Json = {}): Json => userClaims(more, NOW);

describe("a principal", () => {
  test("is copied claim by claim, frozen, and holds no name or address", () => {
    const principal = principalOf(
      claims({ scp: "a b", roles: ["R"], groups: ["g1"], acrs: ["c1"], xms_cc: ["Cp1"], exp: NOW + 60 }),
    );
    expect(principal).toEqual({
      kind: "user",
      tenantId: TENANT,
      objectId: USER,
      subject: "pairwise-subject",
      clientId: CLIENT,
      tokenVersion: "2.0",
      scopes: ["a", "b"],
      roles: ["R"],
      groups: { kind: "listed", ids: ["g1"] },
      authContexts: ["c1"],
      acceptsClaimsChallenge: true,
      expiresAt: (NOW + 60) * 1000,
    });
    for (const part of [
      principal,
      principal.scopes,
      principal.roles,
      principal.groups,
      principal.authContexts,
    ])
      expect(Object.isFrozen(part)).toBe(true);
    expect(JSON.stringify(principal)).not.toMatch(/canary/i);
  });

  test("of a v1 token has its client from appid and may be addressed by App ID URI", () => {
    const v1 = v1Claims({
      ...claims(),
      ...v1Claims(),
      iat: NOW,
      nbf: NOW,
      exp: NOW + 60,
      aud: `api://${API}`,
    });
    expect(principalOf(v1)).toMatchObject({ tokenVersion: "1.0", clientId: CLIENT });
  });

  test.each([
    ["listed groups", { groups: ["a", "b"] }, { kind: "listed", ids: ["a", "b"] }],
    ["an empty list", { groups: [] }, { kind: "listed", ids: [] }],
    ["no groups claim", {}, { kind: "absent" }],
    ["a source for groups", { _claim_names: { groups: "src1" } }, { kind: "overage" }],
    ["a source beside a list", { _claim_names: { groups: "src1" }, groups: ["a"] }, { kind: "overage" }],
    ["hasgroups", { hasgroups: true }, { kind: "overage" }],
    ["hasgroups as a text", { hasgroups: "true" }, { kind: "overage" }],
    ["hasgroups denied", { hasgroups: false }, { kind: "absent" }],
    ["hasgroups denied as a text", { hasgroups: "false" }, { kind: "absent" }],
    ["a source for something else", { _claim_names: { photo: "src1" } }, { kind: "absent" }],
    ["a source list without members", { _claim_names: null }, { kind: "absent" }],
  ] as const)("with %s never reads unknown groups as none", (_what, more, groups) => {
    expect(principalOf(claims(more)).groups).toEqual(groups);
  });

  test.each([
    [["cp1"], true],
    [["CP1"], true],
    ["cp1", true],
    [["protapp", "Cp1"], true],
    [["cp2"], false],
    [[], false],
    [undefined, false],
  ])("whose xms_cc is %j accepts a claims challenge: %s", (xms_cc, accepts) => {
    expect(principalOf(claims({ xms_cc })).acceptsClaimsChallenge).toBe(accepts);
  });
});

describe("the clock", () => {
  test.each([
    ["the second before it ends", { exp: NOW + 1 }, undefined],
    ["the second it ends", { exp: NOW }, "expired"],
    ["inside the tolerance after its end", { exp: NOW - 1 }, "expired"],
    ["at the edge of the tolerance before it begins", { nbf: NOW + 60 }, undefined],
    ["past the tolerance before it begins", { nbf: NOW + 61 }, "not_yet_valid"],
    ["issued at the edge of the tolerance", { iat: NOW + 60 }, undefined],
    ["issued at its own end", { iat: NOW + 30, nbf: NOW, exp: NOW + 30 }, "lifetime"],
    ["issued a second before its own end", { iat: NOW + 29, nbf: NOW, exp: NOW + 30 }, undefined],
    ["valid from its own end", { iat: NOW, nbf: NOW + 30, exp: NOW + 30 }, "lifetime"],
    ["issued past the tolerance", { iat: NOW + 61 }, "not_yet_valid"],
    ["a life of 28 hours", { iat: NOW, nbf: NOW, exp: NOW + 28 * 3600 }, undefined],
    ["a life of 29 hours", { iat: NOW, nbf: NOW, exp: NOW + 29 * 3600 }, undefined],
    ["a life of 29 hours and a second", { iat: NOW, nbf: NOW, exp: NOW + 29 * 3600 + 1 }, "lifetime"],
    [
      "a life of 29 hours and a second since it was issued",
      { iat: NOW, nbf: NOW + 1, exp: NOW + 29 * 3600 + 1 },
      "lifetime",
    ],
    [
      "a life of 29 hours and a second since it was valid",
      { iat: NOW + 1, nbf: NOW, exp: NOW + 29 * 3600 + 1 },
      "lifetime",
    ],
  ] as const)("judges a token %s", (_when, more, reason) => {
    expect(refusal(() => principalOf(claims(more)))?.reason).toBe(reason);
  });
});

describe("the gateway's own lists", () => {
  test("a client that is not listed is refused, whatever the letter case of the list", () => {
    expect(refusal(() => principalOf(claims(), { allowedClients: [USER] }))?.reason).toBe("client");
    expect(
      refusal(() => principalOf(claims(), { allowedClients: [CLIENT.toUpperCase()] }))?.reason,
    ).toBeUndefined();
    const capitals = claims({ azp: CLIENT.toUpperCase() });
    expect(refusal(() => principalOf(capitals, { allowedClients: [USER, CLIENT] }))?.reason).toBeUndefined();
  });

  test("with * any tenant may call, as long as the issuer is its own", () => {
    const other = { tid: OTHER_TENANT, iss: `https://login.microsoftonline.com/${OTHER_TENANT}/v2.0` };
    expect(refusal(() => principalOf(claims(other)))?.reason).toBe("tenant");
    expect(principalOf(claims(other), { tenants: ["*"] }).tenantId).toBe(OTHER_TENANT);
    expect(refusal(() => principalOf(claims({ tid: OTHER_TENANT }), { tenants: ["*"] }))?.reason).toBe(
      "issuer",
    );
  });
});

describe("a route", () => {
  const open: RoutePolicy = { requiredScopes: [], requiredRoles: [], allowedClients: [], callers: "user" };
  const user = principalOf(claims({ scp: "read write", roles: ["Reader"] }));
  const app = principalOf(claims({ scp: undefined, sub: USER, roles: ["Reader"] }));

  test.each([
    ["asks nothing of a user", open, user, undefined, undefined],
    [
      "asks for one of the user's scopes",
      { ...open, requiredScopes: ["admin", "write"] },
      user,
      undefined,
      undefined,
    ],
    ["asks for another scope", { ...open, requiredScopes: ["admin"] }, user, "scope_insufficient", "scope"],
    [
      "asks for a scope that looks alike",
      { ...open, requiredScopes: ["Read"] },
      user,
      "scope_insufficient",
      "scope",
    ],
    ["asks for part of a scope", { ...open, requiredScopes: ["rea"] }, user, "scope_insufficient", "scope"],
    [
      "asks for one of the user's roles",
      { ...open, requiredRoles: ["X", "Reader"] },
      user,
      undefined,
      undefined,
    ],
    ["asks for another role", { ...open, requiredRoles: ["Writer"] }, user, "scope_insufficient", "role"],
    [
      "asks for a scope that is only a role",
      { ...open, requiredScopes: ["Reader"] },
      user,
      "scope_insufficient",
      "scope",
    ],
    [
      "admits the calling client",
      { ...open, allowedClients: [CLIENT.toUpperCase()] },
      user,
      undefined,
      undefined,
    ],
    [
      "admits the calling client among others, in another letter case",
      { ...open, allowedClients: [API, CLIENT] },
      principalOf(claims({ azp: CLIENT.toUpperCase() })),
      undefined,
      undefined,
    ],
    ["admits other clients only", { ...open, allowedClients: [API] }, user, "scope_insufficient", "client"],
    ["is for users, and an application calls", open, app, "user_token_required", undefined],
    [
      "is for applications, and a user calls",
      { ...open, callers: "app" },
      user,
      "scope_insufficient",
      "kind",
    ],
    [
      "admits applications with a role",
      { ...open, callers: "app", requiredRoles: ["Reader"] },
      app,
      undefined,
      undefined,
    ],
    [
      "admits applications with another role",
      { ...open, callers: "app", requiredRoles: ["Writer"] },
      app,
      "scope_insufficient",
      "role",
    ],
    [
      "admits a named application",
      { ...open, callers: "app", allowedClients: [CLIENT] },
      app,
      undefined,
      undefined,
    ],
    [
      "admits a named application with a role",
      { ...open, callers: "app", allowedClients: [CLIENT], requiredRoles: ["Reader"] },
      app,
      undefined,
      undefined,
    ],
    ["names neither roles nor applications", { ...open, callers: "any" }, app, "scope_insufficient", "role"],
    [
      "asks scopes of users and roles of applications",
      { ...open, callers: "any", requiredScopes: ["admin"], requiredRoles: ["Reader"] },
      app,
      undefined,
      undefined,
    ],
    [
      "asks an application for an authentication context",
      { ...open, callers: "any", requiredRoles: ["Reader"], authContext: "c1" },
      app,
      "user_token_required",
      undefined,
    ],
  ] as const)("that %s answers as it should", (_what, policy, principal, code, reason) => {
    const refusal = authorize(principal, policy);
    expect(refusal?.code).toBe(code);
    expect(refusal?.reason).toBe(reason);
  });

  test("names the scopes that would have been enough", () => {
    expect(authorize(user, { ...open, requiredScopes: ["a", "b"] })?.requiredScopes).toEqual(["a", "b"]);
  });

  describe("with an authentication context", () => {
    const stepUp: RoutePolicy = { ...open, authContext: "c1" };

    test("lets a sign-in that satisfied it pass", () => {
      expect(authorize(principalOf(claims({ acrs: ["c0", "c1"] })), stepUp)).toBeUndefined();
      expect(authorize(principalOf(claims({ acrs: "c1" })), stepUp)).toBeUndefined();
    });

    test("challenges a client that understands a claims challenge", () => {
      const refusal = authorize(principalOf(claims({ xms_cc: ["CP1"] })), stepUp);
      expect(refusal?.code).toBe("claims_challenged");
      expect(JSON.parse(refusal?.claims ?? "")).toEqual({
        access_token: { acrs: { essential: true, value: "c1" } },
      });
    });

    test("asks another client for interaction", () => {
      expect(authorize(principalOf(claims({ acrs: ["c2"] })), stepUp)?.code).toBe("interaction_required");
    });

    test("asks for the missing scope first, since a stronger sign-in would not help without it", () => {
      expect(authorize(user, { ...stepUp, requiredScopes: ["admin"] })?.code).toBe("scope_insufficient");
    });
  });
});
