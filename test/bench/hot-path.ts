/** The gateway and its peers on one core each in turn, in interleaved rounds: requests per second as ratios. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { type LoadResult, load, startFixedApi } from "./wire.ts";

const BODY_BYTES = 1024;
const USERS = 100;
const CONNECTIONS = 32;
const ROUNDS = 3;
const WARM_UP_MS = 2_000;
const ROUND_MS = 3_000;

interface Contender {
  readonly name: string;
  readonly args: readonly string[];
  /** Smallest ratio of the gateway to this peer. */
  readonly target?: number;
}

const GATEWAY = "obo-gateway";
const peer = (file: string) => ["--import", "tsx", `test/bench/peers/${file}.ts`];
const CONTENDERS: readonly Contender[] = [
  { name: "node:http + undici.stream, no authentication", args: peer("pass-through"), target: 0.75 },
  { name: GATEWAY, args: ["dist/main.js"] },
  { name: "Express + http-proxy-middleware, no authentication", args: peer("express-proxy"), target: 2.5 },
  { name: "Fastify + reply-from + jose + Map", args: peer("fastify"), target: 2.5 },
  { name: "passport-azure-ad + one MSAL client (sample)", args: peer("sample"), target: 15 },
];

/** Needs `dist`: the gateway runs as in production, with its log line and metrics. */
export async function benchHotPath(): Promise<boolean> {
  const [emulator, api] = await Promise.all([startEmulator(), startFixedApi(BODY_BYTES)]);
  const tokens = Array.from({ length: USERS }, () => emulator.mintUserToken({ user: emulator.addUser() }));
  const results = new Map<Contender, LoadResult[]>(CONTENDERS.map((contender) => [contender, []]));
  try {
    for (let round = 0; round < ROUNDS; round++)
      for (const contender of CONTENDERS) {
        const running = await start(contender, emulator, api.url);
        const target = { port: running.port, path: "/graph/me", tokens, connections: CONNECTIONS };
        await load({ ...target, durationMs: WARM_UP_MS });
        results.get(contender)?.push(await load({ ...target, durationMs: ROUND_MS }));
        await running.stop();
      }
  } finally {
    api.close();
    await emulator.close();
  }
  return report(results);
}

async function start(
  { args }: Contender,
  emulator: Emulator,
  apiUrl: string,
): Promise<{ readonly port: number; stop(): Promise<void> }> {
  const child = spawn("taskset", ["-c", "0", process.execPath, ...args], {
    cwd: fileURLToPath(new URL("../..", import.meta.url)),
    env: {
      PATH: process.env.PATH,
      NODE_ENV: "production",
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
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout });
  const port = await new Promise<number>((resolve, reject) => {
    child.once("exit", (code) => reject(new Error(`ended with code ${code} before it listened`)));
    lines.on("line", (line) => {
      const { port } = JSON.parse(line) as { port?: number };
      if (port !== undefined) resolve(port);
    });
  });
  // Read on, unseen: a log that nobody takes would block its writer.
  lines.close();
  child.stdout.resume();
  return {
    port,
    async stop() {
      child.kill("SIGTERM");
      if (child.exitCode === null) await once(child, "exit");
    },
  };
}

function report(results: ReadonlyMap<Contender, readonly LoadResult[]>): boolean {
  const median = (values: readonly number[]) =>
    values.toSorted((one, other) => one - other)[values.length >> 1] ?? 0;
  const rates = new Map(
    [...results].map(([contender, rounds]) => [contender, rounds.map(({ perSecond }) => perSecond)]),
  );
  const [base = Number.NaN] = [...rates.values()].map(median);
  const ours = median([...rates].find(([{ name }]) => name === GATEWAY)?.[1] ?? []);
  let kept = true;
  console.log(
    `hot path: ${USERS} users, ${CONNECTIONS} connections, ${BODY_BYTES} byte answers, server on one core, median of ${ROUNDS} rounds\n`,
  );
  console.log(
    `${"".padEnd(52)}${"req/s".padStart(8)}${"spread".padStart(8)}${"p99 ms".padStart(8)}${"ratio".padStart(8)}${"gateway is".padStart(12)}${"target".padStart(8)}`,
  );
  for (const [contender, rounds] of results) {
    const rate = median(rates.get(contender) ?? []);
    const times = ours / rate;
    const missed = contender.target !== undefined && times < contender.target;
    if (missed || rounds.some(({ refused }) => refused > 0)) kept = false;
    const spread =
      (Math.max(...(rates.get(contender) ?? [])) - Math.min(...(rates.get(contender) ?? []))) / rate;
    console.log(
      contender.name.padEnd(52) +
        rate.toFixed(0).padStart(8) +
        `${(spread * 100).toFixed(0)} %`.padStart(8) +
        median(rounds.map(({ p99 }) => p99))
          .toFixed(1)
          .padStart(8) +
        (rate / base).toFixed(2).padStart(8) +
        (contender.name === GATEWAY ? "" : `${times.toFixed(2)}×`).padStart(12) +
        (contender.target === undefined ? "" : `${contender.target}×${missed ? " !" : ""}`).padStart(8),
    );
    const refused = rounds.reduce((sum, round) => sum + round.refused, 0);
    if (refused > 0) console.log(`  ${refused} answers were not 200`);
  }
  return kept;
}
