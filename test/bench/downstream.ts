/** A gigabyte up and a gigabyte down: the gateway's forwarder beside a bare node:http server that streams with undici. */

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";

const BYTES = 2 ** 30;
const CHUNK = Buffer.alloc(64 * 1024, "0123456789abcdef");
const ROUNDS = 3;

const RSS_LIMIT_MIB = 48;
const RATIO_LIMIT = 0.9;

interface Result {
  readonly seconds: number;
  /** Peak growth of the proxy's resident memory, MiB. */
  readonly growthMiB: number;
}

/** Prints a table; resolves to whether every limit was kept. */
export async function benchDownstream(): Promise<boolean> {
  const api = http.createServer(answer);
  const apiPort = await listen(api);
  const results = new Map<string, Result[]>();
  // Turns in each round, so that a noisy moment of the machine hits both.
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const contender of ["bare", "gateway"]) {
      for (const direction of ["down", "up"] as const) {
        const result = await measure(contender, direction, apiPort);
        const name = `${contender} ${direction}`;
        // The first round warms the page cache and the kernel's buffers.
        if (round > 0) results.set(name, [...(results.get(name) ?? []), result]);
      }
    }
  }
  api.close();

  const seconds = (name: string) => median((results.get(name) ?? []).map((result) => result.seconds));
  const growth = (name: string) => Math.max(...(results.get(name) ?? []).map((result) => result.growthMiB));
  console.log(
    `downstream: 1 GiB through a process of its own, median of ${ROUNDS} rounds, peak growth of memory\n`,
  );
  console.log(`${"".padEnd(16)}${"MiB/s".padStart(9)}${"MiB more".padStart(10)}`);
  for (const name of results.keys()) {
    console.log(
      name.padEnd(16) + (1024 / seconds(name)).toFixed(0).padStart(9) + growth(name).toFixed(1).padStart(10),
    );
  }
  const ratio = (direction: string) => seconds(`bare ${direction}`) / seconds(`gateway ${direction}`);
  const kept = [
    report("throughput down, ratio to bare", ratio("down"), ratio("down") >= RATIO_LIMIT, RATIO_LIMIT),
    report("throughput up, ratio to bare", ratio("up"), ratio("up") >= RATIO_LIMIT, RATIO_LIMIT),
    ...["down", "up"].map((direction) => {
      const more = growth(`gateway ${direction}`);
      return report(`memory ${direction}, MiB`, more, more <= RSS_LIMIT_MIB, RSS_LIMIT_MIB);
    }),
  ];
  return kept.every(Boolean);
}

function report(what: string, value: number, isKept: boolean, limit: number): boolean {
  console.log(`${what}: ${value.toFixed(2)} of ${limit}${isKept ? "" : "  past the limit"}`);
  return isKept;
}

async function measure(contender: string, direction: "up" | "down", apiPort: number): Promise<Result> {
  const proxy = fork(fileURLToPath(new URL("./downstream-proxy.ts", import.meta.url)), [
    contender,
    `${apiPort}`,
  ]);
  const [{ port }] = (await once(proxy, "message")) as [{ port: number }];
  const url = `http://127.0.0.1:${port}/graph/big`;
  // A small one first: code is compiled and buffers are allocated before the count begins.
  await transfer(url, direction, 16 * 2 ** 20);
  const before = await memoryOf(proxy, "start");
  const began = performance.now();
  await transfer(url, direction, BYTES);
  const seconds = (performance.now() - began) / 1000;
  const peak = await memoryOf(proxy, "stop");
  proxy.kill();
  await once(proxy, "exit");
  return { seconds, growthMiB: (peak - before) / 2 ** 20 };
}

async function memoryOf(proxy: ChildProcess, command: "start" | "stop"): Promise<number> {
  const answered = once(proxy, "message") as Promise<[{ rss: number }]>;
  proxy.send(command);
  const [{ rss }] = await answered;
  return rss;
}

async function transfer(url: string, direction: "up" | "down", bytes: number): Promise<void> {
  const options = { agent: false, headers: { "x-bytes": `${bytes}` } };
  if (direction === "down") {
    const [response] = (await once(http.get(url, options), "response")) as [http.IncomingMessage];
    let received = 0;
    for await (const chunk of response as AsyncIterable<Buffer>) received += chunk.length;
    if (received !== bytes) throw new Error(`received ${received} bytes of ${bytes}`);
    return;
  }
  const request = http.request(url, { ...options, method: "PUT" });
  const answered = once(request, "response") as Promise<[http.IncomingMessage]>;
  await send(request, bytes);
  const [response] = await answered;
  let text = "";
  for await (const chunk of response as AsyncIterable<Buffer>) text += chunk;
  if (text !== String(bytes)) throw new Error(`the API received ${text} bytes of ${bytes}`);
}

async function send(to: http.ClientRequest | http.ServerResponse, bytes: number): Promise<void> {
  for (let left = bytes; left > 0; left -= CHUNK.length) {
    if (!to.write(left < CHUNK.length ? CHUNK.subarray(0, left) : CHUNK)) await once(to, "drain");
  }
  to.end();
}

function answer(request: http.IncomingMessage, response: http.ServerResponse): void {
  if (request.method === "GET") {
    void send(response, Number(request.headers["x-bytes"]));
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

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}
