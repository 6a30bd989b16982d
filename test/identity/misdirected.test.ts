import { describe, expect, test } from "@jest/globals";
import { resolveAuthority } from "../../src/identity/authority.ts";
import { explainRefusal } from "../../src/identity/misdirected.ts";
import { tokenRejected } from "../../src/identity/rejection.ts";
import { createTokenVerifier } from "../../src/identity/token-verifier.ts";
import { API, bearer, encode, type Json, TENANT, userClaims, v1Claims } from "./fake-authority.ts";
import { CACHE, KEY_SET } from "./verifier-settings.ts";

const SCOPE = `api://${API}/access_as_user`;

async function detailOf(
  claims: Json,
  header: Json = {},
  publishedScopes?: readonly string[],
): Promise<string> {
  const verifier = await createTokenVerifier({
    verifier: "jose",
    authority: resolveAuthority("https://login.microsoftonline.com/"),
    tenants: [TENANT],
    audiences: [API],
    allowedClients: [],
    clockToleranceSeconds: 60,
    fetch: () => Promise.reject(new Error("no key is needed to refuse these")),
    keySet: KEY_SET,
    cache: CACHE,
    ...(publishedScopes && { publishedScopes: () => publishedScopes }),
  });
  const token = `${encode({ alg: "RS256", typ: "JWT", kid: "k", ...header })}.${encode(claims)}.${"A".repeat(342)}`;
  const verification = await verifier.verify(bearer(token));
  verifier.close();
  if (verification.outcome !== "rejected") throw new Error(verification.outcome);
  return verification.error.detail;
}

describe("a token that was meant for something else", () => {
  const graph = v1Claims({ aud: "https://graph.microsoft.com" });

  test("for Microsoft Graph is called so, whatever else is unusual about it", async () => {
    for (const header of [{}, { nonce: "n" }, { kid: undefined }])
      expect(await detailOf(graph, header)).toMatch(
        /looks like a token for Microsoft Graph; ask for this gateway's scope/,
      );
    const other = { ...graph, tid: "22222222-bbbb-4bbb-8bbb-222222222222", cnf: { kid: "x" } };
    expect(await detailOf(other)).toMatch(/Microsoft Graph/);
  });

  test("is answered with the scope to ask for where the gateway publishes it, and without one elsewhere", async () => {
    for (const claims of [
      graph,
      userClaims({ aud: "https://management.azure.com" }),
      userClaims({ azp: undefined, scp: undefined }),
      userClaims({ aud: `api://${API}` }),
    ]) {
      expect(await detailOf(claims, {}, [SCOPE])).toMatch(new RegExp(`Ask for ${SCOPE}\\.$`));
      expect(await detailOf(claims)).not.toMatch(new RegExp(`${API}|Ask for`));
    }
  });

  test("that another scope does not help is answered without one", async () => {
    const expired = userClaims({ exp: 1_000_000_000, nbf: 1, iat: 1 });
    expect(await detailOf(expired, {}, [SCOPE])).not.toContain(SCOPE);
    expect(await detailOf(userClaims({ cnf: {} }), {}, [SCOPE])).toMatch(/bound to a device or key/);
  });
});

test("an issuer of the same cloud by another host is no other cloud", () => {
  const china = resolveAuthority("https://login.chinacloudapi.cn/");
  const reasonOf = (iss: string, authority = china) =>
    explainRefusal({ reason: "issuer", header: {}, claims: { iss } }, { authority, audiences: [] });
  expect(reasonOf("https://sts.chinacloudapi.cn/t/")).toBe("issuer");
  expect(reasonOf("https://login.chinacloudapi.cn/t/v2.0")).toBe("issuer");
  expect(reasonOf("https://login.microsoftonline.com/t/v2.0")).toBe("other_cloud");
  // Public and US Government share the issuer of version 1.0.
  expect(reasonOf("https://sts.windows.net/t/")).toBe("issuer");
  expect(reasonOf("no URL")).toBe("issuer");
  const unlisted = resolveAuthority("https://login.example/");
  expect(reasonOf("https://login.microsoftonline.com/t/v2.0", unlisted)).toBe("issuer");
});

test("no sentence names what would have been accepted", () => {
  for (const reason of [
    "tenant",
    "issuer",
    "client",
    "other_cloud",
    "personal_account",
    "unknown_key",
  ] as const)
    expect(tokenRejected(reason, { scopes: [SCOPE] }).detail).not.toContain(API);
});

