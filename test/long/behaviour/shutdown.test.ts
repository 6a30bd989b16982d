/** The end of a process under load: every request is answered whole, or was never begun and may be sent again. */

import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { Agent, request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "@jest/globals";
import { startBalancer } from "../../support/balancer.ts";
import {
  type EmulatorProcess,
  type GatewayProcess,
  startEmulatorProcess,
  startGatewayProcess,
} from "../../support/processes.ts";
import {
  bodyOf,
  type RecordingApi,
  SLOW_BODY_LENGTH,
  slowBody,
  startRecordingApi,
} from "../../support/recording-api.ts";

const LIMIT_MS = 90_000;

const YAML = `
identity: { tenants: ["\${AZURE_TENANT_ID}"], audiences: ["\${AZURE_CLIENT_ID}"] }
downstreamApis:
  graph:
    baseUrl: "\${GRAPH_URL}"
    scopes: [https://graph.microsoft.com/.default]
    allowPrivateNetwork: true
routes:
  - { path: /graph, downstreamApi: graph, methods: [GET, PUT], allow: ["/me/**"] }
http: { shutdownGraceSeconds: 20, maxEventLoopLagMs: 0 } # a busy machine must neither shed nor run out of grace
`;

let emulator: EmulatorProcess;
let directory: string;
let token: string;
let api: RecordingApi;

beforeAll(async () => {
  [emulator, directory] = await Promise.all([startEmulatorProcess(), mkdtemp(join(tmpdir(), "shutdown-"))]);
  await writeFile(join(directory, "gateway.yaml"), YAML);
  const minted = await fetch(`${emulator.facts.controlUrl}/tokens`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: "{}",
  });
  ({ token } = (await minted.json()) as { token: string });
}, LIMIT_MS);
afterAll(async () => {
  await emulator.stop();
  await rm(directory, { recursive: true });
});
beforeEach(async () => {
  api = await startRecordingApi();
});
afterEach(() => api.close());

function startGateway(preload: readonly string[] = []): Promise<GatewayProcess> {
  return startGatewayProcess(emulator.facts, {
    credential: "workload-identity",
    entry: ["--import", "tsx", ...preload, "src/main.ts"],
    env: { GATEWAY_CONFIG: join(directory, "gateway.yaml"), GRAPH_URL: api.url },
  });
}

/** How one request ended; `broken` says that no whole answer came, and how. */
type Outcome = { readonly path: string; readonly broken?: string };

let count = 0;
const nextPath = (kind: string) => `/me/${kind}/${++count}`;

function call(url: string, agent: Agent | false, method: "GET" | "PUT", kind: string): Promise<Outcome> {
  const path = nextPath(kind);
  return new Promise((resolve) => {
    const headers = { authorization: `Bearer ${token}` };
    const sent = request(`${url}/graph${path}`, { agent, method, headers }, (response) => {
      let text = "";
      response.on("data", (chunk) => {
        text += chunk;
      });
      response.on("end", () => {
        const isWhole =
          response.statusCode === 200 && text === (method === "PUT" ? SLOW_BODY_LENGTH : bodyOf(path));
        resolve(isWhole ? { path } : { path, broken: `${response.statusCode} ${text}` });
      });
      response.on("error", (error) => resolve({ path, broken: `answer cut short: ${error.message}` }));
    });
    sent.on("error", (error) => resolve({ path, broken: error.message }));
    if (method === "PUT")
      Readable.from(slowBody())
        .on("error", () => {})
        .pipe(sent);
    else sent.end();
  });
}

/** Three requests in one write, and again as long as all are answered. */
async function pipelined(url: string): Promise<Outcome[]> {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  const outcomes: Outcome[] = [];
  let received = "";
  let closed = "";
  socket.on("data", (chunk) => {
    received += chunk;
  });
  socket.on("error", ({ message }) => {
    closed = message;
  });
  socket.on("close", () => {
    closed ||= "closed";
  });
  while (closed === "") {
    const paths = [nextPath("fast"), nextPath("slow"), nextPath("fast")];
    received = "";
    socket.write(
      paths
        .map((path) => `GET /graph${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\n\r\n`)
        .join(""),
    );
    const last = (path: string) => bodyOf(path).slice(-path.length - 1);
    while (closed === "" && !received.endsWith(last(paths[2] ?? ""))) await sleep(5);
    for (const path of paths) {
      const isWhole = path.startsWith("/me/slow")
        ? received.split(`${path};`).length === 11
        : received.includes(`${path}HTTP/1.1 200`) || received.endsWith(path);
      outcomes.push(isWhole ? { path } : { path, broken: closed });
    }
  }
  return outcomes;
}

