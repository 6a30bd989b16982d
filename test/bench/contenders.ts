/** The gateway as in production, and the servers that it is compared with. */

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Authority } from "./authority.ts";
import type { ServerOptions } from "./server-process.ts";

export interface Contender {
  readonly name: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Whether it answers messages of its parent. */
  readonly ipc?: boolean;
}

export const PASS_THROUGH = peer("node:http + undici.stream, no authentication", "pass-through");
export const GATEWAY: Contender = { name: "obo-gateway", args: ["dist/main.js"] };
export const EXPRESS_PROXY = peer("Express + http-proxy-middleware, no authentication", "express-proxy");
export const FASTIFY = peer("Fastify + reply-from + jose + a Map of tokens", "fastify");
export const GATEWAY_WITH_LOCAL: Contender = {
  name: "obo-gateway with its local API",
  args: ["dist/main.js"],
  env: { GATEWAY_CONFIG: "test/bench/gateway-local.yaml", LOCAL_PORT: "0" },
};
export const GATEWAY_FOR_JSON: Contender = {
  name: "obo-gateway",
  args: ["dist/main.js"],
  env: { GATEWAY_CONFIG: "test/bench/gateway-json.yaml" },
};
export const GATEWAY_FOR_STREAMS: Contender = {
  name: "obo-gateway",
  args: ["dist/main.js"],
  env: { GATEWAY_CONFIG: "test/bench/gateway-streams.yaml" },
};
export const JSON_PROXY = peer("JSON.parse + JSON.stringify", "json-proxy");
export const DECISION = peer("Express + passport-azure-ad + MSAL, deciding for nginx", "decision");
export const SAMPLE = peer("passport-azure-ad + one MSAL client, as in samples", "sample");

/** So many processes of the gateway on one port. */
export function clusterOf(workers: number): Contender {
  return {
    name: `node:cluster of ${workers}`,
    args: ["test/bench/peers/cluster.mjs"],
    env: { WORKERS: `${workers}` },
  };
}

/** The gateway with stand-ins for modules of its build: `dist` path to file of `substitutes`. */
export function substituted(name: string, substitutes: Readonly<Record<string, string>>): Contender {
  for (const file of Object.keys(substitutes))
    if (!existsSync(new URL(`../../src/${file.replace(/\.js$/, ".ts")}`, import.meta.url)))
      throw new Error(`no module of the gateway is called ${file}, so nothing would stand in for it`);
  return {
    name,
    args: ["--import", "./test/bench/substitutes/register.mjs", "dist/main.js"],
    env: { BENCH_SUBSTITUTES: JSON.stringify(substitutes) },
  };
}

/** The same contender, able to tell how much memory it uses. */
export function withMemoryProbe(contender: Contender): Contender {
  const probe = ["--expose-gc", "--import", "./test/bench/substitutes/memory.mjs"];
  return { ...contender, args: [...probe, ...contender.args], ipc: true };
}

function peer(name: string, file: string): Contender {
  return { name, args: ["--import", "tsx", `test/bench/peers/${file}.ts`] };
}

/**
 * Settings for a study of costs: those of the benchmark, but that no request is turned away while the machine has other
 * work than the gateway's. The file is removed with this process.
 */
export function unsheddingConfig(root = ".", name = "gateway.yaml"): { readonly GATEWAY_CONFIG: string } {
  const directory = mkdtempSync(join(tmpdir(), "obo-bench-config-"));
  process.once("exit", () => rmSync(directory, { recursive: true, force: true }));
  const file = join(directory, "gateway.yaml");
  const settings = readFileSync(join(root, "test/bench", name), "utf8");
  writeFileSync(file, `${settings}\nhttp: { maxEventLoopLagMs: 0 }\n`);
  return { GATEWAY_CONFIG: file };
}

/** What points any of them at an authority and a downstream API. */
export function environment(authority: Authority, apiUrl: string): ServerOptions["env"] {
  return {
    NODE_EXTRA_CA_CERTS: authority.files.caCertificate,
    PEER_SETTINGS: JSON.stringify({
      apiUrl,
      authorityHost: authority.authorityHost,
      tenantId: authority.tenantId,
      clientId: authority.clientId,
      certificateFile: authority.files.clientCertificate,
    }),
    GATEWAY_CONFIG: "test/bench/gateway.yaml",
    PORT: "0",
    ADMIN_PORT: "0",
    AZURE_TENANT_ID: authority.tenantId,
    AZURE_CLIENT_ID: authority.clientId,
    AZURE_AUTHORITY_HOST: authority.authorityHost,
    AZURE_CLIENT_CERTIFICATE_PATH: authority.files.clientCertificate,
    API_URL: apiUrl,
  };
}
