/** Values that the rooms are built with and that no key of gateway.yaml changes: each has one right size for every operator. */

/** Longest time for which a verified token is believed without another look at its signature, ms. */
export const VERIFIED_TOKEN_MAX_AGE_MS = 300_000;

/** When signing keys are read: refresh and last known good as Entra's page on signing key rollover recommends. Times in ms. */
export const KEY_SET_TIMINGS = {
  fetchTimeoutMs: 5_000,
  refreshIntervalMs: 3_600_000,
  refreshRetryMs: 60_000,
  unknownKeySpacingMs: 2_000,
  unknownKeyCooldownMs: 60_000,
  unknownKeyReads: 4,
  lastKnownGoodMs: 24 * 3_600_000,
  failureBackoffMs: 500,
} as const;

/** Longest wait for one answer of what gives the gateway a federated token: a platform, a proxy, a callback. Ms. */
export const ISSUER_TIMEOUT_MS = 10_000;

/** Of every connection to an API. */
export const TRANSPORT_LIMITS = { connectTimeoutMs: 5_000, maxHeaderBytes: 65_536 } as const;

/** Largest answer that a handler's client takes into memory as a whole, bytes. */
export const HELD_ANSWER_BYTES = 4 * 2 ** 20;
