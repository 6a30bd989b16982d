/** A whole gateway in this process, on free ports, in front of an emulator. */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import supertest from "supertest";
import { Agent, fetch as undiciFetch } from "undici";
import { loadWithCode } from "../../src/checked-config.ts";
import { type GatewayConfig, loadConfig } from "../../src/config/load.ts";
import type { Fetch } from "../../src/foundation/bounded-fetch.ts";
import type { GatewayParts } from "../../src/gateway.ts";
import type { CodeRoute } from "../../src/http/code-route.ts";
import type { Reconfigured } from "../../src/serving.ts";
import { startGateway } from "../../src/start.ts";
import type { Emulator } from "../emulator/handle.ts";

export interface TestGatewayOptions {
  readonly emulator: Emulator;
  /** `none` leaves it to `env` and `clientAssertion`. */
  readonly credential?: "certificate" | "workload-identity" | "none";
  readonly clientAssertion?: GatewayParts["clientAssertion"];
  /** Answers in the place of hosts that are not the emulator's: platforms that issue tokens. */
  readonly platform?: Fetch;
  /** Replaces the YAML below. */
  readonly yaml?: string;
  /** Added to the environment, or overriding it. */
  readonly env?: Readonly<Record<string, string>>;
  readonly routes?: readonly CodeRoute[];
  readonly handlers?: GatewayParts["handlers"];
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  /**
   * Grace of the stop, seconds. A tenth of it passes before idle connections close, which the tests of the stop itself
   * look at, and all others only wait for: whatever the YAML says, it is 0.5 by default.
   */
  readonly graceSeconds?: number;
  /** Worst lag of the event loop since the last call, ms. Default 0: a busy test machine is no overload. */
  readonly sampleLag?: () => number;
}

export interface TestGateway {
  readonly url: string;
  readonly adminUrl: string;
  /** Of the local API, where it is configured with a port. */
  readonly localUrl: string;
  /** Every line logged so far, parsed. */
  readonly logs: readonly Record<string, unknown>[];
  /** A request to the public side, with a bearer token where one is given. */
  get(path: string, token?: string): supertest.Test;
  send(method: "post" | "put" | "patch" | "delete", path: string, token?: string): supertest.Test;
  admin(path: string): supertest.Test;
  /** The log line of the request with this correlation id, once it is there; rejects with the lines that came instead. */
  line(correlationId: string): Promise<Record<string, unknown>>;
  /** Writes another gateway.yaml and takes it over as the process would: every fault is found that `check` finds. */
  reconfigure(yaml: string): Promise<Reconfigured>;
  /** What the gateway's configuration is read from. */
  readonly variables: Readonly<Record<string, string>>;
  /** As SIGHUP does. */
  reload(): Promise<void>;
  /** Rejects when any line that was ever logged holds a token, so that every test is a test of that too. */
  stop(): Promise<void>;
}

/** Routes of every kind that the behaviour tests need. */
export const TEST_YAML = `
identity:
  verifier: \${VERIFIER:-passport-azure-ad}
  tenants: ["\${AZURE_TENANT_ID}"]
  audiences: ["\${AZURE_CLIENT_ID}", "api://\${AZURE_CLIENT_ID}"]
exchange:
  timeoutMs: \${EXCHANGE_TIMEOUT_MS:-30000}
downstreamApis:
  graph:
    baseUrl: "\${GRAPH_URL}"
    scopes: [https://graph.microsoft.com/.default]
    timeoutMs: \${GRAPH_TIMEOUT_MS:-30000}
    maxRequestBytes: 1048576
    allowPrivateNetwork: true
  unknown-resource:
    baseUrl: "\${GRAPH_URL}"
    scopes: [api://nobody-registered-this/.default]
    allowPrivateNetwork: true
  nobody-listens:
    baseUrl: "\${DEAD_URL:-http://127.0.0.1:1}"
    scopes: [https://graph.microsoft.com/.default]
    allowPrivateNetwork: true
routes:
  - path: /graph
    downstreamApi: graph
    methods: [GET, HEAD, POST, PUT]
    requiredScopes: [access_as_user]
    allow: ["/me", "/me/**", "/users/*"]
  - path: /graph/me/admin
    downstreamApi: graph
    requiredScopes: [admin.read]
    allow: ["/me"]
  - path: /admin
    downstreamApi: graph
    requiredScopes: [admin.read, admin.write]
    allow: ["/me"]
  - path: /step-up
    downstreamApi: graph
    authContext: c1
    allow: ["/me"]
  - path: /unknown-resource
    downstreamApi: unknown-resource
    allow: ["/me"]
  - path: /nobody-listens
    downstreamApi: nobody-listens
    allow: ["/me"]
  - { path: /api/profile, handler: profile, requiredScopes: [access_as_user] }
  - { path: /api/inbox, handler: inbox, requiredScopes: [access_as_user] }
  - { path: /api/files, handler: files, requiredScopes: [access_as_user] }
http:
  shutdownGraceSeconds: 2
`;

