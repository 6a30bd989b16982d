/** Opens the Redis that replicas share, as configured: address and keys in, sealed tokens and counts out. */

import { ConfigurationError } from "../errors.ts";
import type { Secret } from "../foundation/secret.ts";
import { describeAddressProblem, parseRedisAddress } from "./address.ts";
import type { OpenRedis, RedisEvent, RedisTokenSource } from "./contract.ts";
import { createSharedCounters } from "./counters.ts";
import { openKeyFile } from "./master-keys.ts";
import { createFollowingSealing, createSealing } from "./sealing.ts";

export interface RedisOptions {
  /** Address of the Redis, in a form that `parseRedisAddress` knows; empty for none. */
  readonly url: Secret;
  /** Master keys, base64 of 32 bytes each; the first one seals, all open. */
  readonly keys: readonly Secret[];
  /** File with such keys, in their place; read again when it changes. */
  readonly keysFile?: string | undefined;
  /** Gives tokens of Entra, which are signed in with in the place of a password. */
  readonly token?: RedisTokenSource | undefined;
  /** Milliseconds that Redis may cost a request before the request goes on without. */
  readonly timeoutMs: number;
  /** Milliseconds since the epoch, by which tokens end. Default `Date.now`. */
  readonly now?: (() => number) | undefined;
  readonly onEvent?: (event: RedisEvent) => void;
}

/**
 * Undefined when no address is configured. Never waits for Redis: it may come later, or never.
 *
 * @throws {ConfigurationError} for an address that cannot be read, or without a key.
 */
export async function openRedis({
  url,
  keys,
  keysFile,
  token,
  timeoutMs,
  now,
  onEvent = () => {},
}: RedisOptions): Promise<OpenRedis | undefined> {
  if (url.reveal() === "") return undefined;
  const address = parseRedisAddress(url.reveal());
  if (address === undefined) throw fault("exchange.cache.redis.url", describeAddressProblem(url.reveal()));
  const [first, ...others] = keys;
  if (first === undefined && keysFile === undefined)
    throw fault("TOKEN_CACHE_KEYS", "is not set, and exchange.cache.redis.url needs it");
  const file = keysFile === undefined ? undefined : await openKeyFile(keysFile, onEvent);
  const sealing = file ? createFollowingSealing(file.keys) : createSealing([first as Secret, ...others]);
  // Loaded where a Redis is configured: its client takes twenty megabytes.
  const { openRedisStore } = await import("./connection.ts");
  const store = openRedisStore({
    address,
    timeoutMs,
    onEvent,
    signIn: token && { source: token, now },
  });
  return {
    store,
    sealing,
    counters: createSharedCounters({ sealing, store }),
    masterKeys: file?.keys ?? (() => keys),
    available: store.available,
    reload: async () => file?.look(),
    close() {
      file?.close();
      store.close();
    },
  };
}

function fault(path: string, problem: string): ConfigurationError {
  return new ConfigurationError([{ path, problem }]);
}
