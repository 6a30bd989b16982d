/**
 * Two replicas of the production build under steady load of every kind, while everything around them breaks and comes back.
 * Ends with a table, and with exit code 1 where a request was lost or answered otherwise than is due.
 */

import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { startEmulator } from "../../emulator/emulator.ts";
import { startBalancer } from "../../support/balancer.ts";
import { startEntraRedis } from "../../support/entra-redis.ts";
import { redisServerPath } from "../../support/redis-server.ts";
import { startMoodyApi } from "../soak-api.ts";
import { type ChaosFault, chaosFaults, copyOf } from "./faults.ts";
import { type Load, startLoad, type Tally } from "./load.ts";
import { startReplicas } from "./replicas.ts";

/** Part of a fault's share of the time in which it is broken; the rest is for what follows. */
const ACTIVE_PART = 0.5;
/** Calm before the first fault and after the last one, ms. */
const CALM_MS = 2_000;
/** A fault whose end is not noticed within this time is not over. */
const RECOVERY_LIMIT_MS = 20_000;
/** How long nothing may have been excused before that counts as recovered, ms. */
const QUIET_MS = 500;

const YAML = `
identity: { tenants: ["\${AZURE_TENANT_ID}"], audiences: ["\${AZURE_CLIENT_ID}"] }
exchange: { timeoutMs: 6000, cache: { redis: { url: "\${REDIS_URL}", auth: entra, timeoutMs: 500 } } }
downstreamApis:
  graph:
    baseUrl: "\${API_URL}"
    scopes: [https://graph.microsoft.com/.default]
    connections: { maxAgeMs: 3000 }
    allowPrivateNetwork: true
routes:
  - { path: /graph, downstreamApi: graph, methods: [GET, PUT], requiredScopes: [access_as_user], allow: ["/me/**"] }
  - { path: /app, downstreamApi: graph, as: app, requiredScopes: [access_as_user], allow: ["/me/**"] }
http: { shutdownGraceSeconds: 5, maxEventLoopLagMs: 0 }
`;

interface Row {
  readonly fault: string;
  readonly tally: Tally;
  /** Undefined where it did not recover. */
  readonly recoveryMs: number | undefined;
  readonly hasRecovery: boolean;
}

const { values } = parseArgs({
  options: {
    chaos: { type: "boolean" },
    seconds: { type: "string", default: "600" },
    rate: { type: "string", default: "200" },
    /** Only faults whose name holds this text. */
    only: { type: "string", default: "" },
  },
});
const seconds = Number(values.seconds);
const rate = Number(values.rate);
if (!(seconds >= 10 && seconds <= 3_600) || !(rate >= 1 && rate <= 2_000))
  throw new Error("--seconds: 10 to 3600, --rate: 1 to 2000");
if (redisServerPath === undefined) throw new Error("the chaos run needs a redis-server on PATH");

const directory = await mkdtemp(join(tmpdir(), "chaos-"));
const cleanUp: (() => unknown)[] = [() => rm(directory, { recursive: true, force: true })];
try {
  process.exitCode = (await run()) ? 0 : 1;
} finally {
  for (const each of cleanUp.toReversed()) await each();
}

async function run(): Promise<boolean> {
  const [emulator, redis, api, balancer] = await Promise.all([
    startEmulator(),
    startEntraRedis(),
    startMoodyApi(),
    startBalancer(),
  ]);
  cleanUp.push(emulator.close, redis.close, api.close, balancer.close);
  redis.grant(emulator.gatewayPrincipalId);
  const at = (name: string) => join(directory, name);
  const keysFile = at("token-cache-keys");
  await writeFile(keysFile, randomBytes(32).toString("base64"));
  await writeFile(at("gateway.yaml"), YAML);
  const certificateFile = await copyOf(emulator.files.clientCertificate, at("client.pem"));
  const auditFiles = [at("audit-1.log"), at("audit-2.log")];
  const credentials = [
    { AZURE_FEDERATED_TOKEN_FILE: emulator.files.federatedToken },
    { AZURE_CLIENT_CERTIFICATE_PATH: certificateFile },
  ];
  const replicas = await startReplicas(
    balancer,
    credentials.map((credential, index) => ({
      GATEWAY_CONFIG: at("gateway.yaml"),
      AZURE_TENANT_ID: emulator.tenantId,
      AZURE_CLIENT_ID: emulator.clientId,
      AZURE_AUTHORITY_HOST: emulator.authorityHost,
      NODE_EXTRA_CA_CERTS: emulator.files.caCertificate,
      // By name, so that a resolver is needed.
      API_URL: api.url.replace("127.0.0.1", "localhost"),
      REDIS_URL: redis.url.replace("127.0.0.1", "localhost"),
      TOKEN_CACHE_KEYS_FILE: keysFile,
      AUDIT_LOG_FILE: auditFiles[index] ?? "",
      ...credential,
    })),
  );
  cleanUp.push(replicas.kill);
  await sleep(200);

  const faults = chaosFaults({ emulator, redis, replicas, auditFiles, keysFile, certificateFile }).filter(
    ({ name }) => name.includes(values.only),
  );
  const slotMs = (seconds * 1_000 - 2 * CALM_MS) / faults.length;
  const load = startLoad(balancer.url, emulator, rate);
  await load.begin(replicas.all());
  const rows: Row[] = [];
  rows.push(await calm("before", load));
  for (const fault of faults) rows.push(await suffer(fault, slotMs, load));
  rows.push(await calm("after", load));
  await load.stop();
  await replicas.stop();
  return report(rows, load.total());
}

