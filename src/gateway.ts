/** Composition root: configuration in, the public and the admin side out. Reads like a request's walk through the rooms. */

import type { RequestListener } from "node:http";
import type { Fetch } from "./bounded-fetch.ts";
import type { GatewayConfig } from "./config.ts";
import {
  type ClientAssertionCallback,
  type CredentialRing,
  openCredential,
} from "./credential/credential.ts";
import { checkUses, consentOptions, exchangeableTenants, resourceFacts } from "./deductions.ts";
import { createDownstreamClient } from "./downstream/client.ts";
import { createForward } from "./downstream/forward.ts";
import { createForwardBatch } from "./downstream/forward-batch.ts";
import { followRedirects } from "./downstream/redirects.ts";
import { createTransport, type Transport } from "./downstream/transport.ts";
import { createCredentialCheck } from "./exchange/credential-check.ts";
import { createTokenExchange } from "./exchange/exchange.ts";
import { createManagedIdentityToken } from "./exchange/msal-managed-identity.ts";
import { openSharedTier } from "./exchange/shared-tier.ts";
import { createAdminApp, type ReadinessCheck } from "./http/admin.ts";
import { createPublicApp, createRefusal } from "./http/app.ts";
import type { CallableApi, CodeRoute } from "./http/code-route.ts";
import { fileRoute } from "./http/file-route.ts";
import { inboxRoute } from "./http/inbox-route.ts";
import { profileRoute } from "./http/profile-route.ts";
import { metadataUrl } from "./http/resource-metadata.ts";
import { resolveAuthority } from "./identity/authority.ts";
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
  /** Makes client assertions for the source `client-assertion`, asked for each proof of the gateway. */
  readonly clientAssertion?: ClientAssertionCallback;
  /** How the authority, and whoever else issues tokens for the gateway, is reached. Default: the global `fetch`. */
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

  const expiryMarginMs = exchangeOptions.cache.expiryMarginSeconds * 1000;
  const shared = await openSharedTier({
    ...exchangeOptions.cache.redis,
    keys: exchangeOptions.cacheKeys,
    expiryMarginMs,
    exchangeTimeoutMs: exchangeOptions.timeoutMs,
    now,
    onEvent: signals.exchange,
  });

  const wire = {
    clientId: application.clientId,
    authorityHost: `${authority.origin}/`,
    tokenEndpoint: authority.tokenEndpoint,
    authorizeEndpoint: authority.authorizeEndpoint,
    homeTenantId: application.tenantId,
    fetch,
    timeoutMs: exchangeOptions.timeoutMs,
    ...(application.regionalAuthority !== undefined && { regionalAuthority: application.regionalAuthority }),
    now,
  };
  const credential = await openCredential({
    ...config.credential,
    clientAssertion: parts.clientAssertion,
    ...(config.credential.managedIdentityClientId !== undefined && {
      managedIdentityToken: createManagedIdentityToken({
        clientId: config.credential.managedIdentityClientId,
        fetch,
        timeoutMs: exchangeOptions.timeoutMs,
      }),
    }),
    federationAudience: authority.federatedCredentialAudience,
    canary: {
      request: {
        clientId: application.clientId,
        tokenEndpoint: authority.tokenEndpoint(application.tenantId),
      },
      proveWith: createCredentialCheck(wire),
    },
    fetch,
    production: config.production,
    now,
    onEvent: signals.credential,
  });

  metrics.watchCredential(credential.status);

  const exchange = createTokenExchange({
    ...wire,
    allowedTenants: exchangeableTenants(application),
    credential,
    cache: {
      maxEntries: exchangeOptions.cache.maxEntries,
      maxBytes: exchangeOptions.cache.maxBytes,
      expiryMarginMs,
    },
    ...(shared && { shared }),
    consent: consentOptions(exchangeOptions.consent),
    onEvent: signals.exchange,
  });

  metrics.watchTokenCache({ ...exchange.cached, sharedAvailable: shared?.available });

  const transport = followRedirects(
    createTransport({
      apis: Object.values(config.downstreamApis),
      now,
      onEvent: signals.downstream,
      ...(parts.downstreamCa !== undefined && { ca: parts.downstreamCa }),
    }),
  );

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
    resource: publicUrl === undefined ? undefined : resourceFacts(publicUrl, config, codeRoutes, authority),
    trustedProxies: config.http.trustedProxies,
    cors: config.http.cors,
    observe: signals.request,
    onInternalError: signals.internalError,
  });

  let inRotation = true;
  const admin = createAdminApp({ checks: () => readiness(inRotation, verifier, credential), metrics });
  const watch = setInterval(() => {
    credential.refresh().catch((err) => log.error({ err }, "the credential could not be looked at"));
  }, CREDENTIAL_WATCH_MS).unref();

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
      await shared?.close();
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

function callableApis(config: GatewayConfig, transport: Transport): Record<string, CallableApi> {
  return Object.fromEntries(
    Object.values(config.downstreamApis).map((api) => [
      api.name,
      { scopes: api.scopes, client: (bound) => createDownstreamClient({ api, transport, ...bound }) },
    ]),
  );
}
