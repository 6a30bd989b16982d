/** Configuration, parsed once and whole: gateway.yaml and the environment in, a frozen GatewayConfig or every fault out. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseEnv } from "node:util";
import { getHeapStatistics } from "node:v8";
import { LineCounter, parseDocument } from "yaml";
import type { CredentialOptions } from "../credential/contract.ts";
import type { DownstreamApiOptions, TargetRules } from "../downstream/contract.ts";
import { ConfigurationError, type ConfigurationFault } from "../errors.ts";
import { GRAPH_MCP } from "../foundation/graph-mcp.ts";
import type { Secret } from "../foundation/secret.ts";
import { decodeText } from "../foundation/text.ts";
import type { RoutePolicy } from "../identity/contract.ts";
import type { ProxyOptions } from "../outbound/contract.ts";
import type { TracingOptions } from "../telemetry/contract.ts";
import { cacheKeyFaults, crossChecks, localListenerFaults, unusedListener } from "./cross-checks.ts";
import {
  cleanEnvironment,
  type GatewayEnvironment,
  readEnvironment,
  readValidVariables,
} from "./environment.ts";
import { faultsOf } from "./faults.ts";
import {
  HELD_ANSWER_BYTES,
  ISSUER_TIMEOUT_MS,
  KEY_SET_TIMINGS,
  TRANSPORT_LIMITS,
  VERIFIED_TOKEN_MAX_AGE_MS,
} from "./fixed.ts";
import { boundsFor, type CacheBounds } from "./heap-bounds.ts";
import { interpolate } from "./interpolate.ts";
import { gatewayJsonSchema } from "./json-schema.ts";
import { mcpFaults } from "./mcp-checks.ts";
import { readProxies } from "./proxies.ts";
import { type GatewayYaml, gatewayYaml } from "./schema.ts";
import { readTracing } from "./tracing.ts";

/** A route of the YAML file: who may pass, where to, and what passes. */
export interface ProxyRouteConfig {
  /** Whose permissions are used: the caller's, or the gateway's. */
  readonly as: "user" | "app";
  /** Whether a server of the Model Context Protocol stands behind. */
  readonly mcp: boolean;
  /** Rules for the tools of that server. */
  readonly tools: GatewayYaml["routes"][number]["tools"];
  readonly target: TargetRules;
  readonly api: DownstreamApiOptions;
  readonly policy: RoutePolicy;
  readonly limits: GatewayYaml["limits"];
  /** Whether `delegations.routes` names it. */
  readonly takesDelegations: boolean;
}

/** A route of the YAML file that a handler answers. */
export interface HandlerRouteConfig {
  /** Where the route stands in the file, for faults: `routes[2]`. */
  readonly position: string;
  readonly path: string;
  /** Name of the handler. Which names there are is known where handlers are registered. */
  readonly handler: string;
  /** The API that the handler calls, where its name is not the one that the handler expects. */
  readonly downstreamApi: string | undefined;
  readonly as: "user" | "app";
  /** Whether the handler speaks the Model Context Protocol. */
  readonly mcp: boolean;
  /** Rules for the tools of such a handler. */
  readonly tools: GatewayYaml["routes"][number]["tools"];
  /** Methods of the handler's own calls, where it leaves them to the file. */
  readonly methods: readonly string[];
  /** Downstream paths that the handler may call. `undefined`: any. */
  readonly allow: readonly string[] | undefined;
  readonly policy: RoutePolicy;
  readonly limits: GatewayYaml["limits"];
  readonly takesDelegations: boolean;
}

/** With the bound of its cache, which follows the heap where the file leaves it out. */
type Bounded<Part extends { readonly cache: object }> = Omit<Part, "cache"> & {
  readonly cache: Omit<Part["cache"], "maxBytes"> & { readonly maxBytes: number };
};

export interface DelegationsConfig extends Omit<NonNullable<GatewayYaml["delegations"]>, "routes"> {
  /** Scopes of the API for which Entra gives the first refresh token: that of the first route, or the first one. */
  readonly scopes: readonly string[];
}
/** The local API, where it is switched on. */
export type LocalConfig = NonNullable<GatewayYaml["local"]> & {
  /** A port of the loopback address; 0 takes a free one. */
  readonly port: number | undefined;
  /** Path of a Unix socket. */
  readonly socket: string | undefined;
};

/** The audience of federated tokens follows from the authority. */
export type CredentialFacts = Omit<CredentialOptions, "federationAudience">;

