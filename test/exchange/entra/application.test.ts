import { describe, expect, test } from "@jest/globals";
import { createCredentialCheck } from "../../../src/exchange/entra/application.ts";
import { Secret } from "../../../src/foundation/secret.ts";
import { resolveAuthority } from "../../../src/identity/authority.ts";

const HOME = "11111111-aaaa-4aaa-8aaa-111111111111";

function verdictOf(status: number, body: object) {
  const check = createCredentialCheck(
    {
      clientId: "33333333-cccc-4ccc-8ccc-333333333333",
      authorityHost: "https://login.example/",
      tokenEndpoint: (tenant) => `https://login.example/${tenant}/token`,
      authorizeEndpoint: (tenant) => `https://login.example/${tenant}/authorize`,
      homeTenantId: HOME,
      fetch: globalThis.fetch,
      timeoutMs: 1_000,
    },
    async () => ({ status, headers: new Headers(), text: JSON.stringify(body) }),
  );
  return check({ method: "client_secret", clientSecret: new Secret("s") });
}

describe("what Entra says to a proof that no request depends on", () => {
  test.each([
    ["a wrong secret", 401, "invalid_client", 7000215],
    ["an unregistered certificate", 401, "invalid_client", 700027],
    ["a subject without federated credential", 401, "invalid_client", 700213],
    ["a client that the tenant does not know", 400, "unauthorized_client", 700016],
    ["a disabled application", 400, "unauthorized_client", 7000112],
    ["a tenant that does not exist", 400, "invalid_request", 90002],
    ["a refused client without a number", 401, "invalid_client", 0],
  ])("is a definite refusal for %s", async (_, status, error, number) => {
    const body = { error, ...(number !== 0 && { error_codes: [number] }) };
    expect(await verdictOf(status, body)).toMatchObject({ verdict: "refused" });
  });

  test.each([
    ["an answer of a busy authority", 503, { error: "temporarily_unavailable" }],
    ["a throttled request", 429, {}],
    ["an error without a name", 400, {}],
    ["an error that nobody knows", 400, { error: "something_new" }],
    ["a policy for workload identities", 400, { error: "invalid_grant", error_codes: [53003] }],
    ["a page of something else", 200, { html: true }],
  ])("decides nothing for %s", async (_, status, body) => {
    expect(await verdictOf(status, body)).toMatchObject({ verdict: "undecided" });
  });

  test("is an acceptance for a token", async () => {
    const body = { access_token: "t", token_type: "Bearer", expires_in: 3599 };
    expect(await verdictOf(200, body)).toEqual({ verdict: "accepted" });
  });
});

test.each([
  "https://contoso.ciamlogin.com/",
  "https://login.contoso.com/",
  "https://login.microsoftonline.us/",
])(
  "the token request goes to the token endpoint that the authority at %s names, and to no other address",
  async (authorityHost) => {
    const { tokenEndpoint, authorizeEndpoint } = resolveAuthority(authorityHost);
    const asked: string[] = [];
    const check = createCredentialCheck({
      clientId: "33333333-cccc-4ccc-8ccc-333333333333",
      authorityHost,
      tokenEndpoint,
      authorizeEndpoint,
      homeTenantId: HOME,
      fetch: async (url) => {
        const { origin, pathname } = new URL(url);
        asked.push(origin + pathname);
        return new Response(JSON.stringify({ access_token: "t", token_type: "Bearer", expires_in: 3599 }), {
          headers: { "content-type": "application/json" },
        });
      },
      timeoutMs: 1_000,
    });
    expect(await check({ method: "client_secret", clientSecret: new Secret("s") })).toEqual({
      verdict: "accepted",
    });
    expect(asked).toEqual([`${authorityHost}${HOME}/oauth2/v2.0/token`]);
  },
);
