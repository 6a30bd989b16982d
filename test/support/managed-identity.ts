/** A platform with a user-assigned managed identity, whose endpoint checks what it is asked. */

import type { Fetch } from "../../src/foundation/bounded-fetch.ts";
import type { Emulator } from "../emulator/handle.ts";
import { TEST_YAML } from "./gateway.ts";

export const IDENTITY_CLIENT_ID = "7b0f6c1e-0000-4000-8000-00000000a1d1";
const AUDIENCE = "api://AzureADTokenExchange";

export const MANAGED_IDENTITY_YAML = `${TEST_YAML}
credential: { sources: [managed-identity], managedIdentityClientId: ${IDENTITY_CLIENT_ID} }
`;

export interface FakePlatform {
  readonly fetch: Fetch;
  /** Tokens given so far. */
  readonly issued: number;
  /** While set, every request is answered with this status. */
  outage: number | undefined;
}

/**
 * @param endpoint The only address that answers, without its query.
 * @param isGenuine Whether a request is as the platform documents it, besides what all platforms want.
 */
export function createPlatform(
  emulator: Emulator,
  endpoint: string,
  isGenuine: (headers: Headers, query: URLSearchParams) => boolean,
): FakePlatform {
  // The identity's service principal, as a federated credential of the gateway's registration.
  emulator.addFederatedCredential(emulator.clientId, {
    issuer: `${emulator.authorityHost}${emulator.tenantId}/v2.0`,
    subject: principalOf(tokenOf(emulator)),
    audience: AUDIENCE,
  });
  let issued = 0;
  const platform = {
    outage: undefined as number | undefined,
    get issued() {
      return issued;
    },
    async fetch(input: string, init?: RequestInit): Promise<Response> {
      if (platform.outage !== undefined) return new Response("busy", { status: platform.outage });
      const url = new URL(input);
      const query = url.searchParams;
      if (url.origin + url.pathname !== endpoint || (init?.method ?? "GET") !== "GET")
        return new Response("", { status: 404 });
      if (query.get("resource") !== AUDIENCE || query.get("client_id") !== IDENTITY_CLIENT_ID)
        return Response.json({ error: "invalid_request" }, { status: 400 });
      if (!isGenuine(new Headers(init?.headers), query))
        return Response.json({ error: "unauthorized" }, { status: 401 });
      issued += 1;
      return Response.json({
        access_token: tokenOf(emulator),
        client_id: IDENTITY_CLIENT_ID,
        expires_on: String(Math.floor(emulator.now() / 1000) + 86_400),
        resource: AUDIENCE,
        token_type: "Bearer",
      });
    },
  };
  return platform;
}

function tokenOf(emulator: Emulator): string {
  return emulator.mintUserToken({ appOnly: true, audience: AUDIENCE, expiresInSeconds: 86_400 });
}

function principalOf(token: string): string {
  return JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()).sub;
}
