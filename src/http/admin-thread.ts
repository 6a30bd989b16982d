/** The admin listener: a server in a thread of its own, which answers while the main thread is busy. */

import type * as http from "node:http";
import type * as workers from "node:worker_threads";
import type { AdminPage } from "./contract.ts";

/** What the main thread hands over when it starts the thread. */
export interface AdminThreadData {
  readonly host: string;
  readonly port: number;
  /** `process.hrtime` of the last turn of the main thread's event loop, ns. */
  readonly lastTurn: BigInt64Array;
  /** For how long the main thread may be busy and still count as alive, ms. */
  readonly maxBusyMs: number;
  /** Names under which the listener is reached, besides addresses and `localhost`. */
  readonly hosts: readonly string[];
  /** Pages of the console; without them nothing of it is there. */
  readonly consolePages: Readonly<Record<string, AdminPage>>;
}

/** To the main thread: a page is wanted, or the listener is there, or cannot be. */
export type FromAdminThread =
  | { readonly type: "viewers"; readonly count: number }
  | { readonly type: "asked"; readonly path: string }
  | { readonly type: "listening"; readonly port: number }
  | { readonly type: "failed"; readonly code: string };

/** From the main thread: the page at a path, or events for those who watch. */
export type ToAdminThread =
  | { readonly path: string; readonly page: AdminPage }
  /** JSON texts, one a line; `count` is the number of the kept ones. */
  | { readonly kept: string; readonly count: number; readonly passing: string };

/**
 * The functions below run in the thread, each from its own text: they can refer to one another and to nothing else of this
 * file, so each holds its own constants.
 */
export const ADMIN_THREAD = [serveAdmin, createPages, createViewers, isMeant, jsonPage, tell] as const;

function tell(main: workers.MessagePort, message: FromAdminThread): void {
  main.postMessage(message);
}

function jsonPage(status: number, value: unknown): AdminPage {
  return { status, contentType: "application/json; charset=utf-8", body: JSON.stringify(value) };
}

/**
 * A page that a browser has open may have its name resolved to this address (DNS rebinding), and reads the answers
 * then. It cannot choose an address as `Host`; who sends none is no browser.
 */
function isMeant(field: string | undefined, hosts: readonly string[]): boolean {
  if (field === undefined) return true;
  const name = field.replace(/:\d*$/, "").toLowerCase();
  return /^(?:[\d.]+|\[[\da-f:.]+\]|localhost)$/.test(name) || hosts.includes(name);
}

/**
 * Pages: the thread's own, and the main thread's, whose answers are waited for within bounds. Each page is asked for once at
 * a time however many want it.
 */
function createPages(main: workers.MessagePort, { lastTurn, maxBusyMs, consolePages }: AdminThreadData) {
  /** How long a page is waited for, ms. A scrape may take a while; a probe gets the last state that is known. */
  const WAITS: Readonly<Record<string, number>> = {
    "/readyz": 200,
    "/metrics": 5_000,
    "/permissions": 2_000,
  };
  const known = new Map<string, AdminPage>();
  const wanted = new Map<string, ((page: AdminPage | undefined) => void)[]>();

  function busyMs(): number {
    return Number(process.hrtime.bigint() - Atomics.load(lastTurn, 0)) / 1e6;
  }

  function ask(path: string): Promise<AdminPage | undefined> {
    return new Promise((resolve) => {
      const waiting = wanted.get(path);
      if (waiting === undefined) {
        wanted.set(path, [resolve]);
        tell(main, { type: "asked", path });
      } else waiting.push(resolve);
      setTimeout(resolve, WAITS[path] ?? 0, undefined);
    });
  }

  async function at(path: string): Promise<AdminPage> {
    if (path === "/livez") {
      const alive = busyMs() <= maxBusyMs;
      return jsonPage(alive ? 200 : 503, { alive });
    }
    const fixed = consolePages[path];
    if (fixed !== undefined) return fixed;
    if (WAITS[path] === undefined) return jsonPage(404, { paths: ["/livez", "/readyz", "/metrics"] });
    const page = await ask(path);
    if (page !== undefined) return page;
    // Readiness changes seldom, so the last state holds while the main thread is busy; numbers would be wrong.
    const last = path === "/readyz" && busyMs() <= maxBusyMs ? known.get(path) : undefined;
    return last ?? jsonPage(503, { busyMs: Math.round(busyMs()) });
  }

  /** What the main thread answered. */
  function arrived(path: string, page: AdminPage): void {
    known.set(path, page);
    const waiting = wanted.get(path) ?? [];
    wanted.delete(path);
    for (const settle of waiting) settle(page);
  }

  return { at, arrived };
}