export interface GatewayConfig {
  readonly listen: { readonly host: string; readonly port: number; readonly adminPort: number };
  /** The gateway's app registration, and the authority that it belongs to. */
  readonly application: {
    readonly tenantId: string;
    readonly clientId: string;
    /** Absolute https URL with a trailing slash. */
    readonly authorityHost: string;
    /** Tenants for whose users exchanges are made, the home tenant included; `*` is any. */
    readonly exchangeTenants: readonly string[] | "*";
    readonly regionalAuthority: string | undefined;
  };
  readonly identity: Omit<GatewayYaml["identity"], "cache"> & {
    readonly cache: Bounded<GatewayYaml["identity"]>["cache"] & { readonly maxAgeMs: number };
    readonly keySet: typeof KEY_SET_TIMINGS;
  };
  readonly credential: CredentialFacts;
  readonly exchange: Bounded<GatewayYaml["exchange"]> & {
    /** Master keys of the shared tier, base64; the first one seals, all open. */
    readonly cacheKeys: readonly Secret[];
    /** File with such keys, in their place. Undefined as well where no shared tier is configured. */
    readonly cacheKeysFile: string | undefined;
    readonly consent: { readonly appIdUri: string };
  };
  readonly downstreamApis: Readonly<Record<string, DownstreamApiOptions>>;
  /** Bounds of every connection to them. */
  readonly transport: typeof TRANSPORT_LIMITS;
  /** Largest answer that a handler's client takes into memory as a whole. */
  readonly heldAnswerBytes: number;
  /** Routes that forward, the longest path first. */
  readonly routes: readonly ProxyRouteConfig[];
  /** Routes that a handler answers. */
  readonly handlerRoutes: readonly HandlerRouteConfig[];
  readonly http: GatewayYaml["http"];
  /** Undefined where MCP clients do not sign in through the gateway. */
  readonly mcp: GatewayYaml["mcp"];
  readonly admin: GatewayYaml["admin"];
  readonly console: GatewayYaml["console"];
  /** Undefined where the file has no such part; then nothing listens for it. */
  readonly local: LocalConfig | undefined;
  readonly limits: GatewayYaml["limits"];
  /** Parts, above 0 and at most 1, of each budget that one user and one client may hold. */
  readonly fairness: GatewayYaml["fairness"];
  /** Undefined where there are none. */
  readonly delegations: DelegationsConfig | undefined;
  readonly log: GatewayYaml["log"] & {
    readonly level: string;
    readonly auditFile: string | undefined;
    readonly onAuditLoss: GatewayYaml["audit"]["onLoss"];
  };
  /** Graph's table of permissions, for the handler that searches it, and to compare calls with what was granted. */
  readonly permissionsTable: string | undefined;
  /** None are made without. */
  readonly tracing: TracingOptions | undefined;
  /** Of the environment; undefined where it names none, and everything is connected to directly. */
  readonly proxies: ProxyOptions | undefined;
  readonly production: boolean;
  /** Notes on the environment for the operator, although the gateway starts; never the value of a variable. */
  readonly notices: readonly ConfigurationFault[];
}

/**
 * Reads the file named by `GATEWAY_CONFIG` (default `config/gateway.yaml`, relative to the working directory)
 * and the environment.
 *
 * @param heapBytes Where V8's heap ends, which bounds the caches. Default: this process'.
 * @throws {ConfigurationError} with every fault of the file and the environment together.
 */
export function loadConfig(
  variables: Readonly<Record<string, string | undefined>>,
  heapBytes = getHeapStatistics().heap_size_limit,
): GatewayConfig {
  const { env, notices } = cleanEnvironment(variables);
  const file = fileOf(env);
  const faults: ConfigurationFault[] = [];
  const environment = readEnvironment(env, faults);
  const tracing = readTracing(env, faults);
  const proxies = readProxies(env, faults);
  const yaml = readYaml(file, env, faults);
  const bounds = boundsFor(
    { tokens: yaml?.exchange.cache.maxBytes, verified: yaml?.identity.cache.maxBytes },
    heapBytes,
    faults,
  );
  if (yaml?.local !== undefined) faults.push(...localListenerFaults(env));
  if (environment === undefined || yaml === undefined || faults.length > 0)
    throw new ConfigurationError(faults);
  return deepFreeze({
    ...assemble(environment, yaml, bounds),
    tracing,
    proxies,
    notices: yaml.local === undefined ? [...notices, ...unusedListener(env)] : notices,
  });
}