test("a refusal for a fault of the gateway has that fault as its cause, and no other refusal has one", () => {
  const cause = new TypeError("a bug");
  expect(tokenRejected("internal", { cause }).cause).toBe(cause);
  expect(tokenRejected("expired")).not.toHaveProperty("cause");
});

describe("a refused token", () => {
  const authority = resolveAuthority("https://login.microsoftonline.com/");
  const explain = (
    reason: Parameters<typeof explainRefusal>[0]["reason"],
    claims: Json,
    { header = {}, audiences = [API] }: { header?: Json; audiences?: readonly string[] } = {},
  ) => explainRefusal({ reason, header, claims }, { authority, audiences });

  test.each([
    ["00000003-0000-0000-c000-000000000000", true],
    ["https://graph.microsoft.com", true],
    ["https://graph.microsoft.com//", true],
    ["HTTPS://Graph.Microsoft.com", true],
    ["https://graph.microsoft.us", true],
    ["https://dod-graph.microsoft.us", true],
    ["https://microsoftgraph.chinacloudapi.cn", true],
    ["http://graph.microsoft.com", false],
    ["https://graph.microsoft.com.evil.example", false],
    ["https://graph.microsoft.com/x", false],
    ["graph.microsoft.com", false],
    [["https://graph.microsoft.com"], false],
  ])("for the audience %j is Graph's: %p", (aud, isGraphs) => {
    expect(explain("expired", { aud })).toBe(isGraphs ? "graph_token" : "expired");
  });

  test.each(["algorithm", "type", "header", "version", "claims", "kind"] as const)(
    "for its %s may be bound to a key",
    (reason) => {
      expect(explain(reason, { cnf: {} })).toBe("proof_of_possession");
      for (const typ of ["pop", "at+pop", "dpop+jwt", "POP", "at+dpop+jwt"])
        expect(explain(reason, { scp: "x" }, { header: { typ } })).toBe("proof_of_possession");
      expect(explain(reason, { at: "a.b.c", scp: "x" })).toBe("proof_of_possession");
    },
  );

  test.each([
    [{ scp: "x" }, { typ: "popx" }],
    [{ scp: "x" }, { typ: "xpop" }],
    [{ scp: "x" }, { typ: 7 }],
    [{ scp: "x", at: "a.b" }, {}],
    [{ scp: "x", at: "a.b.c.d" }, {}],
    [{ scp: "x", at: 7 }, {}],
  ])("with %j and %j is not bound to a key", (claims, header) => {
    expect(explain("type", claims, { header })).toBe("type");
  });

  test("for another reason is not said to be bound to a key", () => {
    expect(explain("expired", { cnf: {} })).toBe("expired");
  });

  test("of a personal account is called so, and one of another cloud", () => {
    for (const reason of ["tenant", "issuer"] as const) {
      expect(explain(reason, { tid: "9188040d-6c67-4c5b-b112-36a304b66dad" })).toBe("personal_account");
      expect(explain(reason, { iss: "https://login.chinacloudapi.cn/t/v2.0" })).toBe("other_cloud");
      expect(explain(reason, { iss: "https://login.microsoftonline.com/t/v2.0" })).toBe(reason);
    }
    expect(explain("expired", { tid: "9188040d-6c67-4c5b-b112-36a304b66dad" })).toBe("expired");
  });

  test("that names no client and grants nothing is an ID token", () => {
    for (const reason of ["audience", "kind"] as const) {
      expect(explain(reason, { aud: "x" })).toBe("id_token");
      for (const claim of ["azp", "appid", "scp", "roles"])
        expect(explain(reason, { aud: "x", [claim]: "y" })).toBe(reason);
    }
    expect(explain("audience", { aud: "x", cnf: {} })).toBe("audience");
    expect(explain("expired", { aud: "x" })).toBe("expired");
  });

  const OTHER = "https://other.example";
  test.each([
    [`api://${API}`, [API], true],
    [API, [`api://${API}`], true],
    [API.toUpperCase(), [API], true],
    [`spn:${API}`, [API], true],
    [`api:${API}`, [API], true],
    [`api://${API}/`, [API], true],
    [`api://${API}`, [OTHER, API], true],
    ["https://other.example/", [API, OTHER], true],
    ["api://other.example", ["other.example"], false],
    [`xapi://${API}`, [API], false],
    [`api://${API}`, [OTHER], false],
    [[API], [API], false],
  ])("for the audience %j where %j are accepted has another form: %p", (aud, audiences, isForm) => {
    expect(explain("audience", { aud, scp: "x" }, { audiences })).toBe(isForm ? "audience_form" : "audience");
    expect(explain("kind", { aud, scp: "x" }, { audiences })).toBe("kind");
  });
});
