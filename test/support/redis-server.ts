/** A Redis of the test's own, where there is a redis-server to start. */

import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
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
  /**
   * From now on the user may sign in with these passwords and no others, as the object id of an identity may with the
   * tokens that have not ended. Connections that are there stay.
   */
  accept(user: string, ...passwords: readonly string[]): Promise<void>;
  /** The user may sign in no more, and its connections are closed, as when an access policy is taken away. */
  revoke(user: string): Promise<void>;
  /** How often any client has signed in so far, refusals included. */
  signIns(): Promise<number>;
  close(): Promise<void>;
}

/** The redis-server on PATH; undefined where there is none. */
export const redisServerPath = (process.env.PATH ?? "")
  .split(delimiter)
  .map((directory) => join(directory, "redis-server"))
  .find((path) => existsSync(path));

/** A Redis without anonymous access: its users are those that the test accepts. */
export function startGuardedRedis(extra: readonly string[] = []): Promise<RedisServer> {
  const password = randomBytes(16).toString("hex");
  return startRedis(["--requirepass", password, "--masterauth", password, ...extra], undefined, password);
}

/** @param sentinel Makes it a sentinel: the text of its configuration file, which it needs to have. */
export async function startRedis(
  extra: readonly string[] = [],
  sentinel?: (port: number) => string,
  password?: string,
): Promise<RedisServer> {
  const directory = await mkdtemp(join(tmpdir(), "redis-"));
  const port = await freePort();
  const file = join(directory, "sentinel.conf");
  if (sentinel !== undefined) await writeFile(file, sentinel(port));
  const start = () =>
    launch(
      port,
      sentinel === undefined ? [...settingsOf(port, directory), ...extra] : [file, "--sentinel"],
      password,
    );
  let child = await start();
  const inspect = new Redis({
    host: "127.0.0.1",
    port,
    ...(password !== undefined && { password }),
    retryStrategy: () => 50,
    maxRetriesPerRequest: null,
  });
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
    async accept(user, ...passwords) {
      const rules = ["on", "resetpass", "~*", "&*", "+@all", "-@dangerous", "+info", "+cluster"];
      await inspect.call("ACL", "SETUSER", user, ...rules, ...passwords.map((one) => `>${one}`));
    },
    async revoke(user) {
      // Redis closes the connections of a user that it deletes.
      await inspect.call("ACL", "DELUSER", user);
    },
    async signIns() {
      const statistics = await inspect.info("commandstats");
      return Number(/cmdstat_auth:calls=(\d+)/.exec(statistics)?.[1] ?? 0);
    },
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

async function launch(
  port: number,
  args: readonly string[],
  password: string | undefined,
): Promise<ChildProcess> {
  const child = spawn(redisServerPath ?? "redis-server", args, { stdio: "ignore" });
  const orphan = () => child.kill("SIGKILL");
  process.once("exit", orphan);
  child.once("exit", () => process.off("exit", orphan));
  const probe = new Redis({
    host: "127.0.0.1",
    port,
    lazyConnect: true,
    ...(password !== undefined && { password }),
    retryStrategy: () => null,
  });
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
  orphan();
  throw new Error("the redis-server does not come up");
}
