/** A gigabyte up and a gigabyte down: the gateway of `npm start` beside a bare node:http server that streams with undici. */

import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { type ObservedProcess, observe, startProductionGateway } from "./production.ts";
import { median } from "./statistics.ts";
import { load, rotate } from "./wire.ts";

const BYTES = 2 ** 30;
const CHUNK = Buffer.alloc(64 * 1024, "0123456789abcdef");
const ROUNDS = 5;
const WARM_UP_MS = 2_000;
const SMALL_BYTES = 1024;
const USERS = 50;

const GROWTH_LIMIT_MIB = 48;
const RATIO_LIMIT = 0.9;

const YAML = `
identity: { tenants: ["\${AZURE_TENANT_ID}"], audiences: ["\${AZURE_CLIENT_ID}"] }
downstreamApis:
  graph:
    baseUrl: "\${GRAPH_URL}"
    scopes: [https://graph.microsoft.com/.default]
    maxRequestBytes: ${BYTES}
    headers: { request: { allow: [x-bytes] } }
    allowPrivateNetwork: true
routes:
  - { path: /graph, downstreamApi: graph, methods: [GET, PUT], allow: ["/**"] }
`;

type Direction = "up" | "down";

interface Result {
  readonly seconds: number;
  readonly cpuSeconds: number;
  /** Peak growth of the process' resident memory, MiB. */
  readonly growthMiB: number;
}

/** Needs `dist`. Prints a table and a verdict; resolves to whether every limit was kept. */
export async function benchDownstream(): Promise<boolean> {
  const emulator = await startEmulator();
  const api = http.createServer(answer);
  const apiUrl = `http://127.0.0.1:${await listen(api)}`;
  const tokens = Array.from({ length: USERS }, () => emulator.mintUserToken({ user: emulator.addUser() }));
  const results = new Map<string, Result[]>();
  try {
    // Turns in each round, so that a noisy moment of the machine hits all; a process of its own for each transfer.
    for (let round = 0; round <= ROUNDS; round++)
      for (const direction of ["down", "up"] as const)
        for (const contender of ["bare", "gateway", "gateway, warm"]) {
          const proxy = await start(contender, emulator, apiUrl);
          if (contender.endsWith("warm"))
            await load({
              port: proxy.port,
              rotation: rotate("/graph/me", tokens),
              connections: 32,
              until: { ms: WARM_UP_MS },
              bodyBytes: SMALL_BYTES,
            });
          const result = await measure(proxy, direction, tokens[0] ?? "");
          await proxy.stop();
          const name = `${contender} ${direction}`;
          // The first round warms the page cache and the kernel's buffers.
          if (round > 0) results.set(name, [...(results.get(name) ?? []), result]);
        }
  } finally {
    api.close();
    await emulator.close();
  }
  return report(results);
}

function report(results: ReadonlyMap<string, readonly Result[]>): boolean {
  console.log(
    `downstream: 1 GiB through a process of its own, median of ${ROUNDS} rounds; growth of memory at its peak\n`,
  );
  const columns = ["MiB/s", "best", "CPU s", "MiB more", "from", "to"];
  console.log("".padEnd(22) + columns.map((title) => title.padStart(9)).join(""));
  for (const [name, rounds] of results) {
    const growth = rounds.map(({ growthMiB }) => growthMiB);
    const values = [
      (1024 / median(rounds.map(({ seconds }) => seconds))).toFixed(0),
      (1024 / Math.min(...rounds.map(({ seconds }) => seconds))).toFixed(0),
      median(rounds.map(({ cpuSeconds }) => cpuSeconds)).toFixed(2),
      ...[median(growth), Math.min(...growth), Math.max(...growth)].map((value) => value.toFixed(1)),
    ];
    console.log(name.padEnd(22) + values.map((value) => value.padStart(9)).join(""));
  }
  const kept = (["down", "up"] as const).flatMap((direction) => {
    const bare = results.get(`bare ${direction}`) ?? [];
    return ["gateway", "gateway, warm"].flatMap((contender) => {
      const name = `${contender} ${direction}`;
      const ours = results.get(name) ?? [];
      // Of the fastest rounds: what else the machine does can only slow one down.
      const fastest = (rounds: readonly Result[]) => Math.min(...rounds.map(({ seconds }) => seconds));
      const ratio = fastest(bare) / fastest(ours);
      const growth = Math.max(...ours.map(({ growthMiB }) => growthMiB));
      return [
        judge(`${name}: throughput, ratio to bare`, ratio, ratio >= RATIO_LIMIT, `at least ${RATIO_LIMIT}`),
        judge(
          `${name}: memory, MiB more in any round`,
          growth,
          growth < GROWTH_LIMIT_MIB,
          `under ${GROWTH_LIMIT_MIB}`,
        ),
      ];
    });
  });
  return kept.every(Boolean);
}