/** What the file says, before variables are filled in. */
function readFile(file: string, faults: ConfigurationFault[]): { readonly written: unknown } | undefined {
  let text: string;
  try {
    text = decodeText(readFileSync(file));
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    faults.push({ path: "GATEWAY_CONFIG", problem: `cannot read ${file} (${code ?? "unknown error"})` });
    return undefined;
  }
  const lineCounter = new LineCounter();
  const document = parseDocument(text, { lineCounter, prettyErrors: false });
  // Where the syntax is broken the rest is guesswork: what follows the first few errors is their echo.
  for (const { pos, message } of document.errors.slice(0, 3)) {
    const { line, col } = lineCounter.linePos(pos[0]);
    faults.push({ path: `${file}:${line}:${col}`, problem: message });
  }
  if (document.errors.length > 0) return undefined;

  if (document.contents === null) {
    faults.push({
      path: file,
      problem: "is empty; config/gateway.yaml of this project is one to begin with",
    });
    return undefined;
  }
  let written: unknown;
  try {
    written = document.toJS();
  } catch (cause) {
    // Aliases are resolved only now; an unquoted * makes one.
    const problem = `${cause instanceof Error ? cause.message : cause}; text that begins with * needs quotes`;
    faults.push({ path: file, problem });
    return undefined;
  }
  return { written };
}

function readYaml(
  file: string,
  env: Readonly<Record<string, string | undefined>>,
  faults: ConfigurationFault[],
): GatewayYaml | undefined {
  const read = readFile(file, faults);
  if (read === undefined) return undefined;
  const { written } = read;
  const unset: ConfigurationFault[] = [];
  const filledIn = interpolate(written, env, unset);
  const parsed = gatewayYaml.safeParse(filledIn, { reportInput: true });
  // A value that could not be filled in fails the schema's check, too; one sentence about it is enough.
  const named = new Set(unset.map(({ path }) => path));
  const shape = parsed.success ? [] : faultsOf(parsed.error.issues, gatewayJsonSchema());
  faults.push(...unset, ...shape.filter(({ path }) => !named.has(path)), ...crossChecks(filledIn));
  faults.push(...cacheKeyFaults(filledIn, Boolean(env.TOKEN_CACHE_KEYS || env.TOKEN_CACHE_KEYS_FILE)));
  faults.push(...mcpFaults(filledIn, env.AZURE_CLIENT_ID));
  return parsed.success ? parsed.data : undefined;
}

export interface CredentialSettings {
  readonly options: CredentialFacts;
  /** Whether the file's part `credential` is valid. Otherwise the options are those of the environment alone. */
  readonly isFileValid: boolean;
}

/** The settings of the credential alone, for a configuration that is faulty elsewhere. */
export function readCredentialSettings(
  variables: Readonly<Record<string, string | undefined>>,
): CredentialSettings {
  const { env } = cleanEnvironment(variables);
  const written = readFile(fileOf(env), [])?.written;
  const unset: ConfigurationFault[] = [];
  const part =
    typeof written === "object" && written !== null ? Reflect.get(written, "credential") : undefined;
  const parsed = gatewayYaml.shape.credential.safeParse(interpolate(part, env, unset));
  const isFileValid = written !== undefined && parsed.success && unset.length === 0;
  return {
    options: credentialOf(readValidVariables(env), isFileValid ? parsed.data : {}),
    isFileValid,
  };
}

/** The file that the environment names. */
export function fileOf(env: Readonly<Record<string, string | undefined>>): string {
  return env.GATEWAY_CONFIG || "config/gateway.yaml";
}

