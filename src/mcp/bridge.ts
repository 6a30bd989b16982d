/** Sign-in of MCP clients, between them and Entra. It issues no token and keeps no session, only marks with an end. */

import type { Fetch } from "../foundation/bounded-fetch.ts";
import type { Secret } from "../foundation/secret.ts";
import type { OpenRedis } from "../redis/contract.ts";
import { authorizeEndpoint } from "./bridge/authorize.ts";
import { createCarry } from "./bridge/carry.ts";
import { type ClientOptions, createClients } from "./bridge/clients.ts";
import { createHandles, createSignIns } from "./bridge/handles.ts";
import { createMarks } from "./bridge/marks.ts";
import { metadataEndpoints, PATHS } from "./bridge/metadata.ts";
import { createRefreshTokens } from "./bridge/refresh-tokens.ts";
import { registerEndpoint } from "./bridge/register.ts";
import { createResources } from "./bridge/scopes.ts";
import { createSeals } from "./bridge/seals.ts";
import { tokenEndpoint } from "./bridge/token.ts";
import type { Bridge, McpRoute } from "./contract.ts";

export interface BridgeOptions extends ClientOptions {
  /** How callers reach the gateway; the issuer of the metadata. */
  readonly publicUrl: string;
  /** App ID URI of the gateway, which qualifies the scopes of its routes. */
  readonly appIdUri: string;
  readonly routes: readonly McpRoute[];
  /** Whether dynamic client registration is answered. */
  readonly register: boolean;
  /** Tenants whose users may call; `*` is any. */
  readonly tenants: readonly string[];
  /** Scheme, host and port of the authority. */
  readonly authorityOrigin: string;
  readonly authorizeEndpoint: (tenant: string) => string;
  readonly tokenEndpoint: (tenant: string) => string;
  /** Master keys, base64: handles and refresh tokens outlive the process only with them. */
  readonly keys: () => readonly Secret[];
  readonly redis: Pick<OpenRedis, "store" | "sealing"> | undefined;
  readonly fetch: Fetch;
  /** For one request to Entra. */
  readonly timeoutMs: number;
  readonly now: () => number;
}

export function createBridge(options: BridgeOptions): Bridge {
  const { clientId, appIdUri, publicUrl, register, now } = options;
  const [only = "organizations", ...more] = options.tenants;
  // Entra signs users of any tenant in at this name, and none of personal accounts.
  const tenant = only === "*" || more.length > 0 ? "organizations" : only;
  const clients = createClients(options);
  const resources = createResources(options);
  const sealFor = createSeals(options.keys, JSON.stringify([publicUrl, appIdUri, clientId]));
  const handles = createHandles(sealFor({ purpose: "handle", stable: true }));
  const signIns = createSignIns(sealFor({ purpose: "sign-in" }));
  const refreshTokens = createRefreshTokens(sealFor({ purpose: "refresh token" }));
  const marks = createMarks(options);
  const parts = { clientId, appIdUri, clients, resources, handles, signIns, refreshTokens, marks, now };

  return {
    clientId,
    endpoints: new Map([
      ...metadataEndpoints({
        publicUrl,
        register,
        resources: resources.all,
        jwksUri: `${options.authorityOrigin}/${tenant}/discovery/v2.0/keys`,
      }),
      [
        PATHS.authorize,
        authorizeEndpoint({ ...parts, authorizeEndpoint: () => options.authorizeEndpoint(tenant) }),
      ],
      [
        PATHS.token,
        tokenEndpoint({
          ...parts,
          tenant,
          tokenEndpoint: options.tokenEndpoint,
          fetch: options.fetch,
          timeoutMs: options.timeoutMs,
        }),
      ],
      ...(register ? [[PATHS.register, registerEndpoint(parts)] as const] : []),
    ]),
    routes: new Map(resources.all.map((resource) => [resource.path, resource])),
    carry: createCarry(parts),
  };
}
