import { readFileSync } from "node:fs";
import {
  ConfidentialClientApplication,
  type Configuration,
  InteractionRequiredAuthError,
} from "@azure/msal-node";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
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