function assemble(
  env: GatewayEnvironment,
  yaml: GatewayYaml,
  bounds: CacheBounds,
): Omit<GatewayConfig, "tracing" | "proxies" | "notices"> {
  const downstreamApis = Object.fromEntries(
    Object.entries(yaml.downstreamApis).map(([name, api]) => [name, apiOf(name, api)]),
  );
  return {
    listen: { host: env.HOST, port: env.PORT, adminPort: env.ADMIN_PORT },
    application: {
      tenantId: env.AZURE_TENANT_ID,
      clientId: env.AZURE_CLIENT_ID,
      authorityHost: env.AZURE_AUTHORITY_HOST,
      exchangeTenants: env.AZURE_ADDITIONALLY_ALLOWED_TENANTS.includes("*")
        ? "*"
        : [env.AZURE_TENANT_ID, ...env.AZURE_ADDITIONALLY_ALLOWED_TENANTS],
      regionalAuthority: env.AZURE_REGIONAL_AUTHORITY_NAME,
    },
    identity: {
      ...yaml.identity,
      cache: { ...yaml.identity.cache, maxBytes: bounds.verified, maxAgeMs: VERIFIED_TOKEN_MAX_AGE_MS },
      keySet: KEY_SET_TIMINGS,
    },
    credential: credentialOf(env, yaml.credential),
    exchange: {
      ...yaml.exchange,
      cache: { ...yaml.exchange.cache, maxBytes: bounds.tokens },
      consent: {
        ...yaml.exchange.consent,
        appIdUri: yaml.exchange.consent.appIdUri ?? `api://${env.AZURE_CLIENT_ID}`,
      },
      cacheKeys: env.TOKEN_CACHE_KEYS ?? [],
      cacheKeysFile: yaml.exchange.cache.redis.url.reveal() === "" ? undefined : env.TOKEN_CACHE_KEYS_FILE,
    },
    downstreamApis,
    transport: TRANSPORT_LIMITS,
    heldAnswerBytes: HELD_ANSWER_BYTES,
    routes: forwardingRoutes(yaml, downstreamApis),
    handlerRoutes: handlerRoutes(yaml),
    http: yaml.http,
    mcp: yaml.mcp,
    admin: yaml.admin,
    console: yaml.console,
    local: yaml.local && { ...yaml.local, port: env.LOCAL_PORT, socket: env.LOCAL_SOCKET },
    limits: yaml.limits,
    fairness: yaml.fairness,
    delegations: yaml.delegations && delegationsOf(yaml.delegations, yaml),
    log: {
      ...yaml.log,
      level: env.LOG_LEVEL,
      auditFile: env.AUDIT_LOG_FILE,
      onAuditLoss: yaml.audit.onLoss,
    },
    permissionsTable: env.PERMISSIONS_TABLE,
    production: isProduction(env),
  };
}

/** What a server of the streamable HTTP transport is asked with: messages, the stream of a session, its end. */
const MCP_METHODS = ["POST", "GET", "DELETE"];

function delegationsOf(
  { routes: paths, ...rest }: NonNullable<GatewayYaml["delegations"]>,
  { routes, downstreamApis }: GatewayYaml,
): DelegationsConfig {
  const first = routes.find(({ path }) => path === paths[0])?.downstreamApi;
  const api = downstreamApis[first ?? ""] ?? Object.values(downstreamApis)[0];
  return { ...rest, scopes: api?.scopes ?? [] };
}

function isProduction({ NODE_ENV }: Partial<GatewayEnvironment>): boolean {
  return NODE_ENV === "production";
}

function credentialOf(env: Partial<GatewayEnvironment>, file: GatewayYaml["credential"]): CredentialFacts {
  return {
    issuerTimeoutMs: ISSUER_TIMEOUT_MS,
    production: isProduction(env),
    ...(file.sources && { sources: file.sources }),
    ...(env.AZURE_CLIENT_CERTIFICATE_PATH && { certificatePath: env.AZURE_CLIENT_CERTIFICATE_PATH }),
    ...(env.AZURE_CLIENT_CERTIFICATE && { certificate: env.AZURE_CLIENT_CERTIFICATE }),
    ...(env.AZURE_CLIENT_CERTIFICATE_PASSWORD && {
      certificatePassword: env.AZURE_CLIENT_CERTIFICATE_PASSWORD,
    }),
    managedIdentityClientId: file.managedIdentityClientId,
    sendCertificateChain: env.AZURE_CLIENT_SEND_CERTIFICATE_CHAIN ?? false,
    ...(env.AZURE_FEDERATED_TOKEN_FILE && { federatedTokenFile: env.AZURE_FEDERATED_TOKEN_FILE }),
    ...(env.AZURE_CLIENT_SECRET && { clientSecret: env.AZURE_CLIENT_SECRET }),
    githubActions: {
      requestUrl: env.ACTIONS_ID_TOKEN_REQUEST_URL,
      requestToken: env.ACTIONS_ID_TOKEN_REQUEST_TOKEN,
    },
    tokenProxy: {
      url: env.AZURE_KUBERNETES_TOKEN_PROXY,
      sniName: env.AZURE_KUBERNETES_SNI_NAME,
      caFile: env.AZURE_KUBERNETES_CA_FILE,
      caData: env.AZURE_KUBERNETES_CA_DATA,
    },
    azurePipelines: {
      requestUri: env.SYSTEM_OIDCREQUESTURI,
      accessToken: env.SYSTEM_ACCESSTOKEN,
      serviceConnectionId: env.AZURESUBSCRIPTION_SERVICE_CONNECTION_ID,
    },
  };
}