test(
  "on SIGTERM no request is lost: what is not answered whole never reached the API",
  async () => {
    const gateway = await startGateway();
    const { url } = gateway;
    const outcomes: Outcome[] = [];
    let isOver = false;

    async function caller(agent: Agent | false, method: "GET" | "PUT", kind: string): Promise<void> {
      while (!isOver) {
        const outcome = await call(url, agent, method, kind);
        outcomes.push(outcome);
        if (outcome.broken !== undefined) await sleep(10);
      }
      if (agent !== false) agent.destroy();
    }
    const keptAlive = () => new Agent({ keepAlive: true, maxSockets: 1 });
    const load = [
      ...Array.from({ length: 6 }, () => caller(keptAlive(), "GET", "fast")),
      ...Array.from({ length: 3 }, () => caller(false, "GET", "fast")),
      ...Array.from({ length: 3 }, () => caller(keptAlive(), "GET", "slow")),
      ...Array.from({ length: 3 }, () => caller(keptAlive(), "PUT", "upload")),
      ...Array.from({ length: 3 }, async () => {
        while (!isOver) {
          outcomes.push(...(await pipelined(url)));
          await sleep(10);
        }
      }),
    ];
    while (outcomes.length < 300) await sleep(5);
    const beforeEnd = outcomes.length;
    await gateway.stop();
    isOver = true;
    await Promise.all(load);

    const broken = outcomes.filter((outcome) => outcome.broken !== undefined);
    expect(broken.filter(({ path }) => api.seen.has(path))).toEqual([]);
    // While balancers turn away callers are served on, each answer the last of its connection.
    expect(outcomes.slice(beforeEnd).filter(({ broken }) => broken === undefined).length).toBeGreaterThan(20);
    expect(broken.filter(({ broken }) => /^\d|cut short/.test(broken ?? ""))).toEqual([]);
  },
  LIMIT_MS,
);

test(
  "two instances behind a balancer are restarted one after the other under load without a single error",
  async () => {
    const balancer = await startBalancer();
    const started = await Promise.all([startGateway(), startGateway()]);
    for (const instance of started) balancer.add(instance);
    while ((await fetch(balancer.url)).status === 503) await sleep(20);

    const outcomes: Outcome[] = [];
    let isOver = false;
    async function caller(agent: Agent, method: "GET" | "PUT", kind: string): Promise<void> {
      while (!isOver) {
        outcomes.push(await call(balancer.url, agent, method, kind));
        await sleep(2);
      }
      agent.destroy();
    }
    const keptAlive = () => new Agent({ keepAlive: true, maxSockets: 1 });
    const load = [
      ...Array.from({ length: 6 }, () => caller(keptAlive(), "GET", "fast")),
      ...Array.from({ length: 2 }, () => caller(keptAlive(), "GET", "slow")),
      ...Array.from({ length: 2 }, () => caller(keptAlive(), "PUT", "upload")),
    ];
    const running: GatewayProcess[] = [];
    for (const old of started) {
      const before = outcomes.length;
      while (outcomes.length < before + 50) await sleep(5);
      await old.stop();
      balancer.remove(old);
      const fresh = await startGateway();
      balancer.add(fresh);
      running.push(fresh);
      // As a rollout does: the next one goes when this one serves.
      await sleep(200);
    }
    const before = outcomes.length;
    while (outcomes.length < before + 50) await sleep(5);
    isOver = true;
    await Promise.all(load);
    balancer.close();
    await Promise.all(running.map((gateway) => gateway.stop()));
    expect(outcomes.filter(({ broken }) => broken !== undefined)).toEqual([]);
  },
  LIMIT_MS,
);

test(
  "a second signal ends it at once, whatever is in flight",
  async () => {
    const gateway = await startGateway();
    const answer = request(`${gateway.url}/graph/me/slow/last`, {
      headers: { authorization: `Bearer ${token}` },
    }).end();
    const cut = once(answer, "close");
    answer.on("error", () => {}).on("response", (response) => response.on("error", () => {}).resume());
    while (!api.seen.has("/me/slow/last")) await sleep(5);
    gateway.signal("SIGTERM");
    // Two that wait together would be one.
    await gateway.logged("stopping");
    gateway.signal("SIGTERM");
    expect(await gateway.exited).toBe(1);
    await cut;
  },
  LIMIT_MS,
);

test.each([
  ["an error that nobody catches", "throw new Error('on purpose')"],
  ["a rejection that nobody handles", "Promise.reject(new Error('on purpose'))"],
])(
  "%s is logged, what is in flight is answered, and the process ends with code 1",
  async (_, defect) => {
    const gateway = await startGateway([
      "--import",
      `data:text/javascript,process.on("SIGUSR2", () => { ${encodeURIComponent(defect)} })`,
    ]);
    const inFlight = call(gateway.url, false, "GET", "slow");
    while (!api.seen.has(`/me/slow/${count}`)) await sleep(5);
    gateway.signal("SIGUSR2");
    expect(await gateway.logged("uncaught error")).toMatchObject({
      level: "fatal",
      err: { message: "on purpose", stack: expect.stringContaining("SIGUSR2") },
    });
    expect(await inFlight).toEqual({ path: `/me/slow/${count}` });
    expect(await gateway.exited).toBe(1);
  },
  LIMIT_MS,
);
