/** HTTP/2 beside a pool of HTTP/1.1 connections, to one server that speaks both: whether the transport should offer it. */

import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Pool } from "undici";
import { median } from "../statistics.ts";

const ROUNDS = 5;
const LARGE = 64 * 2 ** 20;
/** What would make a second protocol worth its own ways to fail: more requests at any load, and no slower files. */
const GAIN_LIMIT = 1.2;

interface Load {
  readonly name: string;
  readonly path: string;
  readonly concurrent: number;
  readonly requests: number;
}

const LOADS: readonly Load[] = [
  { name: "1 KiB, 32 at once", path: "/1024", concurrent: 32, requests: 10_000 },
  { name: "1 KiB, 256 at once", path: "/1024", concurrent: 256, requests: 10_000 },
  { name: "64 MiB, one by one", path: `/${LARGE}`, concurrent: 1, requests: 3 },
  { name: "64 MiB, 4 at once", path: `/${LARGE}`, concurrent: 4, requests: 4 },
];

/** Connections, and streams on each. Pipelining is what undici calls the streams it opens at once. */
const CONTENDERS: Readonly<Record<string, (origin: string, ca: string, concurrent: number) => Pool>> = {
  "http/1.1": (origin, ca, concurrent) =>
    new Pool(origin, { connections: concurrent, pipelining: 1, connect: { ca, allowH2: false } }),
  "http/2 on 1": (origin, ca, concurrent) => http2Pool(origin, ca, 1, concurrent),
  "http/2 on 4": (origin, ca, concurrent) => http2Pool(origin, ca, 4, concurrent),
};

function http2Pool(origin: string, ca: string, connections: number, concurrent: number): Pool {
  const streams = Math.ceil(concurrent / connections);
  return new Pool(origin, {
    connections,
    allowH2: true,
    pipelining: streams,
    maxConcurrentStreams: streams,
    connect: { ca },
  });
}

/** Prints a table; resolves to whether leaving HTTP/2 off is still the right choice. */
export async function benchHttp2(): Promise<boolean> {
  const server = fork(fileURLToPath(new URL("./http2-server.ts", import.meta.url)));
  const [{ port, ca }] = (await once(server, "message")) as [{ port: number; ca: string }];
  const seconds = new Map<string, number[]>();
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const load of LOADS) {
      // Turns in each round, so that a noisy moment of the machine hits all.
      for (const [name, open] of Object.entries(CONTENDERS)) {
        const pool = open(`https://127.0.0.1:${port}`, ca, load.concurrent);
        const took = await run(pool, load, name.startsWith("http/2") ? "2.0" : "1.1");
        await pool.close();
        const key = `${load.name} ${name}`;
        // The first round compiles code.
        if (round > 0) seconds.set(key, [...(seconds.get(key) ?? []), took]);
      }
    }
  }
  server.kill();

  console.log(`http2: one TLS server that speaks both, requests per second, median of ${ROUNDS} rounds\n`);
  console.log(
    "".padEnd(22) +
      Object.keys(CONTENDERS)
        .map((name) => name.padStart(13))
        .join(""),
  );
  const ratios = LOADS.map((load) => {
    const rates = Object.keys(CONTENDERS).map(
      (name) => load.requests / median(seconds.get(`${load.name} ${name}`) ?? []),
    );
    console.log(load.name.padEnd(22) + rates.map((rate) => rate.toFixed(1).padStart(13)).join(""));
    const [plain = Number.NaN, ...others] = rates;
    return { load, ratio: Math.max(...others) / plain };
  });
  for (const { load, ratio } of ratios)
    console.log(`${load.name}: better form of HTTP/2 is ${ratio.toFixed(2)} of http/1.1`);
  const isClearlyBetter = ratios.every(
    ({ load, ratio }) => ratio >= (load.path === "/1024" ? GAIN_LIMIT : 1),
  );
  console.log(
    isClearlyBetter ? "HTTP/2 is clearly better: offer it" : "HTTP/2 is not clearly better: stays off",
  );
  return !isClearlyBetter;
}

async function run(pool: Pool, { path, concurrent, requests }: Load, version: string) {
  // Connections are opened before the clock starts, so the handshakes that HTTP/2 saves are not counted.
  await Promise.all(Array.from({ length: concurrent }, () => fetchAll(pool, "/1")));
  await expectVersion(pool, version);
  let left = requests;
  const began = performance.now();
  await Promise.all(
    Array.from({ length: concurrent }, async () => {
      while (left > 0) {
        left -= 1;
        await fetchAll(pool, path);
      }
    }),
  );
  return (performance.now() - began) / 1000;
}

async function fetchAll(pool: Pool, path: string): Promise<void> {
  const { body } = await pool.request({ path, method: "GET" });
  let received = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) received += chunk.length;
  if (received !== Number(path.slice(1))) throw new Error(`received ${received} bytes of ${path}`);
}

/** A measurement of the wrong protocol would be worse than none. */
async function expectVersion(pool: Pool, version: string): Promise<void> {
  const { headers, body } = await pool.request({ path: "/1", method: "GET" });
  await body.dump();
  if (headers["x-version"] !== version) throw new Error(`spoke HTTP/${headers["x-version"]}`);
}
