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
      expect(await detailOf(claims)).not.toContain(API);
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
