/** Composition root: configuration in, the public and the admin side out. Reads like a request's walk through the rooms. */

import type { RequestListener } from "node:http";
import type { GatewayConfig } from "./config/load.ts";
import { type ClientAssertionCallback, openCredential } from "./credential/credential.ts";
import {
  callableApis,
  checkUses,
  consentOptions,
  exchangeableTenants,
  readiness,
  resourceFacts,
  routesFor,
} from "./deductions.ts";
import { createForward } from "./downstream/forward.ts";
import { createForwardBatch } from "./downstream/graph/forward-batch.ts";
import { createTransport } from "./downstream/transport/pool.ts";
import { followRedirects } from "./downstream/transport/redirects.ts";
import { createCredentialCheck } from "./exchange/entra/credential-check.ts";
import { createManagedIdentityToken } from "./exchange/entra/managed-identity.ts";
import { loadMsal } from "./exchange/entra/msal.ts";
import { createTokenExchange } from "./exchange/exchange.ts";
import { openSharedTier } from "./exchange/shared-tier.ts";
import type { Fetch } from "./foundation/bounded-fetch.ts";
import { createClosing, type Keep } from "./foundation/closing.ts";
import { createAdminApp } from "./http/admin.ts";
import { createPublicApp } from "./http/app.ts";
import type { CodeRoute } from "./http/code-route.ts";
import { createLoadShedding } from "./http/load-shedding.ts";
import { securityFields } from "./http/own-fields.ts";
import { createRateLimits } from "./http/rate-limits.ts";
import { createRefusal } from "./http/refusal.ts";
import { metadataUrl } from "./http/resource-metadata.ts";
import type { ListenOptions } from "./http/server.ts";
import { resolveAuthority } from "./identity/authority.ts";
import { createTokenVerifier } from "./identity/token-verifier.ts";
import { createAudit, openAuditFile } from "./telemetry/audit.ts";
import { createLogger, type Logger, type LogSink } from "./telemetry/log.ts";
import { createMetrics } from "./telemetry/metrics.ts";
import { createRequestLog } from "./telemetry/request-line.ts";
import { createSignals } from "./telemetry/signals.ts";
import { standardOutput } from "./telemetry/standard-output.ts";
import { openTracing } from "./telemetry/tracing.ts";

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
  /** Worst lag of the event loop since the last call, ms, for tests of overload. Default: as measured. */
  readonly sampleLag?: () => number;
}

/** A gateway that is assembled and listens nowhere yet. */
export interface Gateway {
  /** The public side: an Express app, to be mounted on any server. */
  readonly app: RequestListener;
  /** The admin side: live, ready, metrics. */
  readonly admin: RequestListener;
  /** Answers what arrives when the time for new requests is over. */
  readonly refuse: RequestListener;
  /** How the server of the public side protects itself. */
  readonly guard: Pick<ListenOptions, "connections" | "onConnection" | "overload" | "own">;
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
  const { keep, close } = createClosing();
  try {
    return { ...(await assemble(config, parts, keep)), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function assemble(config: GatewayConfig, parts: GatewayParts, keep: Keep) {
  const { fetch = globalThis.fetch, now = Date.now } = parts;
  const { application, exchange: exchangeOptions } = config;
  const authority = resolveAuthority(application.authorityHost);
  const { routes: codeRoutes = routesFor(config) } = parts;
  checkUses(codeRoutes, config);

  const { logSink = standardOutput() } = parts;
  const log = createLogger(config.log.level, logSink);
  const metrics = createMetrics();
  const { auditFile: auditPath } = config.log;
  const auditFile = auditPath === undefined ? undefined : keep(openAuditFile(auditPath, log));
  const audit = createAudit(auditFile?.log ?? log);
  const tracing = config.tracing && keep(await openTracing(config.tracing, log));
  const signals = createSignals(log, createRequestLog(log, logSink), audit, metrics, tracing);

  const verifier = keep(
    await createTokenVerifier({ ...config.identity, authority, fetch, now, onEvent: signals.identity }),
  );

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

  const expiryMarginMs = exchangeOptions.cache.expiryMarginSeconds * 1000;
  // Behind the credential, which may be refused: this connects at once, and again for ever.
  const shared = keep(
    await openSharedTier({
      ...exchangeOptions.cache.redis,
      keys: exchangeOptions.cacheKeys,
      expiryMarginMs,
      exchangeTimeoutMs: exchangeOptions.timeoutMs,
      now,
      onEvent: signals.exchange,
    }),
  );

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

  const transport = keep(
    followRedirects(
      createTransport({
        apis: Object.values(config.downstreamApis),
        now,
        onEvent: signals.downstream,
        ...(parts.downstreamCa !== undefined && { ca: parts.downstreamCa }),
      }),
    ),
  );

  const { publicUrl } = config.http;
  const challenge = {
    clientId: application.clientId,
    authorizeEndpoint: authority.authorizeEndpoint,
    resourceMetadata: publicUrl === undefined ? undefined : metadataUrl(publicUrl),
  };
  const own = securityFields();
  let inRotation = true;
  const app = createPublicApp({
    verifier,
    exchange,
    forward: createForward({ transport, now, own }),
    forwardBatch: createForwardBatch({ transport, now }),
    ...config.http,
    apis: callableApis(config, transport),
    proxyRoutes: config.routes,
    codeRoutes,
    limit: createRateLimits({
      clientId: application.clientId,
      rules: config.limits,
      counters: shared?.counters,
      onEvent: signals.rateLimit,
    }),
    challenge,
    resource: publicUrl === undefined ? undefined : resourceFacts(publicUrl, config, codeRoutes, authority),
    own,
    isReady: () => readiness(inRotation, verifier, credential).every(({ ready }) => ready),
    observer: signals.requests,
    onInternalError: signals.internalError,
  });

  const overload = keep(
    createLoadShedding({
      ...config.http,
      refuseWith: (refusal) => createRefusal({ challenge, own, ...config.http }, refusal),
      sampleLag: parts.sampleLag,
      onEvent: signals.load,
    }),
  );
  if (overload !== undefined) metrics.watchLoad(overload);
  const admin = createAdminApp({ checks: () => readiness(inRotation, verifier, credential), metrics });
  const watch = setInterval(() => {
    credential.refresh().catch((err) => log.error({ err }, "the credential could not be looked at"));
  }, CREDENTIAL_WATCH_MS).unref();
  keep({ close: () => clearInterval(watch) });

  return {
    app,
    admin,
    refuse: createRefusal({ challenge, own, ...config.http }),
    guard: { connections: config.http.connections, onConnection: signals.connection, overload, own },
    log,
    async warmUp() {
      await Promise.all([verifier.warmUp(), loadMsal()]);
    },
    leaveRotation() {
      inRotation = false;
    },
  };
}
