/** The gateway as in production, and the servers that it is compared with. */

import type { Emulator } from "../emulator/handle.ts";
import type { ServerOptions } from "./server-process.ts";

export interface Contender {
  readonly name: string;
  readonly args: readonly string[];
}

export const PASS_THROUGH = peer("node:http + undici.stream, no authentication", "pass-through");
export const GATEWAY: Contender = { name: "obo-gateway", args: ["dist/main.js"] };
export const EXPRESS_PROXY = peer("Express + http-proxy-middleware, no authentication", "express-proxy");
export const FASTIFY = peer("Fastify + reply-from + jose + a Map of tokens", "fastify");
export const SAMPLE = peer("passport-azure-ad + one MSAL client, as in samples", "sample");

function peer(name: string, file: string): Contender {
  return { name, args: ["--import", "tsx", `test/bench/peers/${file}.ts`] };
}

/** What points any of them at an emulator and a downstream API. */
export function environment(emulator: Emulator, apiUrl: string): ServerOptions["env"] {
  return {
    NODE_EXTRA_CA_CERTS: emulator.files.caCertificate,
    PEER_SETTINGS: JSON.stringify({
      apiUrl,
      authorityHost: emulator.authorityHost,
      tenantId: emulator.tenantId,
      clientId: emulator.clientId,
      certificateFile: emulator.files.clientCertificate,
    }),
    GATEWAY_CONFIG: "config/demo.yaml",
    PORT: "0",
    ADMIN_PORT: "0",
    AZURE_TENANT_ID: emulator.tenantId,
    AZURE_CLIENT_ID: emulator.clientId,
    AZURE_AUTHORITY_HOST: emulator.authorityHost,
    AZURE_CLIENT_CERTIFICATE_PATH: emulator.files.clientCertificate,
    GRAPH_URL: apiUrl,
  };
}
