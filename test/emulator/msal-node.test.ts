import { readFileSync } from "node:fs";
import {
  ConfidentialClientApplication,
  type Configuration,
  CryptoProvider,
  InteractionRequiredAuthError,
  PublicClientApplication,
} from "@azure/msal-node";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { gatewayScope, personAt } from "./sign-in-requests.ts";
import { type Client, GRAPH_DEFAULT, startClient } from "./support.ts";

type NetworkClient = NonNullable<NonNullable<Configuration["system"]>["networkClient"]>;

let client: Client;
beforeAll(async () => {
  // MSAL makes its assertions by the machine's clock.
  client = await startClient({ now: Date.now });
});
afterAll(() => client.close());

describe("MSAL Node exchanges against the emulator", () => {
  test.each<[string, string, () => Partial<Configuration["auth"]>]>([
    [
      "a certificate by SHA-256 thumbprint",
      "certificate",
      () => ({
        clientCertificate: {
          thumbprintSha256: certificate().thumbprintSha256,
          privateKey: certificate().privateKeyPem,
          x5c: certificate().certificatePem,
        },
      }),
    ],
    [
      "a certificate by SHA-1 thumbprint",
      "certificate",
      () => ({
        clientCertificate: {
          thumbprint: certificate().thumbprintSha1,
          privateKey: certificate().privateKeyPem,
        },
      }),
    ],
    [
      "a federated token from its file",
      "federated",
      () => ({ clientAssertion: async () => readFileSync(client.emulator.files.federatedToken, "utf8") }),
    ],
    [
      "a secret",
      "secret-in-body",
      () => ({ clientSecret: client.emulator.addClientSecret(client.emulator.clientId) }),
    ],
  ])("with %s", async (_, credential, auth) => {
    const application = confidentialClient(auth());
    const assertion = client.emulator.mintUserToken({ user: "ada" });
    const result = await application.acquireTokenOnBehalfOf({
      oboAssertion: assertion,
      scopes: [GRAPH_DEFAULT],
    });
    expect(result).toMatchObject({
      fromCache: false,
      tokenType: "Bearer",
      tenantId: client.emulator.tenantId,
      uniqueId: client.emulator.users.ada.objectId,
      account: { username: "ada@home.example" },
    });
    expect(result?.scopes).toContain(GRAPH_DEFAULT);
    expect(client.emulator.requests.token.at(-1)).toMatchObject({ credential, aadsts: 0 });

    // The second time from MSAL's cache: only possible with client_info and echoed scopes in the answer.
    const again = await application.acquireTokenOnBehalfOf({
      oboAssertion: assertion,
      scopes: [GRAPH_DEFAULT],
    });
    expect(again?.fromCache).toBe(true);
  });

  test("with a token in another tenant of the same application object", async () => {
    const application = confidentialClient({
      clientSecret: client.emulator.addClientSecret(client.emulator.clientId),
    });
    const { secondTenant, authorityHost } = client.emulator;
    const result = await application.acquireTokenOnBehalfOf({
      oboAssertion: client.emulator.mintUserToken({ user: "linus" }),
      scopes: [GRAPH_DEFAULT],
      authority: `${authorityHost}${secondTenant.id}`,
    });
    expect(result?.tenantId).toBe(secondTenant.id);
  });

  test.each(["own-error", "basic-action"] as const)(
    "and sees the claims of a multi-factor refusal (%s)",
    async (spelling) => {
      const requirement = client.emulator.requireMfa("grace", { spelling });
      const application = confidentialClient({
        clientSecret: client.emulator.addClientSecret(client.emulator.clientId),
      });
      const refused = await application
        .acquireTokenOnBehalfOf({
          oboAssertion: client.emulator.mintUserToken({ user: "grace" }),
          scopes: [GRAPH_DEFAULT],
        })
        .catch((error: unknown) => error);
      requirement.remove();
      expect(refused).toBeInstanceOf(InteractionRequiredAuthError);
      expect((refused as InteractionRequiredAuthError).claims).toContain("capolids");
    },
  );
});

