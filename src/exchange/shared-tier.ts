/** Opens the shared tier as configured: address, keys and margins in, one thing to share tokens and counts through out. */

import { ConfigurationError } from "../errors.ts";
import type { Secret } from "../foundation/secret.ts";
import { parseRedisAddress } from "../redis/address.ts";
import { createSharedCounters, type SharedCounters } from "../redis/counters.ts";
import { createSealing } from "../redis/sealing.ts";
import { createSharedTokens, type SharedTokens } from "./cache/shared-tokens.ts";
import type { SharedCacheEvent } from "./events.ts";

export interface SharedTierOptions {
  /** Address of the Redis, in a form that `parseRedisAddress` knows; empty for none. */
  readonly url: Secret;
  /** Master keys, base64 of 32 bytes each; the first one seals, all open. */
  readonly keys: readonly Secret[];
  /** Milliseconds that one operation may take before the request goes on without. */
  readonly timeoutMs: number;
  readonly expiryMarginMs: number;
  /** Milliseconds for one exchange as a whole; waiting for another process takes at most a quarter of it. */
  readonly exchangeTimeoutMs: number;
  readonly now?: () => number;
  readonly onEvent?: (event: SharedCacheEvent) => void;
}

export interface SharedTier extends SharedTokens {
  readonly counters: SharedCounters;
}

/**
 * Undefined when no address is configured. Never waits for Redis: it may come later, or never.
 *
 * @throws {ConfigurationError} for an address that cannot be read, or without a key.
 */
export async function openSharedTier(options: SharedTierOptions): Promise<SharedTier | undefined> {
  const { url, keys, timeoutMs, exchangeTimeoutMs, ...rest } = options;
  if (url.reveal() === "") return undefined;
  const address = parseRedisAddress(url.reveal());
  if (address === undefined)
    throw fault(
      "exchange.cache.redis.url",
      "must be rediss://[user:password@]host[:port], or a form that README lists",
    );
  const [first, ...others] = keys;
  if (first === undefined)
    throw fault("TOKEN_CACHE_KEYS", "is not set, and exchange.cache.redis.url needs it");
  // Loaded where a Redis is configured: its client takes twenty megabytes.
  const { openSharedCache } = await import("../redis/connection.ts");
  const sealing = createSealing([first, ...others]);
  const cache = openSharedCache({ address, timeoutMs, ...(rest.onEvent && { onEvent: rest.onEvent }) });
  const waitMs = Math.min(LONGEST_WAIT_MS, exchangeTimeoutMs / 4);
  return {
    ...createSharedTokens({ ...rest, sealing, cache, waitMs }),
    counters: createSharedCounters({ sealing, cache }),
  };
}

const LONGEST_WAIT_MS = 2_000;

function fault(path: string, problem: string): ConfigurationError {
  return new ConfigurationError([{ path, problem }]);
}
