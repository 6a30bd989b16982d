/** The admin listener, in its own thread, before a main thread that is busy, and before callers it does not serve. */

import { once } from "node:events";
import { request } from "node:http";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { afterEach, describe, expect, test } from "@jest/globals";
import { type AdminListener, listenForAdmin } from "../../src/http/admin.ts";
import type { AdminPage } from "../../src/http/contract.ts";

const open: AdminListener[] = [];
const sockets: Socket[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await Promise.all(open.splice(0).map((listener) => listener.close()));
});

const page = (status: number, value: unknown): AdminPage => ({
  status,
  contentType: "application/json",
  body: JSON.stringify(value),
});

async function start(
  pages = async (path: string) => page(200, { path }),
  hosts: readonly string[] = [],
  maxBusyMs = 500,
) {
  const listener = await listenForAdmin({ host: "127.0.0.1", port: 0, pages, maxBusyMs, hosts });
  open.push(listener);
  return listener;
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

function get({ port }: AdminListener, path: string, options: object = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    request({ port, host: "127.0.0.1", path, agent: false, ...options }, async (response) => {
      let body = "";
      for await (const chunk of response) body += chunk;
      resolve({ status: response.statusCode ?? 0, body });
    })
      .on("error", reject)
      .end();
  });
}

/**
 * A caller in a thread of its own, which asks while this thread is busy: at each of `atMs` for the path. What it saw can
 * be read when this thread is free again.
 */
async function caller(port: number, path: string, atMs: readonly number[]) {
  const program = `
    const { get } = require("node:http");
    const { parentPort } = require("node:worker_threads");
    parentPort.once("message", () => {
      const began = performance.now();
      Promise.all(${JSON.stringify(atMs)}.map((ms) => new Promise((resolve) => setTimeout(() => {
        const asked = performance.now();
        get({ port: ${port}, host: "127.0.0.1", path: ${JSON.stringify(path)}, agent: false }, (response) => {
          response.resume().on("end", () => resolve({ status: response.statusCode, tookMs: performance.now() - asked, atMs: performance.now() - began }));
        }).on("error", (error) => resolve({ status: 0, tookMs: 0, atMs: 0, error: error.message }));
      }, ms)))).then((seen) => parentPort.postMessage(seen));
    });
    parentPort.postMessage("ready");`;
  const worker = new Worker(program, { eval: true, execArgv: [] });
  await once(worker, "message");
  return {
    start: () => worker.postMessage("start"),
    async seen() {
      const [seen] = (await once(worker, "message")) as [{ status: number; tookMs: number; atMs: number }[]];
      await worker.terminate();
      return seen;
    },
  };
}

function standStill(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

describe("while the main thread stands still", () => {
  test("/livez and /readyz answer as before, up to the lag at which load is shed", async () => {
    const listener = await start(undefined, [], 3_000);
    await get(listener, "/readyz");
    const [live, ready] = await Promise.all([
      caller(listener.port, "/livez", [50]),
      caller(listener.port, "/readyz", [50]),
    ]);
    live.start();
    ready.start();
    standStill(2_500);
    const [[first], [second]] = await Promise.all([live.seen(), ready.seen()]);
    expect([first?.status, second?.status]).toEqual([200, 200]);
    // Before the main thread was free again.
    expect(first?.atMs).toBeLessThan(2_300);
    expect(second?.atMs).toBeLessThan(2_300);
  });

  test("/livez and /readyz fail when that takes longer, and recover", async () => {
    const listener = await start();
    await get(listener, "/readyz");
    const [live, ready, metrics] = await Promise.all([
      caller(listener.port, "/livez", [1_000]),
      caller(listener.port, "/readyz", [1_000]),
      caller(listener.port, "/metrics", [200]),
    ]);
    for (const one of [live, ready, metrics]) one.start();
    standStill(1_600);
    const seen = await Promise.all([live.seen(), ready.seen(), metrics.seen()]);
    expect(seen.flat().map(({ status }) => status)).toEqual([503, 503, 200]);
    await sleep(250);
    expect((await get(listener, "/livez")).status).toBe(200);
    expect((await get(listener, "/readyz")).status).toBe(200);
  });
});

describe("a page", () => {
  test("comes from the main thread, with its status and type", async () => {
    const listener = await start(async (path) => page(path === "/readyz" ? 503 : 200, { path }));
    expect(await get(listener, "/readyz")).toEqual({ status: 503, body: '{"path":"/readyz"}' });
    expect(await get(listener, "/metrics?x=1")).toEqual({ status: 200, body: '{"path":"/metrics"}' });
  });

  test("that fails does not stand in the way of the next", async () => {
    let times = 0;
    const listener = await start(async (path) => {
      times += 1;
      if (times === 1) throw new Error("on purpose");
      return page(200, { path });
    });
    expect((await get(listener, "/metrics")).status).toBe(500);
    expect((await get(listener, "/metrics")).status).toBe(200);
  });

  test("that many want is made once", async () => {
    let made = 0;
    const listener = await start(async (path) => {
      made += 1;
      await sleep(300);
      return page(200, { path });
    });
    const all = await Promise.all(Array.from({ length: 20 }, () => get(listener, "/metrics")));
    expect(all.every(({ status }) => status === 200)).toBe(true);
    expect(made).toBeLessThan(5);
  });

  test.each([
    ["GET", "/nothing", 404],
    ["GET", "/", 404],
    ["POST", "/livez", 405],
    ["DELETE", "/metrics", 405],
    ["HEAD", "/livez", 200],
  ])("%s %s is answered %i", async (method, path, status) => {
    expect((await get(await start(), path, { method })).status).toBe(status);
  });
});

describe("the Host of a request", () => {
  test.each([
    ["127.0.0.1:8081", 200],
    ["10.244.3.7:8081", 200],
    ["[::1]:8081", 200],
    ["[fd00::7]", 200],
    ["localhost", 200],
    ["LOCALHOST:8081", 200],
    ["Gateway.Monitoring.SVC:8081", 200],
    ["attacker.example", 421],
    ["attacker.example:8081", 421],
    ["127.0.0.1.attacker.example", 421],
    ["localhost.attacker.example", 421],
    ["gateway.monitoring.svc.attacker.example", 421],
    ["", 421],
  ])("%s is answered %i, so that no page in a browser can read the metrics", async (host, status) => {
    const listener = await start(undefined, ["gateway.monitoring.svc"]);
    for (const path of ["/livez", "/readyz", "/metrics"])
      expect((await get(listener, path, { headers: { host }, setHost: false })).status).toBe(status);
  });
});

describe("limits", () => {
  test("connections without end do not keep a probe away", async () => {
    const listener = await start();
    for (let count = 0; count < 200; count++) {
      const socket = connect(listener.port, "127.0.0.1").on("error", () => {});
      sockets.push(socket);
      await once(socket, "connect");
    }
    expect((await get(listener, "/livez")).status).toBe(200);
  });

  test("headers past 8 KiB are refused", async () => {
    const listener = await start();
    expect((await get(listener, "/livez", { headers: { x: "a".repeat(9_000) } })).status).toBe(431);
  });
});

test("a port in use is blamed on ADMIN_PORT", async () => {
  const { port } = await start();
  const again = listenForAdmin({
    host: "127.0.0.1",
    port,
    pages: async () => page(200, {}),
    maxBusyMs: 500,
    hosts: [],
  });
  await expect(again).rejects.toMatchObject({ faults: [{ path: "ADMIN_PORT" }] });
});
