/** The directory that every emulator starts with. */

import { randomUUID } from "node:crypto";
import { ADMIN_PERMISSIONS, DELEGATED_PERMISSIONS } from "../graph/permissions.ts";
import type { Application, TenantOptions, User } from "../handle.ts";
import { GRAPH_ORIGINS } from "./clouds.ts";
import type { Directory, Registration } from "./directory.ts";

/** Microsoft Graph's own client id, the same in every tenant. */
export const GRAPH_APP_ID = "00000003-0000-0000-c000-000000000000";
/** The resource that stands for `api://AzureADTokenExchange`. */
const TOKEN_EXCHANGE_APP_ID = "fb60f99c-7a34-4190-8149-302f77469936";

// Fixed ids, so that configuration written for one run of the emulator fits the next one.
export const HOME_TENANT = { id: "6f1c3b52-90a7-4d5e-8f0b-0d6f2c1a7e01", domain: "home.example" };
export const SECOND_TENANT = { id: "6f1c3b52-90a7-4d5e-8f0b-0d6f2c1a7e02", domain: "second.example" };
export const FOREIGN_TENANT = { id: "6f1c3b52-90a7-4d5e-8f0b-0d6f2c1a7e03", domain: "foreign.example" };
const GATEWAY_ID = "b2d0f6e4-5a1c-4c38-9d27-3e8f4a6b1c01";
const FRONT_END_ID = "b2d0f6e4-5a1c-4c38-9d27-3e8f4a6b1c02";
const ORDERS_ID = "b2d0f6e4-5a1c-4c38-9d27-3e8f4a6b1c03";

const PUBLIC_CLIENT_ID = "b2d0f6e4-5a1c-4c38-9d27-3e8f4a6b1c04";
/** Azure's own id of the API behind `https://redis.azure.com`. */
const REDIS_APP_ID = "acca5fbb-b7e4-4009-81f1-37e38fd66d78";

/** What the shipped routes need of Graph, by its permission table, and what their writing neighbours need. */
const GATEWAY_GRAPH_SCOPES = [
  "User.Read",
  "User.Read.All",
  "Mail.ReadBasic",
  "Mail.Read",
  "Mail.ReadWrite",
  "Mail.Send",
  "Files.Read",
  "Files.ReadWrite",
];

export interface Seed {
  readonly gateway: Registration;
  readonly frontEnd: Registration;
  readonly publicClient: Registration;
  readonly orders: Registration;
  readonly graph: Registration;
  readonly users: Record<"ada" | "grace" | "edsger" | "linus" | "mallory", User>;
}

