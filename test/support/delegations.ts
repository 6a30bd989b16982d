/** A gateway with delegations over a Redis of its own, an API that keeps what reaches it, and the two parties' tokens. */

import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { codeRoute } from "../../src/http/code-route.ts";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator, MintOptions } from "../emulator/handle.ts";
import { startTestGateway, TEST_YAML, type TestGateway } from "./gateway.ts";
import { type RedisServer, startRedis } from "./redis-server.ts";

export const JOB = "7d4f2b1c-3a5e-4f60-8b9a-0c1d2e3f4a5b";
export const OTHER_JOB = "8e5a3c2d-4b6f-4a71-9cab-1d2e3f4a5b6c";
export const STRANGER = "9f6b4d3e-5c70-4b82-8dbc-2e3f4a5b6c7d";
export const ADMIN_ROLE = "Delegations.Admin";

/** @param clients Jobs of the list, as YAML. */
export const delegationsYaml = (clients = `[${JOB}, ${OTHER_JOB}]`, more = "") =>
  TEST_YAML.replace(
    "exchange:\n",
    'exchange:\n  cache: { redis: { url: "${REDIS_URL}", timeoutMs: 2000 } }\n',
  )
    .replace("tenants: [", 'tenants: ["${SECOND_TENANT}", ')
    .replace(
      "routes:\n",
      `  recorder:
    baseUrl: "\${RECORDER_URL}"
    scopes: [https://graph.microsoft.com/.default]
    allowPrivateNetwork: true
    kind: odata
  orders:
    baseUrl: "\${RECORDER_URL}/orders"
    scopes: ["\${ORDERS_ID}/orders.read"]
    allowPrivateNetwork: true
delegations:
  clients: ${clients}
  routes: [/graph, /recorder, /orders, /limited, /roles, /api/profile, /narrow]
  adminRole: ${ADMIN_ROLE}
  maxPerUser: 3
${more}
routes:
  - { path: /recorder, downstreamApi: recorder, methods: [GET, POST], allow: ["/**"] }
  - { path: /orders, downstreamApi: orders, allow: ["/**"] }
  - { path: /unlisted, downstreamApi: recorder, allow: ["/**"] }
  - { path: /narrow, downstreamApi: recorder, allow: ["/**"], allowedClients: [${JOB}] }
  - { path: /limited, downstreamApi: recorder, allow: ["/**"], limits: { perClient: { requests: 2, perSeconds: 600 } } }
  - { path: /roles, downstreamApi: recorder, allow: ["/**"], requiredRoles: [Reports.Read] }
  - { path: /as-app, downstreamApi: recorder, as: app, requireUser: false, allowedClients: [${JOB}], allow: ["/**"] }
`,
    );

export interface DelegationRig {
  readonly emulator: Emulator;
  readonly redis: RedisServer;
  readonly gateway: TestGateway;
  readonly env: Readonly<Record<string, string>>;
  readonly yaml: string;
  /** Header fields of each request that reached the API. */
  readonly received: IncomingHttpHeaders[];
  /** Put into the answer of the API, while set. */
  challenge: string | undefined;
  /** The job's token. */
  job(options?: MintOptions): string;
  /** A new user, with a token of the front end. */
  user(options?: MintOptions): { readonly token: string; readonly oid: string };
  keep(token: string): Promise<Kept>;
  /** The job's request, as the user. */
  use(handle: string, path?: string, token?: string): ReturnType<TestGateway["get"]>;
  /** Lines of the audit stream about delegations. */
  audit(event: string): readonly Record<string, unknown>[];
  replica(over?: {
    readonly env?: Readonly<Record<string, string>>;
    readonly yaml?: string;
  }): Promise<TestGateway>;
  close(): Promise<void>;
}

export interface Kept {
  readonly id: string;
  readonly handle: string;
  readonly expiresAt: string;
  readonly createdAt: string;
  readonly clients: readonly string[];
}

