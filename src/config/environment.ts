/** The environment variables that the gateway reads, under the names that the Azure SDKs gave them. */

import type { output } from "zod";
import type { ConfigurationFault } from "../errors.ts";
import { editsBetween } from "../foundation/did-you-mean.ts";
import { Secret } from "../foundation/secret.ts";
import { KEYS_PROBLEM, parseMasterKeys } from "../redis/master-keys.ts";
import { TRACING_VARIABLES } from "./tracing.ts";
import { guid } from "./values.ts";
import { z } from "./zod.ts";

const port = z
  .string()
  .regex(/^\d{1,5}$/, "must be a port number from 0 to 65535")
  .transform(Number)
  .refine((value) => value <= 65_535, "must be a port number from 0 to 65535");

const flag = z
  .enum(["true", "false", "1", "0"], "must be true or false")
  .transform((value) => value === "true" || value === "1");

const secret = z.string().transform((value) => new Secret(value));

const authorityHost = z
  .string()
  .refine((value) => {
    if (!URL.canParse(value)) return false;
    const url = new URL(value);
    return url.protocol === "https:" && url.pathname === "/" && url.search + url.hash + url.username === "";
  }, "must be an https URL without a path, such as https://login.microsoftonline.com/")
  .transform((value) => new URL(value).href);

const cacheKeys = z.string().transform((value, { addIssue }) => {
  const keys = parseMasterKeys(value);
  if (keys !== undefined) return keys;
  addIssue({ code: "custom", message: KEYS_PROBLEM });
  return z.NEVER;
});

const tenantList = z
  .string()
  .transform((value) =>
    value
      .split(";")
      .map((item) => item.trim())
      .filter((item) => item !== ""),
  )
  .pipe(z.array(z.union([z.literal("*"), guid], "must be tenant ids (GUID) separated by ; or *")));

export const environment = z.object({
  AZURE_TENANT_ID: guid,
  AZURE_CLIENT_ID: guid,
  AZURE_AUTHORITY_HOST: authorityHost.default("https://login.microsoftonline.com/"),
  AZURE_FEDERATED_TOKEN_FILE: z.string().optional(),
  AZURE_CLIENT_CERTIFICATE_PATH: z.string().optional(),
  AZURE_CLIENT_CERTIFICATE: secret.optional(),
  AZURE_CLIENT_CERTIFICATE_PASSWORD: secret.optional(),
  AZURE_CLIENT_SEND_CERTIFICATE_CHAIN: flag.default(false),
  AZURE_CLIENT_SECRET: secret.optional(),
  AZURE_KUBERNETES_TOKEN_PROXY: z.string().optional(),
  AZURE_KUBERNETES_SNI_NAME: z.string().optional(),
  AZURE_KUBERNETES_CA_FILE: z.string().optional(),
  AZURE_KUBERNETES_CA_DATA: z.string().optional(),
  ACTIONS_ID_TOKEN_REQUEST_URL: z.string().optional(),
  ACTIONS_ID_TOKEN_REQUEST_TOKEN: secret.optional(),
  SYSTEM_OIDCREQUESTURI: z.string().optional(),
  SYSTEM_ACCESSTOKEN: secret.optional(),
  AZURESUBSCRIPTION_SERVICE_CONNECTION_ID: z.string().optional(),
  AZURE_ADDITIONALLY_ALLOWED_TENANTS: tenantList.default([]),
  AZURE_REGIONAL_AUTHORITY_NAME: z
    .string()
    .regex(/^(?!TryAutoDetect$)[a-z0-9]{2,40}$/i, "must be the name of an Azure region, such as westeurope")
    .optional(),
  // An IPv6 address stands in brackets in a URL, and without them in a socket's address.
  HOST: z
    .string()
    .transform((value) => value.replace(/^\[(.*)\]$/, "$1"))
    .default("127.0.0.1"),
  PORT: port.default(8080),
  ADMIN_PORT: port.default(8081),
  LOCAL_PORT: port.optional(),
  LOCAL_SOCKET: z
    .string()
    .refine((path) => path.startsWith("/"), "must be an absolute path, such as /run/obo-gateway/local.sock")
    // The system keeps 108 bytes for it, the closing zero included, and cuts the rest off.
    .refine((path) => Buffer.byteLength(path) <= 103, "must be no longer than 103 bytes")
    .optional(),
  LOG_LEVEL: z
    .enum(["fatal", "error", "warn", "info", "debug", "trace", "silent"], "must be a pino level such as info")
    .default("info"),
  AUDIT_LOG_FILE: z.string().optional(),
  NODE_ENV: z.string().optional(),
  TOKEN_CACHE_KEYS: cacheKeys.optional(),
  PERMISSIONS_TABLE: z.string().optional(),
  TOKEN_CACHE_KEYS_FILE: z.string().optional(),
});

export type GatewayEnvironment = output<typeof environment>;

type Variables = Readonly<Record<string, string | undefined>>;