async function calm(fault: string, load: Load): Promise<Row> {
  const tally = load.enter({});
  await sleep(CALM_MS);
  return { fault: `(${fault} all faults)`, tally, recoveryMs: undefined, hasRecovery: false };
}

/** Runs a fault, and waits until its effects are over and its share of the time is used up. */
async function suffer(fault: ChaosFault, slotMs: number, load: Load): Promise<Row> {
  const began = performance.now();
  const tally = load.enter(fault.excuses ?? {});
  await fault.run(slotMs * ACTIVE_PART);
  const repaired = performance.now();
  const limit = repaired + RECOVERY_LIMIT_MS;
  let usedAt: number | undefined = fault.isOver === undefined ? repaired : undefined;
  while (usedAt === undefined && performance.now() < limit) {
    // A replica that has just been replaced does not answer.
    if ((await fault.isOver?.().catch(() => false)) === true) usedAt = performance.now();
    else await sleep(50);
  }
  while (performance.now() - load.lastExcusedAt() < QUIET_MS && performance.now() < limit) await sleep(50);
  const isOver = usedAt !== undefined && performance.now() - load.lastExcusedAt() >= QUIET_MS;
  const recoveryMs = isOver
    ? Math.max(0, (usedAt ?? 0) - repaired, load.lastExcusedAt() - repaired)
    : undefined;
  await sleep(Math.max(0, slotMs - (performance.now() - began)));
  console.log(`${((performance.now() - began) / 1_000).toFixed(1).padStart(5)} s  ${fault.name}`);
  return { fault: fault.name, tally, recoveryMs, hasRecovery: true };
}

function report(rows: readonly Row[], { sent, held }: ReturnType<Load["total"]>): boolean {
  const count = ({ tally }: Row, isLost: boolean) =>
    [...tally.otherwise]
      .filter(([what]) => what.includes(": lost") === isLost)
      .reduce((all, [, times]) => all + times, 0);
  const line = (fault: string, cells: readonly (string | number)[]) =>
    console.log(fault.padEnd(50) + cells.map((cell) => String(cell).padStart(10)).join(""));
  const faults = rows.filter(({ hasRecovery }) => hasRecovery);
  const unsent = held > 0 ? `; ${held} more were due than this machine could send` : "";
  console.log(
    `\nchaos: ${sent} requests at ${rate} a second, two replicas, ${faults.length} faults${unsent}\n`,
  );
  line("", ["answered", "refused", "not", "", "p99", "over after"]);
  line("fault", ["as due", "as due", "as due", "lost", "ms", "s"]);
  for (const row of rows) {
    const { fault, tally, recoveryMs, hasRecovery } = row;
    const sorted = tally.times.toSorted((one, other) => one - other);
    const p99 = sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN;
    const over = !hasRecovery ? "" : recoveryMs === undefined ? "never" : (recoveryMs / 1_000).toFixed(1);
    line(fault, [tally.answered, tally.refused, count(row, false), count(row, true), p99.toFixed(0), over]);
    for (const [what, times] of tally.otherwise) console.log(`    ${times} times ${what}`);
  }
  const sum = (pick: (row: Row) => number) => rows.reduce((all, row) => all + pick(row), 0);
  const otherwise = sum((row) => count(row, false));
  const lost = sum((row) => count(row, true));
  line("all", [sum(({ tally }) => tally.answered), sum(({ tally }) => tally.refused), otherwise, lost]);
  const unrecovered = faults.filter(({ recoveryMs }) => recoveryMs === undefined);
  const isKept = otherwise + lost === 0 && unrecovered.length === 0;
  console.log(
    isKept
      ? "\nkept   no request was lost or answered otherwise than is due, and each fault was got over"
      : `\nMISSED ${lost} requests were lost, ${otherwise} answered otherwise than is due; ${unrecovered.length} faults were not got over`,
  );
  return isKept;
}
