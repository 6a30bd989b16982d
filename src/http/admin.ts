/** The admin side: what readiness depends on, the pages for probes and scrapes, and their listener. Not for the public; it authenticates no caller. */

import type { RequestListener } from "node:http";
import { Worker } from "node:worker_threads";
import type { CredentialRing } from "../credential/contract.ts";
import type { TokenVerifier } from "../identity/contract.ts";
import {
  ADMIN_THREAD,
  type AdminThreadData,
  type FromAdminThread,
  type ToAdminThread,
} from "./admin-thread.ts";
import type { AdminFeed, AdminPage } from "./contract.ts";
import { type Bound, notBound } from "./server.ts";

export interface ReadinessSources {
  readonly verifier: Pick<TokenVerifier, "ready">;
  readonly credential: Pick<CredentialRing, "status">;
  /** See `TokenExchange.clockDriftMs`. */
  readonly clockDriftMs: () => number | undefined;
  /** Where the audit stream goes. */
  readonly outputs: { auditIsAtRisk(): boolean };
  /** The configuration that serves, with settings that changed since and wait for a restart. */
  readonly configuration: () => { readonly needRestart: readonly string[] };
}

export interface Readiness {
  checks(): readonly ReadinessCheck[];
  isReady(): boolean;
  /** From now on not ready, so that balancers turn away before the end. */
  leaveRotation(): void;
}

export function createReadiness({
  verifier,
  credential,
  clockDriftMs,
  outputs,
  configuration,
}: ReadinessSources): Readiness {
  let inRotation = true;
  const checks = (): readonly ReadinessCheck[] => {
    const { usable, accepted, firstTrial, serving, sources } = credential.status();
    const driftMs = clockDriftMs();
    return [
      { name: "rotation", ready: inRotation },
      { name: "signing-keys", ready: verifier.ready() },
      {
        name: "credential",
        ready: usable && accepted,
        detail: { serving, sources, ...(firstTrial.state !== "accepted" && { firstTrial }) },
      },
      // A clock that is off is a fault of the host, on which every replica may be: not a reason to serve no caller.
      { name: "clock", ready: true, detail: driftMs === undefined ? {} : { driftMs } },
      { name: "audit", ready: !outputs.auditIsAtRisk() },
      ...restartCheck(configuration().needRestart),
    ];
  };
  return {
    checks,
    isReady: () => checks().every(({ ready }) => ready),
    leaveRotation() {
      inRotation = false;
    },
  };
}

/** Settings that wait for a restart are no reason to serve no caller: the ones before are complete. */
function restartCheck(needRestart: readonly string[]): readonly ReadinessCheck[] {
  return needRestart.length === 0 ? [] : [{ name: "configuration", ready: true, detail: { needRestart } }];
}

/** One condition of readiness, with what an operator wants to know about it. */
export interface ReadinessCheck {
  readonly name: string;
  readonly ready: boolean;
  readonly detail?: Readonly<Record<string, unknown>>;
}

export interface AdminOptions {
  readonly checks: () => readonly ReadinessCheck[];
  /** Counts the configurations that served since the start. */
  readonly generation: () => number;
  readonly metrics: { readonly contentType: string; exposition(): Promise<string> };
  /** Further pages, each a JSON document, by path; a path whose value is undefined is not there. */
  readonly documents: Readonly<Record<string, (() => unknown) | undefined>>;
}

/** The answer at a path of the admin side. */
export type AdminPages = (path: string) => Promise<AdminPage>;

const JSON_TYPE = "application/json; charset=utf-8";

export function adminPages({ checks, generation, metrics, documents }: AdminOptions): AdminPages {
  const json = (status: number, value: unknown) => ({
    status,
    contentType: JSON_TYPE,
    body: JSON.stringify(value),
  });
  return async (path) => {
    switch (path) {
      case "/livez":
        // Alive means only that the event loop turns: an outage elsewhere is no reason to be restarted.
        return json(200, { alive: true });
      case "/readyz": {
        const all = checks();
        const ready = all.every((check) => check.ready);
        return json(ready ? 200 : 503, { ready, generation: generation(), checks: all });
      }
      case "/metrics":
        return { status: 200, contentType: metrics.contentType, body: await metrics.exposition() };
      default: {
        const document = Object.hasOwn(documents, path) ? documents[path] : undefined;
        if (document !== undefined) return json(200, document());
        return json(404, { paths: ["/livez", "/readyz", "/metrics"] });
      }
    }
  };
}

/** The pages on a server of the program that embeds the gateway, in the thread that also does the work. */
export function adminListener(pages: AdminPages): RequestListener {
  return (request, response) => {
    const path = (request.url ?? "/").replace(/\?.*$/s, "");
    pages(path).then(
      ({ status, contentType, body }) => {
        response.writeHead(status, { "content-type": contentType, "cache-control": "no-store" });
        response.end(request.method === "HEAD" ? undefined : body);
      },
      () => response.writeHead(500, { "cache-control": "no-store" }).end(),
    );
  };
}

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
${ADMIN_THREAD.map(String).join("\n")}
serveAdmin(require("node:http"), require("node:worker_threads"));`;

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
    options.console?.onEvents((kept, passing) =>
      // Texts cross to the thread at less cost than arrays of them.
      worker.postMessage({
        kept: kept.join("\n"),
        count: kept.length,
        passing: passing.join("\n"),
      } satisfies ToAdminThread),
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
