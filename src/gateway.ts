/** Composition root: configuration in, the public and the admin side out. Reads like a request's walk through the rooms. */

import type { RequestListener } from "node:http";
import type { Fetch } from "./bounded-fetch.ts";
import type { GatewayConfig } from "./config.ts";
import { type CredentialRing, openCredential } from "./credential/credential.ts";
import { createDownstreamClient } from "./downstream/client.ts";
import { createForward } from "./downstream/forward.ts";
import { createForwardBatch } from "./downstream/forward-batch.ts";
import { createTransport, type Transport } from "./downstream/transport.ts";
import { ConfigurationError } from "./errors.ts";
import { createTokenExchange } from "./exchange/exchange.ts";
import { createAdminApp, type ReadinessCheck } from "./http/admin.ts";
import { createPublicApp, createRefusal } from "./http/app.ts";
import type { CallableApi, CodeRoute } from "./http/code-route.ts";
import { fileRoute } from "./http/file-route.ts";
import { inboxRoute } from "./http/inbox-route.ts";
import { profileRoute } from "./http/profile-route.ts";
import { metadataUrl } from "./http/resource-metadata.ts";
import { type Authority, resolveAuthority } from "./identity/authority.ts";
import { createTokenVerifier, type TokenVerifier } from "./identity/token-verifier.ts";
import { createSignals } from "./signals.ts";
import { createLogger, type Logger, type LogSink } from "./telemetry/log.ts";
import { createMetrics } from "./telemetry/metrics.ts";

/** What a program that embeds the gateway may bring; everything has a default. */
export interface GatewayParts {
  /** Routes written in code. Default: `GET /api/profile`, `/api/inbox` and `/api/files/:id`, where an API named `graph` is configured. */
  readonly routes?: readonly CodeRoute[];
  /** Where log lines go. Default: standard output. */
  readonly logSink?: LogSink;
  /** How the authority is reached. Default: the global `fetch`. */
  readonly fetch?: Fetch;
  /** Certificate authorities in PEM for downstream APIs, for tests; production sets NODE_EXTRA_CA_CERTS. */
  readonly downstreamCa?: string;
  /** Milliseconds since the epoch. Default: the system's clock. */
  readonly now?: () => number;
}

/** A gateway that is assembled and listens nowhere yet. */
export interface Gateway {
  /** The public side: an Express app, to be mounted on any server. */
  readonly app: RequestListener;
  /** The admin side: live, ready, metrics. */
  readonly admin: RequestListener;
  /** Answers what arrives when the time for new requests is over. */
  readonly refuse: RequestListener;
  readonly log: Logger;
  /** Resolves when signing keys are there. Until then `/readyz` says no and callers get `key_set_unavailable`. */
  warmUp(): Promise<void>;
  /** From now on `/readyz` says no, so that balancers turn away; requests are still served. */
  leaveRotation(): void;
  /** Lets go of connections and timers. Call it when no request is in flight. */
  close(): Promise<void>;
}

/** How often the credential's files are looked at while nobody uses them, so that readiness tells the truth. */
const CREDENTIAL_WATCH_MS = 60_000;

/** @throws {ConfigurationError} when a credential cannot be opened, or a route uses an API that is not configured. */
export async function createGateway(config: GatewayConfig, parts: GatewayParts = {}): Promise<Gateway> {
  const { fetch = globalThis.fetch, now = Date.now } = parts;
  const { application, exchange: exchangeOptions } = config;
  const authority = resolveAuthority(application.authorityHost);
  const codeRoutes =
    parts.routes ??
    [profileRoute, inboxRoute, fileRoute].filter(({ uses }) =>
      uses.every((api) => api in config.downstreamApis),
    );
  checkUses(codeRoutes, config);

  const log = createLogger(config.log.level, parts.logSink);
  const metrics = createMetrics();
  const signals = createSignals(log, metrics);

  const verifier = createTokenVerifier({
    ...config.identity,
    authority,
    fetch,
    now,
    onEvent: signals.identity,
  });

  const credential = await openCredential({
    ...config.credential,
    production: config.production,
    now,
    onEvent: signals.credential,
  });

  const exchange = createTokenExchange({
    clientId: application.clientId,
    authorityHost: `${authority.origin}/`,
    tokenEndpoint: authority.tokenEndpoint,
    authorizeEndpoint: authority.authorizeEndpoint,
    homeTenantId: application.tenantId,
    allowedTenants: exchangeableTenants(application),
    credential,
    fetch,
    timeoutMs: exchangeOptions.timeoutMs,
    cache: {
      maxEntries: exchangeOptions.cache.maxEntries,
      maxBytes: exchangeOptions.cache.maxBytes,
      expiryMarginMs: exchangeOptions.cache.expiryMarginSeconds * 1000,
    },
    ...(application.regionalAuthority !== undefined && { regionalAuthority: application.regionalAuthority }),
    now,
    onEvent: signals.exchange,
  });

  const transport = createTransport({
    apis: Object.values(config.downstreamApis),
    now,
    onEvent: signals.downstream,
    ...(parts.downstreamCa !== undefined && { ca: parts.downstreamCa }),
  });

  const { publicUrl } = config.http;
  const challenge = {
    clientId: application.clientId,
    authorizeEndpoint: authority.authorizeEndpoint,
    resourceMetadata: publicUrl === undefined ? undefined : metadataUrl(publicUrl),
  };
  const app = createPublicApp({
    verifier,
    exchange,
    forward: createForward({ transport, now }),
    forwardBatch: createForwardBatch({ transport, now }),
    publicUrl,
    apis: callableApis(config, transport),
    proxyRoutes: config.routes,
    codeRoutes,
    challenge,
    resource: publicUrl === undefined ? undefined : resourceFacts(publicUrl, config, authority),
    trustedProxies: config.http.trustedProxies,
    cors: config.http.cors,
    observe: signals.request,
    onInternalError: signals.internalError,
  });

  let inRotation = true;
  const admin = createAdminApp({ checks: () => readiness(inRotation, verifier, credential), metrics });
  const watch = setInterval(() => void credential.refresh(), CREDENTIAL_WATCH_MS).unref();

  return {
    app,
    admin,
    refuse: createRefusal(challenge),
    log,
    warmUp: () => verifier.warmUp(),
    leaveRotation() {
      inRotation = false;
    },
    async close() {
      clearInterval(watch);
      verifier.close();
      await transport.close();
    },
  };
}

function readiness(
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

function exchangeableTenants(application: GatewayConfig["application"]): readonly string[] | "*" {
  const { tenantId, additionallyAllowedTenants } = application;
  return additionallyAllowedTenants.includes("*") ? "*" : [tenantId, ...additionallyAllowedTenants];
}

function callableApis(config: GatewayConfig, transport: Transport): Record<string, CallableApi> {
  return Object.fromEntries(
    Object.values(config.downstreamApis).map((api) => [
      api.name,
      { scopes: api.scopes, client: (bound) => createDownstreamClient({ api, transport, ...bound }) },
    ]),
  );
}

function resourceFacts(
  publicUrl: string,
  { identity, routes, application }: GatewayConfig,
  authority: Authority,
) {
  const tenants = identity.tenants.includes("*") ? ["organizations"] : identity.tenants;
  const scopes = new Set(routes.flatMap(({ policy }) => policy.requiredScopes));
  return {
    publicUrl,
    authorizationServers: tenants.map((tenant) => authority.issuer(tenant, "2.0")),
    scopes: [...scopes].map((scope) => `api://${application.clientId}/${scope}`),
  };
}

function checkUses(routes: readonly CodeRoute[], { downstreamApis }: GatewayConfig): void {
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
