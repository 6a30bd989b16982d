/** A gateway in front of an emulator, in the process of a test. */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  createGateway,
  type Gateway,
  type GatewayConfig,
  type GatewayParts,
  loadConfig,
  startGateway,
} from "obo-gateway";
import { Agent, fetch as undiciFetch } from "undici";
import type { Emulator } from "../emulator/handle.ts";

export interface TestGatewayOptions {
  readonly emulator: Emulator;
  /** Text of gateway.yaml. `${GRAPH_URL}` in it is the emulator's Graph. Default: `/graph` and the shipped handlers. */
  readonly yaml?: string;
  /** Added to the environment that the configuration reads, or overriding it. */
  readonly env?: Readonly<Record<string, string>>;
  readonly routes?: GatewayParts["routes"];
  readonly handlers?: GatewayParts["handlers"];
  /** Milliseconds since the epoch; the emulator should have the same clock. */
  readonly now?: () => number;
  readonly credential?: "certificate" | "workload-identity";
}

/** What a gateway is made of: for `createGateway`, `createDelegation` and `startGateway`. */
export interface TestSettings {
  readonly config: GatewayConfig;
  readonly parts: GatewayParts;
  /** Log lines so far, parsed. */
  readonly logs: readonly Record<string, unknown>[];
  /** Lets go of connections to the emulator. */
  close(): Promise<void>;
}

/** A gateway that listens nowhere: `supertest(gateway.app)`. */
export interface TestGateway extends Gateway {
  readonly logs: TestSettings["logs"];
}

/** A gateway that listens: `supertest(gateway.url)`. */
export interface TestServer {
  readonly url: string;
  readonly adminUrl: string;
  readonly logs: TestSettings["logs"];
  stop(): Promise<void>;
}

const DEFAULT_YAML = `
identity:
  tenants: ["\${AZURE_TENANT_ID}"]
  audiences: ["\${AZURE_CLIENT_ID}", "api://\${AZURE_CLIENT_ID}"]
downstreamApis:
  graph:
    baseUrl: "\${GRAPH_URL}"
    scopes: [https://graph.microsoft.com/.default]
    kind: graph
    allowPrivateNetwork: true
routes:
  - { path: /graph, downstreamApi: graph, requiredScopes: [access_as_user], allow: ["/me", "/me/**"] }
  - { path: /api/profile, handler: profile, requiredScopes: [access_as_user] }
  - { path: /api/inbox, handler: inbox, requiredScopes: [access_as_user] }
  - { path: /api/files, handler: files, requiredScopes: [access_as_user] }
`;

export async function createTestSettings(options: TestGatewayOptions): Promise<TestSettings> {
  const { emulator, credential = "workload-identity", routes, handlers, now } = options;
  const directory = await mkdtemp(join(tmpdir(), "obo-gateway-test-"));
  let config: GatewayConfig;
  try {
    const file = join(directory, "gateway.yaml");
    await writeFile(file, options.yaml ?? DEFAULT_YAML);
    config = loadConfig({
      GATEWAY_CONFIG: file,
      HOST: "127.0.0.1",
      PORT: "0",
      ADMIN_PORT: "0",
      AZURE_TENANT_ID: emulator.tenantId,
      AZURE_CLIENT_ID: emulator.clientId,
      AZURE_AUTHORITY_HOST: emulator.authorityHost,
      GRAPH_URL: emulator.graphUrl,
      ...(credential === "certificate"
        ? { AZURE_CLIENT_CERTIFICATE_PATH: emulator.files.clientCertificate }
        : { AZURE_FEDERATED_TOKEN_FILE: emulator.files.federatedToken }),
      ...options.env,
    });
  } finally {
    await rm(directory, { recursive: true });
  }
  // The emulator's CA exists only since it started, so the fetch of this process cannot trust it.
  const agent = new Agent({ connect: { ca: emulator.caCertificate } });
  const logs: Record<string, unknown>[] = [];
  const parts: GatewayParts = {
    fetch: ((url: string, init: object) =>
      undiciFetch(url, { ...init, dispatcher: agent })) as unknown as NonNullable<GatewayParts["fetch"]>,
    downstreamCa: emulator.caCertificate,
    // What handlers declare is what an operator grants, so a test is where a difference has to show.
    checksNeeds: true,
    // A busy test machine is no overload.
    sampleLag: () => 0,
    logSink: { write: (line: string) => void logs.push(JSON.parse(line)) },
    ...(routes !== undefined && { routes }),
    ...(handlers !== undefined && { handlers }),
    ...(now !== undefined && { now }),
  };
  return { config, parts, logs, close: () => agent.close() };
}

/** Resolves when the gateway is ready for requests. */
export async function createTestGateway(options: TestGatewayOptions): Promise<TestGateway> {
  const { config, parts, logs, close } = await createTestSettings(options);
  try {
    const gateway = await createGateway(config, parts);
    await gateway.warmUp();
    const { close: closeGateway } = gateway;
    return Object.assign(gateway, {
      logs,
      async close() {
        await closeGateway();
        await close();
      },
    });
  } catch (error) {
    await close();
    throw error;
  }
}

export async function startTestGateway(options: TestGatewayOptions): Promise<TestServer> {
  const { config, parts, logs, close } = await createTestSettings(options);
  try {
    const gateway = await startGateway(config, parts);
    return {
      url: `http://127.0.0.1:${gateway.port}`,
      adminUrl: `http://127.0.0.1:${gateway.adminPort}`,
      logs,
      async stop() {
        await gateway.stop();
        await close();
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}