/** Those who watch the console's stream of events; a newcomer sees some of the time before. */
function createViewers(main: workers.MessagePort) {
  const MOST_VIEWERS = 20;
  /** Events that a newcomer sees of the time before. */
  const REMEMBERED = 200;
  /** What a viewer may leave unread, bytes; one who leaves more is dropped. */
  const MOST_UNREAD = 262_144;
  const viewers = new Set<http.ServerResponse>();
  /** Batches as they were sent, the oldest first; together they hold as many events as are remembered, or more. */
  let remembered: { readonly bytes: Buffer; readonly count: number }[] = [];
  let rememberedCount = 0;

  function write(viewer: http.ServerResponse, bytes: Buffer | string): void {
    viewer.write(bytes);
    if (viewer.writableLength > MOST_UNREAD) viewer.destroy();
  }

  /** Says whether there is room. */
  function admit(viewer: http.ServerResponse): boolean {
    if (viewers.size >= MOST_VIEWERS) return false;
    // The end of the connection is the end of the stream: chunks would cost three more pieces for each write.
    viewer.useChunkedEncodingByDefault = false;
    viewer.shouldKeepAlive = false;
    viewer.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    viewers.add(viewer);
    viewer.once("close", () => {
      viewers.delete(viewer);
      if (viewers.size === 0) {
        remembered = [];
        rememberedCount = 0;
      }
      tell(main, { type: "viewers", count: viewers.size });
    });
    const events = Buffer.concat(remembered.map(({ bytes }) => bytes))
      .toString()
      .split(/(?<=\n\n)/);
    write(viewer, `retry: 2000\n\n${events.slice(-REMEMBERED).join("")}`);
    tell(main, { type: "viewers", count: viewers.size });
    return true;
  }

  /** Written out once for all viewers. */
  function publish(kept: string, count: number, passing: string): void {
    if (viewers.size === 0) return;
    const [keptBytes, passingBytes] = [inLines(kept), inLines(passing)];
    const all = Buffer.concat([keptBytes, passingBytes]);
    for (const viewer of viewers) write(viewer, all);
    if (count > 0) remember(keptBytes, count);
  }

  /** As the stream has them: one event of JSON a paragraph. */
  function inLines(events: string): Buffer {
    return Buffer.from(events === "" ? "" : `data: ${events.replaceAll("\n", "\n\ndata: ")}\n\n`);
  }

  function remember(bytes: Buffer, count: number): void {
    remembered.push({ bytes, count });
    rememberedCount += count;
    for (let [first] = remembered; first !== undefined; [first] = remembered) {
      if (rememberedCount - first.count < REMEMBERED) break;
      remembered.shift();
      rememberedCount -= first.count;
    }
  }

  return { admit, publish, most: MOST_VIEWERS };
}

/** The listener. Nothing that is asked here has a body; one that comes is not read. */
function serveAdmin(node: typeof http, { parentPort, workerData }: typeof workers): void {
  const MOST_CONNECTIONS = 64;
  const SILENT_MS = 15_000;

  const main = parentPort as workers.MessagePort;
  const options = workerData as AdminThreadData;
  const { host, port, hosts, consolePages } = options;
  const pages = createPages(main, options);
  const viewers = createViewers(main);

  main.on("message", (message: ToAdminThread) => {
    if ("kept" in message) viewers.publish(message.kept, message.count, message.passing);
    else pages.arrived(message.path, message.page);
  });

  const server = node.createServer(
    {
      maxHeaderSize: 8_192,
      headersTimeout: 5_000,
      requestTimeout: 10_000,
      connectionsCheckingInterval: 1_000,
    },
    (request, response) => {
      const { method = "", url = "/", headers } = request;
      const answer = ({ status, contentType, body, headers: more }: AdminPage) => {
        response.writeHead(status, {
          ...more,
          "content-type": contentType,
          "cache-control": "no-store",
          "content-length": Buffer.byteLength(body),
        });
        response.end(method === "HEAD" ? undefined : body);
      };
      if (method !== "GET" && method !== "HEAD") {
        response.shouldKeepAlive = false;
        answer(jsonPage(405, { methods: ["GET", "HEAD"] }));
      } else if (isMeant(headers.host, hosts)) {
        const path = url.replace(/\?.*$/s, "");
        if (path !== "/console/events" || method !== "GET" || consolePages["/console"] === undefined)
          void pages.at(path).then(answer);
        else if (!viewers.admit(response)) answer(jsonPage(503, { problem: `${viewers.most} are watching` }));
      } else answer(jsonPage(421, { problem: "name this host in admin.hosts" }));
    },
  );
  server.setTimeout(SILENT_MS);
  // The probe that decides about this process comes last, so the connection that came first gives way.
  const connections = new Set<NonNullable<http.IncomingMessage["socket"]>>();
  server.on("connection", (socket) => {
    connections.add(socket);
    socket.once("close", () => connections.delete(socket));
    if (connections.size > MOST_CONNECTIONS) for (const first of connections) return void first.destroy();
  });
  server.once("error", ({ code }: NodeJS.ErrnoException) => tell(main, { type: "failed", code: code ?? "" }));
  server.listen(port, host, () => {
    const address = server.address();
    const bound = typeof address === "object" ? (address?.port ?? 0) : 0;
    tell(main, { type: "listening", port: bound });
  });
}
