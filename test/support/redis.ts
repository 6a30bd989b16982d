/** A Redis of the test's own, where there is a redis-server to start. */

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, test } from "@jest/globals";
import { Redis } from "ioredis";
import { freePort } from "./free-port.ts";

export interface RedisServer {
  readonly port: number;
  readonly url: string;
  /** A connection to look behind the scenes; closed with the server. */
  readonly inspect: Redis;
  /** Everything it holds, as bytes on disk, uncompressed. */
  dump(): Promise<Buffer>;
  /** As a crash would end it. Resolves when it is gone. */
  kill(): Promise<void>;
  /** Starts it again on the same port, empty. */
  restart(): Promise<void>;
  /** Stops it from answering, connections open, until `resume`. */
  freeze(): void;
  resume(): void;
  close(): Promise<void>;
}

const found = (process.env.PATH ?? "")
  .split(delimiter)
  .map((directory) => join(directory, "redis-server"))
  .find((path) => existsSync(path));

/** Like `describe`, for tests that need a redis-server: left out, and said so, where there is none; in CI that fails. */
export function describeWithRedis(name: string, tests: () => void): void {
  if (found !== undefined) {
    describe(name, tests);
    return;
  }
  if (process.env.CI === "true") {
    test(`${name}: needs a redis-server on PATH`, () => {
      throw new Error("no redis-server on PATH, and CI leaves nothing out");
    });
    return;
  }
  process.stderr.write(`left out, for there is no redis-server on PATH: ${name}\n`);
  describe.skip(name, tests);
}

/** @param sentinel Makes it a sentinel: the text of its configuration file, which it needs to have. */
export async function startRedis(
  extra: readonly string[] = [],
  sentinel?: (port: number) => string,
): Promise<RedisServer> {
  const directory = await mkdtemp(join(tmpdir(), "redis-"));
  const port = await freePort();
  const file = join(directory, "sentinel.conf");
  if (sentinel !== undefined) await writeFile(file, sentinel(port));
  const start = () =>
    launch(port, sentinel === undefined ? [...settingsOf(port, directory), ...extra] : [file, "--sentinel"]);
  let child = await start();
  const inspect = new Redis({ host: "127.0.0.1", port, retryStrategy: () => 50, maxRetriesPerRequest: null });
  inspect.on("error", () => {});

  async function kill(): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await gone;
  }

  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    inspect,
    async dump() {
      await inspect.save();
      return readFile(join(directory, "dump.rdb"));
    },
    kill,
    async restart() {
      await rm(join(directory, "dump.rdb"), { force: true });
      child = await start();
    },
    freeze: () => void child.kill("SIGSTOP"),
    resume: () => void child.kill("SIGCONT"),
    async close() {
      inspect.disconnect();
      await kill();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function settingsOf(port: number, directory: string): string[] {
  const settings = {
    port,
    bind: "127.0.0.1",
    dir: directory,
    save: "",
    appendonly: "no",
    rdbcompression: "no",
  };
  return Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
}

async function launch(port: number, args: readonly string[]): Promise<ChildProcess> {
  const child = spawn(found ?? "redis-server", args, { stdio: "ignore" });
  process.once("exit", () => child.kill("SIGKILL"));
  const probe = new Redis({ host: "127.0.0.1", port, lazyConnect: true, retryStrategy: () => null });
  probe.on("error", () => {});
  for (let attempt = 0; attempt < 200; attempt += 1) {
    try {
      await probe.connect();
      probe.disconnect();
      return child;
    } catch {
      await sleep(25);
    }
  }
  throw new Error("the redis-server does not come up");
}