/** Read by other files of this room, or by Node itself. */
const OTHER_NAMES = [
  "GATEWAY_CONFIG",
  "GATEWAY_HANDLERS",
  "REDIS_URL",
  "REDIS_AUTH",
  "NODE_OPTIONS",
  "NODE_EXTRA_CA_CERTS",
  ...TRACING_VARIABLES,
];

const NAMES: readonly string[] = [...Object.keys(environment.shape), ...OTHER_NAMES];

/** A blank at either end may be meant here; a line break is what an editor or a pipe has added. */
const SECRETS: readonly string[] = [
  "AZURE_CLIENT_SECRET",
  "AZURE_CLIENT_CERTIFICATE_PASSWORD",
  "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
  "SYSTEM_ACCESSTOKEN",
];

/** Two ways to give one setting, of which one may be used. */
const ALTERNATIVES = [
  ["AZURE_CLIENT_CERTIFICATE", "AZURE_CLIENT_CERTIFICATE_PATH"],
  ["TOKEN_CACHE_KEYS", "TOKEN_CACHE_KEYS_FILE"],
] as const;

/** The variables without what surrounds their values by accident, and what an operator should know of that. */
export interface CleanEnvironment {
  readonly env: Variables;
  /** Nothing that keeps the gateway from starting; never the value of a variable. */
  readonly notices: readonly ConfigurationFault[];
}

/**
 * White space around a value is dropped: `kubectl create secret --from-file` and `echo >` end what they write with a line
 * break, and Entra would be asked for a tenant of that name. Of variables that are not known only line breaks at the end
 * are dropped, since the file may refer to them.
 */
export function cleanEnvironment(env: Variables): CleanEnvironment {
  const notices: ConfigurationFault[] = [];
  const cleaned: Record<string, string | undefined> = {};
  for (const [name, value] of Object.entries(env)) {
    if (value === undefined) continue;
    const bare = value.replace(/^\ufeff/, "");
    const isPlain = NAMES.includes(name) && !SECRETS.includes(name);
    cleaned[name] = isPlain ? bare.trim() : bare.replace(/[\r\n]+$/, "");
    if (SECRETS.includes(name) && cleaned[name] !== bare)
      notices.push({ path: name, problem: "ends in a line break, which is left out" });
    if (SECRETS.includes(name) && isQuoted(cleaned[name]))
      notices.push({ path: name, problem: "has quotes around it, which are taken as part of it" });
    const meant = misspeltNameOf(name, env);
    if (meant !== undefined) notices.push({ path: name, problem: `is not read; did you mean ${meant}?` });
  }
  return { env: cleaned, notices };
}

/** The known name from which this one differs by a letter, by two letters that changed places, or by case. */
function misspeltNameOf(name: string, env: Variables): string | undefined {
  if (NAMES.includes(name) || name.length < SHORTEST_NAME) return undefined;
  return NAMES.find(
    (known) => known.length >= SHORTEST_NAME && env[known] === undefined && differByALetter(name, known),
  );
}

/** Shorter ones resemble too many others. */
const SHORTEST_NAME = 8;

function differByALetter(name: string, known: string): boolean {
  if (name.toUpperCase() === known) return true;
  const letters = (text: string) => [...text].sort().join("");
  const edits = editsBetween(name, known);
  return edits === 1 || (edits === 2 && letters(name) === letters(known));
}

function isQuoted(value: string | undefined): boolean {
  return value !== undefined && /^(["']).*\1$/s.test(value) && value.length > 1;
}

/** Parses the variables; a variable that is set to nothing counts as unset, as Kubernetes manifests often leave it. */
export function readEnvironment(
  env: Variables,
  faults: ConfigurationFault[],
): GatewayEnvironment | undefined {
  const set = Object.fromEntries(
    Object.entries(env).filter(([, value]) => value !== undefined && value !== ""),
  );
  const doubled = ALTERNATIVES.filter(([one, other]) => set[one] !== undefined && set[other] !== undefined);
  for (const [path, other] of doubled)
    faults.push({ path, problem: `is set beside ${other}; only one of them may be` });
  const parsed = environment.safeParse(set);
  if (parsed.success) return doubled.length > 0 ? undefined : parsed.data;
  for (const issue of parsed.error.issues) {
    const name = String(issue.path[0]);
    const value = set[name];
    const quoted = isQuoted(value) ? "; it has quotes around it, which do not belong to the value" : "";
    faults.push({ path: name, problem: value === undefined ? unset(name, set) : issue.message + quoted });
  }
  return undefined;
}

/** The variables that are valid one by one, where others are not. */
export function readValidVariables(env: Variables): Partial<GatewayEnvironment> {
  const valid = Object.entries(environment.shape).flatMap(([name, schema]) => {
    const parsed = schema.safeParse(env[name] || undefined);
    return parsed.success && parsed.data !== undefined ? [[name, parsed.data]] : [];
  });
  return Object.fromEntries(valid);
}

function unset(name: string, set: Variables): string {
  const misspelt = Object.keys(set).find((other) => !NAMES.includes(other) && differByALetter(other, name));
  return misspelt === undefined ? "is not set" : `is not set; is ${misspelt} a slip of the pen?`;
}