/** How long a start is waited for whose authority does not answer, as some tests want it, ms. */
const READY_LIMIT_MS = 1_000;
/** How a start ends: with signing keys, or without. */
const STARTED = new Set<unknown>(["ready", "signing keys will be fetched with the first request"]);
/** How long a line is waited for, ms: less than a test may take, so that its failure names the line. */
const LINE_LIMIT_MS = 10_000;

/** The start of any JWT, `{"` in base64url, but not the same letters within a digest; and of a delegation's handle. */
const TOKEN = /(?<![\w-])eyJ[\w-]{8,}|eyJ[\w-]{8,}\.|obo_dlg_/;

export async function startTestGateway(options: TestGatewayOptions): Promise<TestGateway> {
  const { emulator, credential = "workload-identity" } = options;
  const directory = await mkdtemp(join(tmpdir(), "gateway-"));
  const file = join(directory, "gateway.yaml");
  await writeFile(file, options.yaml ?? TEST_YAML);

  const logs: Record<string, unknown>[] = [];
  const leaks: string[] = [];
  const waiting = new Set<() => void>();
  const agent = new Agent({ connect: { ca: emulator.caCertificate } });
  const variables = {
    GATEWAY_CONFIG: file,
    HOST: "127.0.0.1",
    PORT: "0",
    ADMIN_PORT: "0",
    AZURE_TENANT_ID: emulator.tenantId,
    AZURE_CLIENT_ID: emulator.clientId,
    AZURE_AUTHORITY_HOST: emulator.authorityHost,
    GRAPH_URL: emulator.graphUrl,
    ...(credential === "certificate" && {
      AZURE_CLIENT_CERTIFICATE_PATH: emulator.files.clientCertificate,
    }),
    ...(credential === "workload-identity" && {
      AZURE_FEDERATED_TOKEN_FILE: emulator.files.federatedToken,
    }),
    ...options.env,
  };
  const withGrace = (config: GatewayConfig): GatewayConfig => ({
    ...config,
    http: { ...config.http, shutdownGraceSeconds: options.graceSeconds ?? 0.5 },
  });
  const gateway = await startGateway(withGrace(loadConfig(variables)), {
    // The emulator's CA exists only since a moment ago, so this process' own fetch cannot trust it.
    fetch: ((url, init) =>
      options.platform !== undefined && !url.startsWith("https://localhost:")
        ? options.platform(url, init)
        : undiciFetch(url, { ...init, dispatcher: agent } as object)) as Fetch,
    ...(options.clientAssertion !== undefined && { clientAssertion: options.clientAssertion }),
    downstreamCa: emulator.caCertificate,
    ...(options.routes !== undefined && { routes: options.routes }),
    ...(options.handlers !== undefined && { handlers: options.handlers }),
    ...(options.now !== undefined && { now: options.now }),
    sampleLag: options.sampleLag ?? (() => 0),
    logSink: {
      write(line) {
        if (TOKEN.test(line)) leaks.push(line);
        logs.push(JSON.parse(line));
        for (const notify of waiting) notify();
      },
    },
  });
  // The first trial of the credential is a token request like any other, which tests that count them must not meet.
  const started = () => logs.some(({ msg }) => STARTED.has(msg));
  for (const end = performance.now() + READY_LIMIT_MS; !started() && performance.now() < end; )
    await delay(5);
  const url = `http://127.0.0.1:${gateway.port}`;
  const adminUrl = `http://127.0.0.1:${gateway.adminPort}`;
  const bearer = (test: supertest.Test, token: string | undefined) =>
    token === undefined ? test : test.set("authorization", `Bearer ${token}`);

  return {
    url,
    adminUrl,
    localUrl: `http://127.0.0.1:${gateway.localPort}`,
    logs,
    get: (path, token) => bearer(supertest(url).get(path), token),
    send: (method, path, token) => bearer(supertest(url)[method](path), token),
    admin: (path) => supertest(adminUrl).get(path),
    line(correlationId) {
      return new Promise((resolve, reject) => {
        const limit = setTimeout(() => {
          waiting.delete(look);
          const seen = logs.slice(-20).map((line) => JSON.stringify(line));
          reject(
            new Error(
              `no request line with correlationId ${correlationId} in ${LINE_LIMIT_MS} ms; the last of ${logs.length} lines are:\n${seen.join("\n")}`,
            ),
          );
        }, LINE_LIMIT_MS);
        const look = () => {
          const found = logs.find((line) => line.msg === "request" && line.correlationId === correlationId);
          if (found === undefined) return;
          clearTimeout(limit);
          waiting.delete(look);
          resolve(found);
        };
        waiting.add(look);
        look();
      });
    },
    variables,
    async reconfigure(yaml) {
      await writeFile(file, yaml);
      const { routes, handlers, clientAssertion } = options;
      const parts = {
        ...(routes !== undefined && { routes }),
        ...(handlers !== undefined && { handlers }),
        ...(clientAssertion !== undefined && { clientAssertion }),
      };
      return gateway.reconfigure(async () => withGrace((await loadWithCode(variables, parts)).config));
    },
    reload: gateway.reload,
    async stop() {
      await gateway.stop();
      await agent.close();
      await rm(directory, { recursive: true });
      if (leaks.length > 0)
        throw new Error(`a token was logged ${leaks.length} time(s), first in: ${leaks[0]}`);
    },
  };
}
