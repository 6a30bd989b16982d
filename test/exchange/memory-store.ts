/** Redis in memory, in which nothing expires by itself, for tests of what is shared. */

import { randomBytes } from "node:crypto";
import { Secret } from "../../src/foundation/secret.ts";
import type { OpenRedis, RedisStore } from "../../src/redis/contract.ts";
import { createSealing } from "../../src/redis/sealing.ts";

export interface MemoryStore extends RedisStore {
  readonly values: Map<string, Buffer>;
  /** By name, for how long the latest write or lock was to last, ms. */
  readonly lives: Map<string, number>;
  /** What was asked, in order: `read <name>`. */
  readonly calls: string[];
  /** Names about which no answer comes. */
  readonly silent: Set<string>;
  /** What reads and writes wait for; a read gives what stood there when it was sent. */
  reading: Promise<unknown>;
  writing: Promise<unknown>;
}

export function createMemoryStore(): MemoryStore {
  const values = new Map<string, Buffer>();
  const lives = new Map<string, number>();
  const calls: string[] = [];
  const silent = new Set<string>();
  const memory: MemoryStore = {
    values,
    lives,
    calls,
    silent,
    reading: Promise.resolve(),
    writing: Promise.resolve(),
    async read(name) {
      calls.push(`read ${name}`);
      const value = silent.has(name) ? undefined : (values.get(name) ?? null);
      await memory.reading;
      return value;
    },
    async write(name, value, lifeMs) {
      await memory.writing;
      calls.push(`write ${name}`);
      lives.set(name, lifeMs);
      values.set(name, Buffer.from(value));
      return true;
    },
    async take(name, owner, lifeMs) {
      calls.push(`take ${name}`);
      if (silent.has(name)) return undefined;
      if (values.has(name)) return false;
      lives.set(name, lifeMs);
      values.set(name, Buffer.from(owner));
      return true;
    },
    isTaken: async (name) => (silent.has(name) ? undefined : values.has(name)),
    async removeIf(name, value) {
      calls.push(`remove ${name}`);
      return values.get(name)?.equals(Buffer.from(value)) === true && values.delete(name);
    },
    run: () => Promise.reject(new Error("no script runs here")),
    available: () => true,
    close: () => {},
  };
  return memory;
}

/** An opened Redis around such a store, with a master key of its own. */
export function openMemoryRedis(store: RedisStore): OpenRedis {
  const key = new Secret(randomBytes(32).toString("base64"));
  return {
    store,
    sealing: createSealing([key]),
    counters: { nameOf: (subject) => subject, run: store.run },
    masterKeys: () => [key],
    available: store.available,
    reload: async () => {},
    close: store.close,
  };
}
