/** Half an hour's worth of traffic in minutes: whether the gateway of `npm start` keeps its memory and its word. */

import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { startEmulator } from "../emulator/emulator.ts";
import { PROBE, startProductionGateway } from "./production.ts";
import { startMoodyApi } from "./soak-api.ts";

const CONNECTIONS = 32;
const USERS = 400;
/** Both the callers' tokens and those exchanged for them; each is renewed many times in a run. */
const TOKEN_LIFETIME_SECONDS = 20;
/** A caller's token is replaced at this age, so that none in use expires on its way. */
const RENEW_AFTER_MS = 10_000;
const SAMPLE_MS = 500;

/** Growth of resident memory after the first third, by regression, and of what the heap holds after a collection. */
const SLOPE_LIMIT_MIB = 5;
const HEAP_LIMIT_MIB = 8;
/** With fewer requests than these the engine is still settling, and a slope says nothing. */
const SLOPE_NEEDS_REQUESTS = 300_000;

const YAML = `
identity: { tenants: ["\${AZURE_TENANT_ID}"], audiences: ["\${AZURE_CLIENT_ID}"], clockToleranceSeconds: 0 }
exchange: { cache: { expiryMarginSeconds: 5 } }
downstreamApis:
  graph:
    baseUrl: "\${GRAPH_URL}"
    scopes: [https://graph.microsoft.com/.default]
    allowPrivateNetwork: true
routes:
  - { path: /graph, downstreamApi: graph, methods: [GET, PUT], requiredScopes: [access_as_user], allow: ["/me/**"] }
`;

/** Of a thousand requests, how many are of each kind, and the answer that is due. */
const KINDS = [
  { name: "token refused: broken signature", share: 5, path: "ok", token: "forged", status: 401 },
  { name: "token refused: expired", share: 5, path: "ok", token: "expired", status: 401 },
  { name: "no token", share: 5, path: "ok", token: "none", status: 401 },
  { name: "downstream 500", share: 10, path: "broken", token: "valid", status: 500 },
  { name: "downstream 429", share: 10, path: "throttled", token: "valid", status: 429 },
  { name: "downstream hangs up", share: 5, path: "rude", token: "valid", status: 502 },
  { name: "caller leaves", share: 10, path: "slow", token: "valid", status: 0 },
  { name: "64 KiB down", share: 10, path: "big", token: "valid", status: 200 },
  { name: "32 KiB up", share: 10, path: "ok", token: "valid", status: 200, bodyBytes: 32 * 1024 },
  { name: "1 KiB", share: 930, path: "ok", token: "valid", status: 200 },
] as const;

const { values } = parseArgs({
  options: {
    requests: { type: "string", default: "500000" },
    "max-seconds": { type: "string", default: "600" },
  },
});
const wanted = Number(values.requests);
const endsAt = performance.now() + Number(values["max-seconds"]) * 1000;

const lifetime = { plain: TOKEN_LIFETIME_SECONDS, longLived: TOKEN_LIFETIME_SECONDS };
const [emulator, api] = await Promise.all([
  startEmulator({ tokenLifetimeSeconds: lifetime }),
  startMoodyApi(),
]);
const gateway = await startProductionGateway(emulator, YAML, { GRAPH_URL: api.url }, PROBE);

const users = Array.from({ length: USERS }, () => emulator.addUser());
const mint = (index: number) => {
  const user = users[index];
  return emulator.mintUserToken({
    ...(user !== undefined && { user }),
    expiresInSeconds: TOKEN_LIFETIME_SECONDS,
  });
};
const valid = users.map((_, index) => mint(index));
const [expired = ""] = [emulator.mintUserToken({ expiresInSeconds: -60 })];
let renewed = 0;
const renewal = setInterval(() => {
  const index = renewed++ % USERS;
  valid[index] = mint(index);
}, RENEW_AFTER_MS / USERS);

const counts = new Map<string, { asDue: number; otherwise: Map<number, number> }>(
  KINDS.map(({ name }) => [name, { asDue: 0, otherwise: new Map() }]),
);
let sent = 0;
/** The kinds of a thousand requests; 617 shares no divisor with 1000, so they are spread, and alike in each run. */
const THOUSAND = KINDS.flatMap((kind) => Array.from({ length: kind.share }, () => kind));

function requestOf(kind: (typeof KINDS)[number]): string {
  const chosen = valid[Math.floor(Math.random() * USERS)] ?? "";
  const token = { valid: chosen, expired, forged: `${chosen.slice(0, -8)}AAAAAAAA`, none: "" }[kind.token];
  const bodyBytes = "bodyBytes" in kind ? kind.bodyBytes : 0;
  return (
    `${bodyBytes > 0 ? "PUT" : "GET"} /graph/me/${kind.path} HTTP/1.1\r\nhost: x\r\n` +
    (token === "" ? "" : `authorization: Bearer ${token}\r\n`) +
    `${bodyBytes > 0 ? `content-length: ${bodyBytes}\r\n` : ""}\r\n${"b".repeat(bodyBytes)}`
  );
}