/** Longest path first, so that the route nearest to the target wins whatever the order in the file. */
function forwardingRoutes(
  yaml: GatewayYaml,
  downstreamApis: GatewayConfig["downstreamApis"],
): readonly ProxyRouteConfig[] {
  return yaml.routes
    .filter(({ handler }) => handler === undefined)
    .toSorted((one, other) => other.path.length - one.path.length)
    .map((route) => ({
      as: route.as,
      mcp: route.mcp,
      tools: route.tools,
      target: {
        path: route.path,
        methods: route.methods ?? (route.mcp ? MCP_METHODS : ["GET"]),
        allow: route.allow ?? (route.mcp ? ["/"] : []),
      },
      api: downstreamApis[route.downstreamApi ?? ""] as DownstreamApiOptions,
      policy: policyOf(route),
      limits: route.limits,
      takesDelegations: takesDelegations(yaml, route.path),
    }));
}

function handlerRoutes(yaml: GatewayYaml): readonly HandlerRouteConfig[] {
  return yaml.routes.flatMap(
    ({ handler, path, downstreamApi, as, mcp, tools, methods, allow, limits, ...policy }, index) =>
      handler === undefined
        ? []
        : [
            {
              position: `routes[${index}]`,
              path,
              handler,
              downstreamApi,
              as,
              mcp: mcp || handler === GRAPH_MCP,
              tools,
              methods: methods ?? ["GET"],
              allow,
              policy: policyOf(policy),
              limits,
              takesDelegations: takesDelegations(yaml, path),
            },
          ],
  );
}

function takesDelegations({ delegations }: GatewayYaml, path: string): boolean {
  return delegations?.routes.includes(path) === true;
}

function apiOf(name: string, api: GatewayYaml["downstreamApis"][string]): DownstreamApiOptions {
  const { connections, maxConcurrent } = api;
  return { name, ...api, connections: { ...connections, max: connections.max ?? maxConcurrent } };
}

type RouteYaml = GatewayYaml["routes"][number];

function policyOf({
  requireUser,
  requiredScopes,
  requiredRoles,
  allowedClients,
  authContext,
}: Pick<
  RouteYaml,
  "requireUser" | "requiredScopes" | "requiredRoles" | "allowedClients" | "authContext"
>): RoutePolicy {
  return {
    callers: requireUser ? "user" : "any",
    requiredScopes,
    requiredRoles,
    allowedClients,
    ...(authContext && { authContext }),
  };
}

function deepFreeze<T>(value: T): T {
  if (value !== null && typeof value === "object" && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(deepFreeze);
  }
  return value;
}

type Environment = Readonly<Record<string, string | undefined>>;

const PACKAGE = new URL("../../", import.meta.url);

/**
 * Two folders up, from the sources as from what is built of them. As a dependency of another project, the gateway reads
 * the file of the directory in which that project was started: its package directory is not the operator's to write.
 */
export const DOT_ENV_FILE = dotEnvFile(PACKAGE.pathname, process.cwd());

export function dotEnvFile(packagePath: string, workingDirectory: string): URL {
  return packagePath.includes("/node_modules/")
    ? pathToFileURL(join(workingDirectory, ".env"))
    : new URL(".env", PACKAGE);
}

/**
 * The environment wins over the file. A missing file is no fault. UTF-8 and UTF-16 are read, with or without a byte
 * order mark: the mark would otherwise become part of the first variable's name, which is then missing.
 *
 * @throws {ConfigurationError} when the file is there and cannot be read.
 */
export function withDotEnv(env: Environment, file: URL = DOT_ENV_FILE): Environment {
  try {
    const text = decodeText(readFileSync(file)).replaceAll(/\r\n?/g, "\n");
    return { ...parseEnv(text), ...env };
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT") return env;
    throw new ConfigurationError([{ path: ".env", problem: `cannot be read (${code})` }], { cause });
  }
}
