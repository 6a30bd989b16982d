/** The environment variables that the gateway reads, under the names that the Azure SDKs gave them. */

import { z } from "zod";
import type { ConfigurationFault } from "../errors.ts";
import { Secret } from "../foundation/secret.ts";
import { guid } from "./values.ts";

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

const KEY_OF_32_BYTES = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;
const MOST_CACHE_KEYS = 8;

const cacheKeys = z
  .string()
  .transform((value) => value.split(",").map((key) => key.trim()))
  .refine(
    (keys) => keys.length <= MOST_CACHE_KEYS && keys.every((key) => KEY_OF_32_BYTES.test(key)),
    "must be at most 8 keys of 32 bytes in base64, separated by commas; make one with: openssl rand -base64 32",
  )
  .transform((keys) => keys.map((key) => new Secret(key)));

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
  LOG_LEVEL: z
    .enum(["fatal", "error", "warn", "info", "debug", "trace", "silent"], "must be a pino level such as info")
    .default("info"),
  AUDIT_LOG_FILE: z.string().optional(),
  NODE_ENV: z.string().optional(),
  TOKEN_CACHE_KEYS: cacheKeys.optional(),
});

export type GatewayEnvironment = z.output<typeof environment>;

/** Parses the variables; a variable that is set to nothing counts as unset, as Kubernetes manifests often leave it. */
export function readEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  faults: ConfigurationFault[],
): GatewayEnvironment | undefined {
  const set = Object.fromEntries(
    Object.entries(env).filter(([, value]) => value !== undefined && value !== ""),
  );
  const parsed = environment.safeParse(set);
  if (parsed.success) return parsed.data;
  for (const issue of parsed.error.issues) {
    const name = String(issue.path[0]);
    faults.push({ path: name, problem: set[name] === undefined ? "is not set" : issue.message });
  }
  return undefined;
}