export function seedDirectory(
  directory: Directory,
  options: { readonly graphOrigin: string; readonly tenants: readonly TenantOptions[] },
): Seed {
  const tenants: TenantOptions[] = [
    { ...HOME_TENANT, gatewayOnboarded: true },
    { ...SECOND_TENANT, gatewayOnboarded: true },
    { ...FOREIGN_TENANT, gatewayOnboarded: false },
    ...options.tenants,
  ];
  const everywhere = tenants.map(({ id }) => id.toLowerCase());
  const onboarded = tenants.filter((tenant) => tenant.gatewayOnboarded).map(({ id }) => id.toLowerCase());
  directory.tenants.push(...tenants.map(({ id, domain }) => ({ id: id.toLowerCase(), domain })));

  const graphOrigins = [...GRAPH_ORIGINS, options.graphOrigin];
  const graph = registration(everywhere, {
    clientId: GRAPH_APP_ID,
    displayName: "Microsoft Graph",
    identifierUris: [...graphOrigins, ...graphOrigins.map((origin) => `${origin}/`), GRAPH_APP_ID],
    accessTokenVersion: 1,
    exposedScopes: DELEGATED_PERMISSIONS,
    adminScopes: new Set(ADMIN_PERMISSIONS),
  });
  const orders = registration(everywhere, {
    clientId: ORDERS_ID,
    displayName: "Orders API",
    identifierUris: [`api://${ORDERS_ID}`, ORDERS_ID],
    accessTokenVersion: 2,
    exposedScopes: ["orders.read", "orders.write"],
  });
  const tokenExchange = registration(everywhere, {
    clientId: TOKEN_EXCHANGE_APP_ID,
    displayName: "Token exchange endpoint",
    identifierUris: ["api://AzureADTokenExchange", TOKEN_EXCHANGE_APP_ID],
    accessTokenVersion: 1,
    exposedScopes: [],
  });
  const gateway = registration(onboarded, {
    clientId: GATEWAY_ID,
    displayName: "obo-gateway",
    identifierUris: [`api://${GATEWAY_ID}`, GATEWAY_ID],
    accessTokenVersion: 2,
    exposedScopes: ["access_as_user", "tools.write"],
  });
  gateway.requiredResources
    .set(GRAPH_APP_ID, GATEWAY_GRAPH_SCOPES)
    .set(ORDERS_ID, ["orders.read"])
    .set(TOKEN_EXCHANGE_APP_ID, [])
    .set(REDIS_APP_ID, []);
  gateway.knownClients.add(FRONT_END_ID).add(PUBLIC_CLIENT_ID);
  gateway.redirectUris.push({ type: "web", uri: "http://localhost/consented" });
  const frontEnd = registration(onboarded, {
    clientId: FRONT_END_ID,
    displayName: "Front end",
    identifierUris: [],
    accessTokenVersion: 2,
    exposedScopes: [],
  });
  frontEnd.requiredResources.set(GATEWAY_ID, ["access_as_user"]);
  frontEnd.redirectUris.push(
    { type: "spa", uri: "http://localhost" },
    { type: "spa", uri: "http://localhost/redirect" },
    { type: "spa", uri: "http://localhost/redirect.html" },
  );
  const publicClient = registration(onboarded, {
    clientId: PUBLIC_CLIENT_ID,
    displayName: "Command line and MCP client",
    identifierUris: [],
    accessTokenVersion: 2,
    exposedScopes: [],
  });
  publicClient.requiredResources.set(GATEWAY_ID, ["access_as_user"]);
  publicClient.redirectUris.push(
    { type: "public", uri: "http://localhost" },
    { type: "public", uri: "http://localhost/callback" },
    { type: "public", uri: "http://localhost/oauth/callback" },
    { type: "public", uri: "http://127.0.0.1:33418" },
    { type: "public", uri: "https://vscode.dev/redirect" },
  );
  const redis = registration(everywhere, {
    clientId: REDIS_APP_ID,
    displayName: "Azure Cache for Redis",
    identifierUris: ["https://redis.azure.com", "https://redis.azure.com/", REDIS_APP_ID],
    accessTokenVersion: 1,
    exposedScopes: [],
  });
  directory.applications.push(graph, orders, tokenExchange, gateway, frontEnd, publicClient, redis);

  for (const tenantId of onboarded) {
    directory.grants.push(
      { tenantId, clientId: GATEWAY_ID, resourceId: GRAPH_APP_ID, scopes: GATEWAY_GRAPH_SCOPES },
      { tenantId, clientId: GATEWAY_ID, resourceId: ORDERS_ID, scopes: ["orders.read"] },
      // As for clients that the gateway's registration names as pre-authorised.
      { tenantId, clientId: FRONT_END_ID, resourceId: GATEWAY_ID, scopes: ["access_as_user"] },
      { tenantId, clientId: PUBLIC_CLIENT_ID, resourceId: GATEWAY_ID, scopes: ["access_as_user"] },
    );
  }
  return { gateway, frontEnd, publicClient, orders, graph, users: seedUsers(directory) };
}

function seedUsers(directory: Directory): Seed["users"] {
  const add = (name: string, displayName: string, tenant: typeof HOME_TENANT, more: Partial<User>): User => {
    const user = newUser({
      name,
      displayName,
      tenantId: tenant.id,
      userPrincipalName: `${name}@${tenant.domain}`,
      ...more,
    });
    directory.addUser(user);
    return user;
  };
  const id = (last: string) => `0c4a7d90-2b6e-4f13-a5d8-91e7c3b0f${last}`;
  // The first user of a tenant is the default of minted tokens.
  const ada = add("ada", "Ada Lovelace", HOME_TENANT, {
    objectId: id("001"),
    managerObjectId: id("002"),
    hasPhoto: true,
    messageCount: 23,
  });
  const grace = add("grace", "Grace Hopper", HOME_TENANT, { objectId: id("002"), messageCount: 3 });
  const edsger = add("edsger", "Edsger Dijkstra", HOME_TENANT, {
    objectId: id("003"),
    managerObjectId: ada.objectId,
    administrator: true,
  });
  const linus = add("linus", "Linus Pauling", SECOND_TENANT, { objectId: id("004"), messageCount: 2 });
  const mallory = add("mallory", "Mallory Foreign", FOREIGN_TENANT, { objectId: id("005") });
  return { ada, grace, edsger, linus, mallory };
}

/** Object id of an application's service principal: `oid` of the tokens that it gets for itself. */
export function principalIdOf(clientId: string): string {
  return clientId.replace(/^.{8}/, "5e5e5e5e");
}

export function newUser(given: Partial<User>): User {
  const objectId = given.objectId ?? randomUUID();
  const name = given.name ?? `user-${objectId.slice(0, 8)}`;
  return {
    name,
    objectId,
    tenantId: HOME_TENANT.id,
    displayName: name,
    userPrincipalName: `${name}@${HOME_TENANT.domain}`,
    hasPhoto: false,
    messageCount: 0,
    ...given,
  };
}

function registration(
  tenants: readonly string[],
  application: Application & Partial<Pick<Registration, "adminScopes">>,
): Registration {
  return {
    adminScopes: new Set(),
    ...application,
    certificates: [],
    secrets: [],
    federatedCredentials: [],
    tenants: new Set(tenants),
    requiredResources: new Map(),
    redirectUris: [],
    knownClients: new Set(),
  };
}
