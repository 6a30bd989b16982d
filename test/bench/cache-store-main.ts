/** One store of delegated tokens in a process of its own, so that its memory and its collections are its own: <store|map> <entries>. Needs --expose-gc. */

import { hash } from "node:crypto";
import { createTokenCache } from "../../src/exchange/cache/token-cache.ts";
import { Secret } from "../../src/foundation/secret.ts";
import { createMapTokenCache } from "./map-token-cache.ts";
import { median } from "./statistics.ts";

const GROUP = "36:11111111-1111-4111-8111-11111111111143:group";
const ROUNDS = 5;
const FINDS = 100_000;
const DIGEST_LENGTH = 43;
const END = Number.MAX_SAFE_INTEGER;

const [kind, number = "0"] = process.argv.slice(2);
const entries = Number(number);
const collect = () => (globalThis as { gc?: () => void }).gc?.();

/** All digests in one text, so that asking for one makes a string that no store has seen. */
const digests = Buffer.alloc(entries * DIGEST_LENGTH);
for (let n = 0; n < entries; n += 1)
  digests.write(hash("sha256", `${n}`, "base64url"), n * DIGEST_LENGTH, "latin1");
const digestOf = (n: number) => digests.toString("latin1", n * DIGEST_LENGTH, (n + 1) * DIGEST_LENGTH);
/** As the cache of verified tokens keeps them: other strings than those under which the tokens were put. */
const kept = Array.from({ length: entries }, (_, n) => digestOf(n));
// V8 keeps a string's hash in it once it has been asked for.
const asked = new Set(kept);
asked.clear();

const before = inUse();
const cache =
  kind === "map"
    ? createMapTokenCache()
    : createTokenCache(
        { maxEntries: entries, maxBytes: 16 * 2 ** 30, expiryMarginMs: 0 },
        { now: () => 0, onEvicted: () => {} },
      );
const filledAt = process.cpuUsage();
for (let n = 0; n < entries; n += 1)
  cache.put({
    group: GROUP,
    digest: digestOf(n),
    user: `36:11111111-1111-4111-8111-11111111111136:00000000-0000-4000-8000-${String(n).padStart(12, "0")}`,
    token: { accessToken: new Secret(`token ${n}`), expiresAt: END } as Parameters<
      typeof cache.put
    >[0]["token"],
    tokenExpiresAt: END,
    order: n,
  });
const { user } = process.cpuUsage(filledAt);
const bytes = (inUse() - before) / entries;

const time = (work: (n: number) => unknown) => {
  const ns: number[] = [];
  for (let round = -2; round < ROUNDS; round += 1) {
    const began = process.cpuUsage();
    // A stride coprime to every number of entries visits them in an order that the processor does not foresee.
    for (let n = 0; n < FINDS; n += 1) work((n * 7_919) % entries);
    if (round >= 0) ns.push((process.cpuUsage(began).user * 1000) / FINDS);
  }
  return median(ns);
};
const find = (digest: string) => {
  if (cache.get({ group: GROUP, digest }, 0) === undefined) throw new Error("not found");
};
const keptNs = time((n) => find(kept[n] as string));
const freshNs = time((n) => find(digestOf(n))) - time((n) => digestOf(n).charCodeAt(7));
const collections = Array.from({ length: 3 }, () => {
  const began = performance.now();
  collect();
  return performance.now() - began;
});
console.log(
  JSON.stringify({ keptNs, freshNs, bytes, collectionMs: median(collections), putUs: user / entries }),
);

function inUse(): number {
  collect();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}
