/** What of a changed configuration a running gateway takes over, and the names of the settings that wait for a restart. */

import { isDeepStrictEqual } from "node:util";
import type { GatewayConfig, ProxyRouteConfig } from "./config/load.ts";
import type { DownstreamApiOptions } from "./downstream/contract.ts";
import { Secret } from "./foundation/secret.ts";

export interface TakenOver {
  /** The new configuration, in which what waits for a restart is as before. */
  readonly config: GatewayConfig;
  /** Parts that changed and take effect now, as gateway.yaml names them. */
  readonly changed: readonly string[];
  /** Settings that changed and take effect with the next start. */
  readonly needRestart: readonly string[];
}

/** Parts of the configuration that are read once, when the process starts, with what they are called outside. */
const OF_THE_START: Readonly<Record<string, string>> = {
  listen: "",
  application: "",
  identity: "identity",
  credential: "credential",
  exchange: "exchange",
  admin: "admin",
  console: "console",
  fairness: "fairness",
  delegations: "delegations",
  local: "local",
  log: "log",
  tracing: "OTEL_*",
  proxies: "HTTP_PROXY, HTTPS_PROXY, NO_PROXY",
  permissionsTable: "PERMISSIONS_TABLE",
  production: "NODE_ENV",
};

/** Keys of `http` that the listener was made with. */
const OF_THE_LISTENER = ["connections", "maxEventLoopLagMs", "shutdownGraceSeconds"] as const;

/** Settings whose names outside are not their paths in the configuration. */
const NAMES: Readonly<Record<string, string>> = {
  "listen.host": "HOST",
  "listen.port": "PORT",
  "listen.adminPort": "ADMIN_PORT",
  "application.tenantId": "AZURE_TENANT_ID",
  "application.clientId": "AZURE_CLIENT_ID",
  "application.authorityHost": "AZURE_AUTHORITY_HOST",
  "application.exchangeTenants": "AZURE_ADDITIONALLY_ALLOWED_TENANTS",
  "application.regionalAuthority": "AZURE_REGIONAL_AUTHORITY_NAME",
  "credential.certificatePath": "AZURE_CLIENT_CERTIFICATE_PATH",
  "credential.certificate": "AZURE_CLIENT_CERTIFICATE",
  "credential.certificatePassword": "AZURE_CLIENT_CERTIFICATE_PASSWORD",
  "credential.sendCertificateChain": "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN",
  "credential.federatedTokenFile": "AZURE_FEDERATED_TOKEN_FILE",
  "credential.production": "NODE_ENV",
  "credential.clientSecret": "AZURE_CLIENT_SECRET",
  "exchange.cacheKeys": "TOKEN_CACHE_KEYS",
  "exchange.cacheKeysFile": "TOKEN_CACHE_KEYS_FILE",
  "log.level": "LOG_LEVEL",
  "log.auditFile": "AUDIT_LOG_FILE",
  "log.onAuditLoss": "audit.onLoss",
};

/** Parts that are made of others, or say nothing that takes effect. */
const DERIVED = ["handlerRoutes", "notices"];

type Members = Readonly<Record<string, unknown>>;

export function takeOver(before: GatewayConfig, after: GatewayConfig): TakenOver {
  const old = before as unknown as Members;
  const fresh = after as unknown as Members;
  const started = Object.entries(OF_THE_START);
  const needRestart = [
    ...started.flatMap(([part, name]) => changesIn(old[part], fresh[part], part, name)),
    ...OF_THE_LISTENER.flatMap((key) => changesIn(before.http[key], after.http[key], `http.${key}`)),
  ];

  const apis = Object.fromEntries(
    Object.entries(after.downstreamApis).map(([name, api]) => [
      name,
      sameOr(before.downstreamApis[name], api),
    ]),
  );
  const config: GatewayConfig = {
    ...after,
    ...(Object.fromEntries(started.map(([part]) => [part, old[part]])) as Partial<GatewayConfig>),
    http: { ...after.http, ...pick(before.http, OF_THE_LISTENER) },
    downstreamApis: apis,
    routes: after.routes.map(
      (route): ProxyRouteConfig => ({ ...route, api: apis[route.api.name] ?? route.api }),
    ),
  };
  const parts = Object.keys(config).filter((part) => !(part in OF_THE_START) && !DERIVED.includes(part));
  const taken = config as unknown as Members;
  const changed = parts.flatMap((part) => changesIn(old[part], taken[part], part));
  if (isChanged(before.handlerRoutes, config.handlerRoutes)) changed.push("routes");
  return {
    config: Object.freeze(config),
    changed: [...new Set(changed)],
    needRestart: [...new Set(needRestart)],
  };
}

/** The object of before, where both say the same: its connections and budgets hang on it. */
function sameOr(before: DownstreamApiOptions | undefined, after: DownstreamApiOptions): DownstreamApiOptions {
  return before !== undefined && !isChanged(before, after) ? before : after;
}

/** Names of what differs, one for each key of the object itself; of lists and of deeper objects the name of the whole. */
function changesIn(before: unknown, after: unknown, path: string, name = path): readonly string[] {
  if (!isChanged(before, after)) return [];
  if (!isObject(before) || !isObject(after)) return [name];
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  return keys
    .filter((key) => isChanged(before[key], after[key]))
    .map((key) => NAMES[`${path}.${key}`] ?? (name === path ? `${path}.${key}` : name));
}

function isChanged(before: unknown, after: unknown): boolean {
  return !isDeepStrictEqual(revealed(before), revealed(after));
}

/** A secret shows nothing of itself to a comparison. A key without a value is one that is not there. */
function revealed(value: unknown): unknown {
  if (value instanceof Secret) return { secret: value.reveal() };
  if (Array.isArray(value)) return value.map(revealed);
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, one]) => (one === undefined ? [] : [[key, revealed(one)]])),
  );
}

function isObject(value: unknown): value is Members {
  return value !== null && typeof value === "object" && !Array.isArray(value) && !(value instanceof Secret);
}

function pick<Whole extends object, Key extends keyof Whole>(
  whole: Whole,
  keys: readonly Key[],
): Pick<Whole, Key> {
  return Object.fromEntries(keys.map((key) => [key, whole[key]])) as Pick<Whole, Key>;
}