function judge(what: string, value: number, isKept: boolean, limit: string): boolean {
  console.log(`${isKept ? "kept  " : "MISSED"} ${what}: ${value.toFixed(2)}, ${limit}`);
  return isKept;
}

function start(contender: string, emulator: Emulator, apiUrl: string): Promise<ObservedProcess> {
  if (contender.startsWith("gateway")) return startProductionGateway(emulator, YAML, { GRAPH_URL: apiUrl });
  return observe(["--import", "tsx", "test/bench/downstream-proxy.ts"], {
    PEER_SETTINGS: JSON.stringify({ apiUrl }),
  });
}

async function measure(proxy: ObservedProcess, direction: Direction, token: string): Promise<Result> {
  proxy.forgetPeak();
  const before = { rss: proxy.rssMiB(), cpu: proxy.cpuSeconds() };
  const began = performance.now();
  await transfer(`http://127.0.0.1:${proxy.port}/graph/big`, direction, token);
  return {
    seconds: (performance.now() - began) / 1000,
    cpuSeconds: proxy.cpuSeconds() - before.cpu,
    growthMiB: proxy.peakMiB() - before.rss,
  };
}

async function transfer(url: string, direction: Direction, token: string): Promise<void> {
  const headers = { "x-bytes": `${BYTES}`, authorization: `Bearer ${token}` };
  if (direction === "down") {
    const [response] = (await once(http.get(url, { agent: false, headers }), "response")) as [
      http.IncomingMessage,
    ];
    let received = 0;
    for await (const chunk of response as AsyncIterable<Buffer>) received += chunk.length;
    if (received !== BYTES) throw new Error(`received ${received} bytes of ${BYTES}`);
    return;
  }
  const request = http.request(url, { agent: false, headers, method: "PUT" });
  const answered = once(request, "response") as Promise<[http.IncomingMessage]>;
  await send(request, BYTES);
  const [response] = await answered;
  let text = "";
  for await (const chunk of response as AsyncIterable<Buffer>) text += chunk;
  if (text !== String(BYTES)) throw new Error(`the API received ${text} bytes of ${BYTES}`);
}

async function send(to: http.ClientRequest | http.ServerResponse, bytes: number): Promise<void> {
  for (let left = bytes; left > 0; left -= CHUNK.length) {
    if (!to.write(left < CHUNK.length ? CHUNK.subarray(0, left) : CHUNK)) await once(to, "drain");
  }
  to.end();
}

function answer(request: http.IncomingMessage, response: http.ServerResponse): void {
  if (request.method === "GET") {
    const bytes = request.headers["x-bytes"] ?? SMALL_BYTES;
    response.setHeader("content-length", bytes);
    void send(response, Number(bytes));
    return;
  }
  let received = 0;
  request.on("data", (chunk: Buffer) => {
    received += chunk.length;
  });
  request.on("end", () => response.end(String(received)));
}

async function listen(server: http.Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}
