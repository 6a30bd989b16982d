/** What follows from the configuration for one room or another, without any of them being there yet. */

import type { GatewayConfig } from "./config/load.ts";
import type { CredentialRing } from "./credential/credential.ts";
import { createDownstreamClient } from "./downstream/client.ts";
import type { BatchLimits, Transport } from "./downstream/contract.ts";
import { readsOData } from "./downstream/target/downstream-api.ts";
import { ConfigurationError } from "./errors.ts";
import { fileRoute } from "./handlers/file.ts";
import { inboxRoute } from "./handlers/inbox.ts";
import { profileRoute } from "./handlers/profile.ts";
import type { ReadinessCheck } from "./http/admin.ts";
import type { CallableApi, CodeRoute } from "./http/code-route.ts";
import type { ResourceFacts } from "./http/resource-metadata.ts";
import type { Authority } from "./identity/authority.ts";
import type { TokenVerifier } from "./identity/token-verifier.ts";

/** The home tenant and those that the environment adds, or any. */
export function exchangeableTenants(application: GatewayConfig["application"]): readonly string[] | "*" {
  const { tenantId, additionallyAllowedTenants } = application;
  return additionallyAllowedTenants.includes("*") ? "*" : [tenantId, ...additionallyAllowedTenants];
}

/** Left-out settings are left out again: a room tells "not set" from "set to undefined". */
export function consentOptions({ frontEndClientId, appIdUri }: GatewayConfig["exchange"]["consent"]) {
  return {
    ...(frontEndClientId !== undefined && { frontEndClientId }),
    ...(appIdUri !== undefined && { appIdUri }),
  };
}

/** The RFC 9728 document of this gateway. */
export function resourceFacts(
  publicUrl: string,
  { identity, routes, application, exchange }: GatewayConfig,
  codeRoutes: readonly CodeRoute[],
  authority: Authority,
): ResourceFacts {
  const { appIdUri = `api://${application.clientId}` } = exchange.consent;
  const tenants = identity.tenants.includes("*") ? ["organizations"] : identity.tenants;
  const scopes = new Set([...routes, ...codeRoutes].flatMap(({ policy }) => policy.requiredScopes));
  return {
    publicUrl,
    authorizationServers: tenants.map((tenant) => authority.issuer(tenant, "2.0")),
    scopes: [...scopes].map((scope) => `${appIdUri}/${scope}`),
  };
}

/**
 * Mount points below which Graph's paging links will lead callers past the gateway, with a token that Graph refuses:
 * nobody has said how callers reach it. On the loopback interface the request itself says so.
 */
export function unlinkedRoutes({ http, listen, routes }: GatewayConfig): readonly string[] {
  if (http.publicUrl !== undefined || LOOPBACK.includes(listen.host)) return [];
  return routes.filter(({ api }) => readsOData(api)).map(({ target }) => target.path);
}

const LOOPBACK = ["127.0.0.1", "::1", "localhost"];

/** @throws {ConfigurationError} naming each API that a route uses and the configuration lacks. */
export function checkUses(routes: readonly CodeRoute[], { downstreamApis }: GatewayConfig): void {
  const faults = routes.flatMap(({ method, path, uses }) =>
    uses
      .filter((name) => !(name in downstreamApis))
      .map((name) => ({
        path: `downstreamApis.${name}`,
        problem: `is missing; the route ${method.toUpperCase()} ${path} uses it`,
      })),
  );
  if (faults.length > 0) throw new ConfigurationError(faults);
}

/** The routes in code that come along, where an API named `graph` is configured. */
export function routesFor(config: GatewayConfig): readonly CodeRoute[] {
  return [profileRoute, inboxRoute, fileRoute].filter(({ uses }) =>
    uses.every((api) => api in config.downstreamApis),
  );
}

/** How many batches, and how many of their bytes, one caller and the process may hold. */
export function batchLimits({ fairness }: GatewayConfig): BatchLimits {
  const { batches: places, batchBytes: bytes, userShare, clientShare } = fairness;
  return { places, bytes, userShare, clientShare };
}

/** APIs as code routes call them. */
export function callableApis(config: GatewayConfig, transport: Transport): Record<string, CallableApi> {
  return Object.fromEntries(
    Object.values(config.downstreamApis).map((api) => [
      api.name,
      { scopes: api.scopes, client: (bound) => createDownstreamClient({ api, transport, ...bound }) },
    ]),
  );
}

/** What `/readyz` goes by. */
export function readiness(
  inRotation: boolean,
  verifier: TokenVerifier,
  credential: CredentialRing,
): ReadinessCheck[] {
  const { usable, serving, sources } = credential.status();
  return [
    { name: "rotation", ready: inRotation },
    { name: "signing-keys", ready: verifier.ready() },
    { name: "credential", ready: usable, detail: { serving, sources } },
  ];
}
