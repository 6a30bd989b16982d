/** Starts the thread of the admin listener, tells it that the main thread turns, and gives it the pages it asks for. */

import { Worker } from "node:worker_threads";
import type { AdminFeed, AdminPage, AdminPages } from "./admin.ts";
import {
  type AdminThreadData,
  type FromAdminThread,
  serveAdmin,
  type ToAdminThread,
} from "./admin-thread.ts";
import { type Bound, notBound } from "./server.ts";

export interface AdminListenerOptions {
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  readonly pages: AdminPages;
  /** Lag of the event loop at which load is shed, ms; while it is no longer, the process counts as alive. */
  readonly maxBusyMs: number;
  readonly hosts: readonly string[];
  /** Nothing of it is there without. */
  readonly console?: AdminFeed | undefined;
}

export interface AdminListener {
  readonly port: number;
  close(): Promise<void>;
}

/** How often the main thread says that it turns, ms. */
const TURN_MS = 100;

/**
 * A file of its own would have one name in the source and another in the build, so the thread gets its program as text.
 * What runs the source names functions by a helper that the text has to bring along.
 */
const PROGRAM = `const __name = (one) => one;
(${serveAdmin.toString()})(require("node:http"), require("node:worker_threads"));`;

/** @throws {ConfigurationError} when the address cannot be had. */
export async function listenForAdmin(options: AdminListenerOptions): Promise<AdminListener> {
  const { pages, hosts, maxBusyMs } = options;
  const lastTurn = new BigInt64Array(new SharedArrayBuffer(8));
  const turn = () => void Atomics.store(lastTurn, 0, process.hrtime.bigint());
  turn();
  const timer = setInterval(turn, TURN_MS).unref();

  try {
    return await open(options.host);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (options.host === "::" && code === "EAFNOSUPPORT") return await open("0.0.0.0");
    clearInterval(timer);
    throw notBound(cause as NodeJS.ErrnoException, { ...options, setting: "ADMIN_PORT" } satisfies Bound);
  }

  function open(host: string): Promise<AdminListener> {
    const { port } = options;
    const workerData: AdminThreadData = {
      host,
      port,
      lastTurn,
      maxBusyMs: maxBusyMs + TURN_MS,
      hosts: hosts.map((name) => name.toLowerCase()),
      consolePages: options.console?.pages ?? {},
    };
    // It has no need of secrets, nor of what the main thread was started with.
    const worker = new Worker(PROGRAM, {
      eval: true,
      workerData,
      env: {},
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4 },
    });
    options.console?.onEvents((events, isKept) =>
      worker.postMessage({ events, isKept } satisfies ToAdminThread),
    );
    return new Promise((resolve, reject) => {
      worker.once("error", reject);
      worker.on("message", (message: FromAdminThread) => {
        if (message.type === "viewers") options.console?.viewers(message.count);
        else if (message.type === "asked") {
          const { path } = message;
          void pages(path)
            .catch((): AdminPage => ({ status: 500, contentType: "text/plain", body: "" }))
            .then((page) => worker.postMessage({ path, page } satisfies ToAdminThread));
        } else if (message.type === "failed") {
          void worker.terminate();
          reject(Object.assign(new Error(message.code), { code: message.code }));
        } else {
          // From here on an error of the thread is an error of the process: it must not go on unwatched.
          worker.off("error", reject);
          resolve({
            port: message.port,
            async close() {
              clearInterval(timer);
              await worker.terminate();
            },
          });
        }
      });
    });
  }
}