describe("MSAL Node signs a user in on her own machine", () => {
  const redirectUri = "http://localhost:5822";

  test("by code and PKCE, renews by refresh token, and hears of a second factor and a revocation", async () => {
    const { authorityHost, tenantId, publicClientId, users } = client.emulator;
    const application = new PublicClientApplication({
      auth: {
        clientId: publicClientId,
        authority: `${authorityHost}${tenantId}`,
        knownAuthorities: [new URL(authorityHost).host],
        clientCapabilities: ["cp1"],
      },
      system: { networkClient: networkClient() },
    });
    const scopes = [gatewayScope(client.emulator)];
    const signIn = async (more: { claims?: string }) => {
      const { verifier, challenge } = await new CryptoProvider().generatePkceCodes();
      const url = await application.getAuthCodeUrl({
        scopes,
        redirectUri,
        codeChallenge: challenge,
        codeChallengeMethod: "S256",
        ...more,
      });
      const { answer } = await personAt(client).signIn(url, { user: "ada" });
      const result = await application.acquireTokenByCode({
        scopes,
        redirectUri,
        code: answer.code ?? "",
        codeVerifier: verifier,
        ...more,
      });
      if (result.account === null) throw new Error("no account");
      return { ...result, account: result.account };
    };

    const { account, accessToken, idTokenClaims } = await signIn({});
    expect(account).toMatchObject({ username: "ada@home.example", localAccountId: users.ada.objectId });
    expect(idTokenClaims).toMatchObject({ aud: publicClientId, tid: tenantId });
    expect((await client.exchange({ assertion: accessToken })).status).toBe(200);

    const cached = await application.acquireTokenSilent({ scopes, account });
    expect(cached.fromCache).toBe(true);
    const renewed = await application.acquireTokenSilent({ scopes, account, forceRefresh: true });
    expect([renewed.fromCache, renewed.accessToken === accessToken]).toEqual([false, false]);
    expect(client.emulator.requests.token.at(-1)).toMatchObject({
      grantType: "refresh_token",
      credential: "none",
      aadsts: 0,
    });

    const policy = client.emulator.requireMfa("ada");
    const refused = await client.exchange({ assertion: renewed.accessToken });
    const claims = String(refused.body.claims);
    await expect(application.acquireTokenSilent({ scopes, account, claims })).rejects.toBeInstanceOf(
      InteractionRequiredAuthError,
    );
    const stepped = await signIn({ claims });
    expect((await client.exchange({ assertion: stepped.accessToken })).status).toBe(200);
    policy.remove();

    client.emulator.revokeSessions("ada");
    await expect(
      application.acquireTokenSilent({ scopes, account, forceRefresh: true }),
    ).rejects.toMatchObject({ errorNo: 50173 });
  });

  test("and a middle tier renews in its user's absence, by the refresh token that MSAL hides", async () => {
    const application = confidentialClient({
      clientSecret: client.emulator.addClientSecret(client.emulator.clientId),
    });
    await application.acquireTokenOnBehalfOf({
      oboAssertion: client.emulator.mintUserToken({ user: "edsger" }),
      scopes: [GRAPH_DEFAULT],
    });
    const { RefreshToken } = JSON.parse(application.getTokenCache().serialize());
    const [kept] = Object.values<{ secret: string }>(RefreshToken);
    const renewed = await application.acquireTokenByRefreshToken({
      refreshToken: kept?.secret ?? "",
      scopes: [GRAPH_DEFAULT],
    });
    expect(renewed).toMatchObject({
      uniqueId: client.emulator.users.edsger.objectId,
      account: { username: "edsger@home.example" },
    });
  });
});

function certificate() {
  return client.emulator.clientCertificate;
}

function confidentialClient(auth: Partial<Configuration["auth"]>): ConfidentialClientApplication {
  const { authorityHost, tenantId, clientId } = client.emulator;
  return new ConfidentialClientApplication({
    auth: {
      clientId,
      authority: `${authorityHost}${tenantId}`,
      knownAuthorities: [new URL(authorityHost).host],
      clientCapabilities: ["cp1"],
      ...auth,
    },
    system: { networkClient: networkClient() },
  });
}

function networkClient(): NetworkClient {
  const call = async <Body>(
    url: string,
    init: { method: string; headers: Record<string, string>; body?: string },
  ) => {
    const response = await client.fetch(url, init);
    return {
      status: response.status,
      headers: Object.fromEntries(response.headers),
      body: (await response.json()) as Body,
    };
  };
  return {
    sendGetRequestAsync: (url, options) => call(url, { method: "GET", headers: options?.headers ?? {} }),
    sendPostRequestAsync: (url, options) =>
      call(url, { method: "POST", headers: options?.headers ?? {}, body: options?.body ?? "" }),
  };
}
