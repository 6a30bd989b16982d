/** Two replicas of the production build, each on a credential of its own kind, behind a balancer. Linux and macOS. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Balancer } from "../../support/balancer.ts";
import { freePort } from "../../support/free-port.ts";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const SURROUNDINGS = fileURLToPath(new URL("surroundings.mjs", import.meta.url));
const START_LIMIT_MS = 30_000;
const STOP_LIMIT_MS = 20_000;
/** Lines kept of each replica, to be shown when it ends otherwise than it should. */
const KEPT_BYTES = 16_384;

export interface Replica {
  readonly url: string;
  readonly adminUrl: string;
  /** Sets the clock of its host, or takes its resolver away. */
  surround(change: { readonly clockOffsetMs?: number; readonly isResolverGone?: boolean }): Promise<void>;
  signal(name: NodeJS.Signals): void;
  /** Nothing reads its standard output from now on. */
  blockOutput(): void;
  unblockOutput(): void;
  /** The reader of its standard output is gone: each write fails. */
  breakOutput(): void;
  metric(line: string): Promise<number>;
  /** Ends it by the signal. Rejects unless it exits with 0 in time. */
  stop(signal: "SIGTERM" | "SIGQUIT"): Promise<void>;
  kill(): void;
}

export type Environment = Readonly<Record<string, string>>;

export interface Replicas {
  readonly all: () => readonly Replica[];
  /** One after the other: a new one is ready before the one before it ends. */
  roll(signal: "SIGTERM" | "SIGQUIT"): Promise<void>;
  stop(): Promise<void>;
  kill(): void;
}

/** @param environments Of each replica, credentials included. */
export async function startReplicas(
  balancer: Balancer,
  environments: readonly Environment[],
): Promise<Replicas> {
  const replicas = await Promise.all(environments.map(start));
  for (const replica of replicas) balancer.add(replica);

  return {
    all: () => replicas,
    async roll(signal) {
      for (const [index, environment] of environments.entries()) {
        const old = replicas[index];
        const fresh = await start(environment);
        replicas[index] = fresh;
        balancer.add(fresh);
        // The balancer looks every 50 ms.
        await sleep(200);
        await old?.stop(signal);
        if (old !== undefined) balancer.remove(old);
      }
    },
    async stop() {
      await Promise.all(replicas.map((replica) => replica.stop("SIGTERM")));
    },
    kill: () => {
      for (const replica of replicas) replica.kill();
    },
  };
}

async function start(environment: Environment): Promise<Replica> {
  const [port, adminPort] = [await freePort(), await freePort()];
  const { PATH = "" } = process.env;
  const child = spawn(process.execPath, ["--import", SURROUNDINGS, "dist/main.js"], {
    cwd: root,
    env: {
      PATH,
      NODE_ENV: "production",
      HOST: "127.0.0.1",
      PORT: String(port),
      ADMIN_PORT: String(adminPort),
      ...environment,
    },
    stdio: ["ignore", "pipe", "inherit", "ipc"],
  });
  const orphan = () => child.kill("SIGKILL");
  process.once("exit", orphan);
  const exited = once(child, "exit").then(([code]) => {
    process.off("exit", orphan);
    return code as number | null;
  });
  child.channel?.unref();
  let kept = "";
  child.stdout?.on("data", (chunk) => {
    kept = (kept + chunk).slice(-KEPT_BYTES);
  });
  const adminUrl = `http://127.0.0.1:${adminPort}`;
  await ready(adminUrl, child, () => kept);

  return {
    url: `http://127.0.0.1:${port}`,
    adminUrl,
    async surround(change) {
      const done = once(child, "message");
      child.send(change);
      await done;
    },
    signal: (name) => void child.kill(name),
    blockOutput: () => void child.stdout?.pause(),
    unblockOutput: () => void child.stdout?.resume(),
    breakOutput: () => void child.stdout?.destroy(),
    async metric(line) {
      const answer = await fetch(`${adminUrl}/metrics`, { signal: AbortSignal.timeout(2_000) });
      const found = (await answer.text()).split("\n").find((one) => one.startsWith(`${line} `));
      return Number(found?.slice(line.length + 1) ?? Number.NaN);
    },
    async stop(signal) {
      child.kill(signal);
      const limit = setTimeout(orphan, STOP_LIMIT_MS);
      const code = await exited;
      clearTimeout(limit);
      if (code !== 0)
        throw new Error(
          `a replica ended with ${code} instead of 0 after ${signal}; its last lines are:\n${kept}`,
        );
    },
    kill: () => void orphan(),
  };
}

async function ready(adminUrl: string, child: ChildProcess, lines: () => string): Promise<void> {
  for (const end = performance.now() + START_LIMIT_MS; performance.now() < end; ) {
    if (child.exitCode !== null) break;
    const answer = await fetch(`${adminUrl}/readyz`, { signal: AbortSignal.timeout(2_000) }).catch(
      () => undefined,
    );
    await answer?.body?.cancel();
    if (answer?.status === 200) return;
    await sleep(50);
  }
  child.kill("SIGKILL");
  throw new Error(`a replica does not become ready; its last lines are:\n${lines()}`);
}
