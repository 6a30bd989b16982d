/** Settings of a verifier for tests that are about something else. */

import type { TokenVerifierOptions } from "../../src/identity/token-verifier.ts";

type Settings = Pick<TokenVerifierOptions, "keySet" | "cache">;

export const KEY_SET: Settings["keySet"] = {
  fetchTimeoutMs: 5_000,
  refreshIntervalMs: 3_600_000,
  refreshRetryMs: 60_000,
  unknownKeySpacingMs: 2_000,
  unknownKeyCooldownMs: 60_000,
  unknownKeyReads: 4,
  lastKnownGoodMs: 24 * 3_600_000,
  failureBackoffMs: 500,
};

export const CACHE: Settings["cache"] = { maxEntries: 100_000, maxBytes: 96 * 2 ** 20, maxAgeMs: 300_000 };
