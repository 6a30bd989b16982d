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

/** How long the main thread stands still at most for callers that get no answer, ms. */
const STANDS_MS = 20_000;

/**
 * Callers in threads of their own, one for each path, which ask while this thread stands still: from `afterMs` on. It
 * stands still until each has asked, and those of `answered` have their answers, however busy the machine is.
 */
async function seenWhileStandingStill(
  port: number,
  paths: readonly string[],
  { afterMs, answered }: { readonly afterMs: number; readonly answered: readonly string[] },
): Promise<number[]> {
  const progress = new Int32Array(new SharedArrayBuffer(4));
  const workers = paths.map((path) => {
    const program = `
    const { get } = require("node:http");
    const { parentPort, workerData } = require("node:worker_threads");
    const step = () => { Atomics.add(workerData, 0, 1); Atomics.notify(workerData, 0); };
    parentPort.once("message", () => setTimeout(() => {
      const settle = (status) => {
        if (${answered.includes(path)}) step();
        parentPort.postMessage(status);
      };
      get({ port: ${port}, host: "127.0.0.1", path: ${JSON.stringify(path)}, agent: false }, (response) =>
        response.resume().on("end", () => settle(response.statusCode)),
      ).on("error", () => settle(0)).on("finish", step);
    }, ${afterMs}));
    parentPort.postMessage("ready");`;
    return new Worker(program, { eval: true, execArgv: [], workerData: progress });
  });
  await Promise.all(workers.map((worker) => once(worker, "message")));
  for (const worker of workers) worker.postMessage("start");

  const until = performance.now() + STANDS_MS;
  for (let done = 0; done < paths.length + answered.length; done = Atomics.load(progress, 0)) {
    const leftMs = until - performance.now();
    if (leftMs <= 0 || Atomics.wait(progress, 0, done, leftMs) === "timed-out")
      throw new Error("the callers have no answer while the main thread stands still");
  }
  const statuses = workers.map(async (worker) => {
    const [status] = (await once(worker, "message")) as [number];
    await worker.terminate();
    return status;
  });
  return await Promise.all(statuses);
}

describe("while the main thread stands still", () => {
  test("/livez and /readyz answer as before, up to the lag at which load is shed", async () => {
    const listener = await start(undefined, [], STANDS_MS);
    await get(listener, "/readyz");
    const paths = ["/livez", "/readyz"];
    const seen = await seenWhileStandingStill(listener.port, paths, { afterMs: 50, answered: paths });
    expect(seen).toEqual([200, 200]);
  });

  test("/livez and /readyz fail when that takes longer, and recover", async () => {
    const listener = await start();
    await get(listener, "/readyz");
    const seen = await seenWhileStandingStill(listener.port, ["/livez", "/readyz", "/metrics"], {
      afterMs: 1_000,
      answered: ["/livez", "/readyz"],
    });
    expect(seen).toEqual([503, 503, 200]);
    for (const path of ["/livez", "/readyz"])
      while ((await get(listener, path)).status !== 200) await sleep(20);
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
