/**
 * Fills both caches of tokens to the bounds that a configuration gives them, in a process whose heap is small, and
 * prints what V8 says of the heap afterwards. Run by test/long/config/full-caches.test.ts.
 */

import { randomBytes, randomUUID } from "node:crypto";
import { getHeapStatistics } from "node:v8";
import { boundsFor } from "../../src/config/heap-bounds.ts";
import { createTokenCache } from "../../src/exchange/cache/token-cache.ts";
import { Secret } from "../../src/foundation/secret.ts";
import type { Principal } from "../../src/identity/contract.ts";
import { createVerifiedTokens } from "../../src/identity/verified-tokens.ts";

const HOUR_MS = 3_600_000;
const TENANT = randomUUID();
const CLIENT = randomUUID();
/** Of a user with an ordinary number of claims. */
const TOKEN_BYTES = 1_800;

const heapBytes = getHeapStatistics().heap_size_limit;
const share = Number(process.argv[2] ?? 0);
const configured =
  share === 0 ? undefined : { tokens: heapBytes * share * 0.75, verified: heapBytes * share * 0.25 };
const bounds = boundsFor(configured ?? { tokens: undefined, verified: undefined }, heapBytes, []);

const tokens = createTokenCache(
  { maxEntries: 10_000_000, maxBytes: bounds.tokens, expiryMarginMs: 0 },
  { now: Date.now, onEvicted() {} },
);
const verified = createVerifiedTokens({
  maxEntries: 10_000_000,
  maxBytes: bounds.verified,
  maxAgeMs: HOUR_MS,
  now: Date.now,
});

const token = () => randomBytes((TOKEN_BYTES * 3) / 4).toString("base64url");
const expiresAt = Date.now() + HOUR_MS;

/** As many users again as fit, so that everything that evicts has evicted. */
for (let round = 0, fullAt = 0; fullAt === 0 || round < 2 * fullAt; round++) {
  const before = tokens.size();
  const user = randomUUID();
  tokens.put({
    group: "group",
    digest: randomBytes(32).toString("base64url"),
    user,
    token: { accessToken: new Secret(token()), expiresAt } as never,
    tokenExpiresAt: expiresAt,
    order: round,
  });
  if (fullAt === 0 && tokens.size() <= before) fullAt = round;
}
for (let round = 0, fullAt = 0; fullAt === 0 || round < 2 * fullAt; round++) {
  const before = verified.size();
  const principal: Principal = {
    kind: "user",
    tenantId: TENANT,
    objectId: randomUUID(),
    clientId: CLIENT,
    subject: randomBytes(32).toString("base64url"),
    tokenVersion: "2.0",
    scopes: ["access_as_user"],
    roles: [],
    groups: { kind: "absent" },
    authContexts: [],
    acceptsClaimsChallenge: true,
    expiresAt,
  } as never;
  const presented = token();
  verified.add(presented, principal, verified.generation());
  verified.get(presented);
  if (fullAt === 0 && verified.size() <= before) fullAt = round;
}

globalThis.gc?.();
const { used_heap_size: usedBytes, external_memory: externalBytes } = getHeapStatistics();
console.log(
  JSON.stringify({
    heapBytes,
    bounds,
    tokens: { size: tokens.size(), bytes: tokens.bytes() },
    verified: { size: verified.size(), bytes: verified.bytes() },
    usedBytes,
    externalBytes,
  }),
);