/** Handlers that keep and resume, as a program's own would. */
const routes = [
  codeRoute({
    method: "post",
    path: "/api/keep",
    policy: { callers: "user", requiredScopes: [], requiredRoles: [], allowedClients: [] },
    uses: [],
    async handler(_request, response, { delegation }) {
      response.json(await delegation.keep());
    },
  }),
  codeRoute({
    method: "post",
    path: "/api/keep-by-job",
    policy: { callers: "user", requiredScopes: [], requiredRoles: [], allowedClients: [] },
    takesDelegations: true,
    uses: [],
    async handler(_request, response, { delegation }) {
      response.json(await delegation.keep());
    },
  }),
  codeRoute({
    method: "get",
    path: "/api/resume",
    policy: {
      callers: "any",
      requiredScopes: [],
      requiredRoles: [],
      allowedClients: [JOB, OTHER_JOB, STRANGER],
    },
    uses: ["graph"],
    as: "app",
    async handler(request, response, { delegation }) {
      const { principal, downstream, credential } = await delegation.resume(
        String(request.headers["x-stored"]),
      );
      const me = await downstream.graph.get("/me");
      const { token } = await credential("graph").getToken("https://graph.microsoft.com/.default");
      response.json({ oid: principal.objectId, me: await me.json(), sameToken: token.length > 0 });
    },
  }),
];

export async function startDelegationRig(over: { readonly now?: () => number; readonly yaml?: string } = {}) {
  const received: IncomingHttpHeaders[] = [];
  const server = createServer((request, response) => {
    received.push(request.headers);
    request.resume();
    if (rig.challenge === undefined) response.setHeader("content-type", "application/json").end("{}");
    else response.writeHead(401, { "www-authenticate": rig.challenge }).end();
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const [emulator, redis] = await Promise.all([
    startEmulator(over.now === undefined ? {} : { now: over.now }),
    startRedis(),
  ]);
  const env = {
    REDIS_URL: redis.url,
    TOKEN_CACHE_KEYS: randomBytes(32).toString("base64"),
    RECORDER_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    ORDERS_ID: emulator.ordersApi.identifierUris[0] ?? "",
    SECOND_TENANT: emulator.secondTenant.id,
    AZURE_ADDITIONALLY_ALLOWED_TENANTS: emulator.secondTenant.id,
  };
  const others: TestGateway[] = [];
  const start = (one: { readonly env?: Readonly<Record<string, string>>; readonly yaml?: string } = {}) =>
    startTestGateway({
      emulator,
      credential: "certificate",
      yaml: one.yaml ?? over.yaml ?? delegationsYaml(),
      env: { ...env, ...one.env },
      routes,
      ...(over.now !== undefined && { now: over.now }),
    });
  const gateway = await start();
  const rig: DelegationRig = {
    emulator,
    redis,
    gateway,
    env,
    yaml: over.yaml ?? delegationsYaml(),
    received,
    challenge: undefined,
    job: (options = {}) => emulator.mintUserToken({ appOnly: true, clientId: JOB, ...options }),
    user(options = {}) {
      const user = emulator.addUser();
      return { token: emulator.mintUserToken({ user, ...options }), oid: user.objectId };
    },
    async keep(token) {
      const { body, status } = await gateway.send("post", "/delegations", token);
      if (status !== 201) throw new Error(`no delegation: ${status} ${JSON.stringify(body)}`);
      return body;
    },
    use: (handle, path = "/graph/me", token = rig.job()) =>
      gateway.get(path, token).set("delegation", handle),
    audit: (event) =>
      gateway.logs.filter((line) => line.stream === "audit" && line.event === `delegation_${event}`),
    async replica(one) {
      const replica = await start(one);
      others.push(replica);
      return replica;
    },
    async close() {
      for (const one of [gateway, ...others]) await one.stop();
      await Promise.all([emulator.close(), redis.close()]);
      server.closeAllConnections();
      server.close();
    },
  };
  return rig;
}