/** Sends one request and resolves to the status once the answer is here whole; 0 when the connection closed. */
function exchangeOn(socket: Socket, request: string): Promise<number> {
  return new Promise((resolve) => {
    let head = "";
    let status = 0;
    let left = Number.POSITIVE_INFINITY;
    const settle = (outcome: number) => {
      socket.off("data", onData).off("close", onClose);
      resolve(outcome);
    };
    const onClose = () => settle(0);
    const onData = (chunk: Buffer) => {
      if (status === 0) {
        head += chunk.toString("latin1");
        const end = head.indexOf("\r\n\r\n");
        if (end === -1) return;
        status = Number(head.slice(9, 12));
        left = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0) - (head.length - end - 4);
      } else left -= chunk.length;
      if (left <= 0) settle(status);
    };
    socket.on("data", onData).on("close", onClose);
    socket.write(request);
  });
}

async function open(): Promise<Socket> {
  const socket = connect(gateway.port, "127.0.0.1").setNoDelay(true);
  socket.on("error", () => {});
  await once(socket, "connect");
  return socket;
}

async function caller(): Promise<void> {
  let socket = await open();
  while (sent < wanted && performance.now() < endsAt) {
    const kind = THOUSAND[(sent++ * 617) % THOUSAND.length] ?? KINDS[0];
    const answered = exchangeOn(socket, requestOf(kind));
    if (kind.status === 0) setTimeout(() => socket.destroy(), 5);
    const status = await answered;
    const count = counts.get(kind.name);
    if (count === undefined) continue;
    if (status === kind.status) count.asDue++;
    else count.otherwise.set(status, (count.otherwise.get(status) ?? 0) + 1);
    if (socket.destroyed) socket = await open();
  }
  socket.destroy();
}

const samples: { readonly requests: number; readonly rssMiB: number }[] = [];
const sampling = setInterval(() => samples.push({ requests: sent, rssMiB: gateway.rssMiB() }), SAMPLE_MS);
let earlyHeapMiB = Number.NaN;
const began = performance.now();
const load = Promise.all(Array.from({ length: CONNECTIONS }, caller));
const early = (async () => {
  while (sent < wanted / 3 && performance.now() < endsAt) await sleep(100);
  earlyHeapMiB = await gateway.heapMiB();
})();
await Promise.all([load, early]);
const seconds = (performance.now() - began) / 1000;
clearInterval(sampling);
clearInterval(renewal);
const lateHeapMiB = await gateway.heapMiB();
const cpuSeconds = gateway.cpuSeconds();
await gateway.stop();
api.close();
await emulator.close();

/** MiB per 100 000 requests, by least squares. */
function slopeOf(points: typeof samples): number {
  const mean = (pick: (point: (typeof samples)[number]) => number) =>
    points.reduce((sum, point) => sum + pick(point), 0) / points.length;
  const requests = mean((point) => point.requests);
  const rss = mean((point) => point.rssMiB);
  const covariance = mean((point) => (point.requests - requests) * (point.rssMiB - rss));
  return (covariance / mean((point) => (point.requests - requests) ** 2)) * 100_000;
}

const settled = samples.filter(({ requests }) => requests >= wanted / 3);
const rss = settled.map(({ rssMiB }) => rssMiB);
const slope = slopeOf(settled);
const otherwise = [...counts].filter(([, count]) => count.otherwise.size > 0);

console.log(
  `soak: ${sent} requests of ${USERS} users in ${seconds.toFixed(0)} s, ${renewed} tokens renewed, ${((cpuSeconds / sent) * 1e6).toFixed(0)} µs of processor time each\n`,
);
for (const [name, count] of counts)
  console.log(
    `${name.padEnd(34)}${String(count.asDue).padStart(8)} as due${[...count.otherwise].map(([status, times]) => `, ${times} times ${status}`).join("")}`,
  );
console.log(
  `\nRSS after the first third: ${Math.min(...rss).toFixed(0)} to ${Math.max(...rss).toFixed(0)} MiB; quarters: ${quarters(rss)}`,
);
const verdicts = [
  judge("all requests within the time", sent, sent >= wanted, `${wanted}`),
  judge("kinds of requests answered otherwise", otherwise.length, otherwise.length === 0, "0"),
  judge(
    "heap after collection, MiB more at the end than after the first third",
    lateHeapMiB - earlyHeapMiB,
    lateHeapMiB - earlyHeapMiB < HEAP_LIMIT_MIB,
    `under ${HEAP_LIMIT_MIB}`,
  ),
  ...(wanted >= SLOPE_NEEDS_REQUESTS
    ? [
        judge(
          "RSS after the first third, MiB more for each 100 000 requests",
          slope,
          slope < SLOPE_LIMIT_MIB,
          `under ${SLOPE_LIMIT_MIB}`,
        ),
      ]
    : []),
];
process.exitCode = verdicts.every(Boolean) ? 0 : 1;

function quarters(values: readonly number[]): string {
  const size = Math.ceil(values.length / 4);
  return [0, 1, 2, 3]
    .map((quarter) => values.slice(quarter * size, (quarter + 1) * size))
    .map((part) => (part.reduce((sum, value) => sum + value, 0) / part.length).toFixed(0))
    .join(", ");
}

function judge(what: string, value: number, isKept: boolean, limit: string): boolean {
  console.log(`${isKept ? "kept  " : "MISSED"} ${what}: ${Number(value.toFixed(2))}, ${limit}`);
  return isKept;
}
