/** What a hit costs when the cache is large. */

import { expect, test } from "@jest/globals";
import { exchangeWith, requestOf } from "../../exchange/fake-entra.ts";

test("a hit among ten thousand users costs about as much as among ten", async () => {
  const rig = exchangeWith(
    { fetch: async () => Response.json({ token_type: "Bearer", expires_in: 3600, access_token: "t" }) },
    { cache: { maxEntries: 20_000, maxBytes: 2 ** 29, expiryMarginMs: 0 } },
  );
  const fill = async (from: number, to: number) => {
    for (let user = from; user < to; user += 1) await rig.exchange(requestOf(`user-${user}`));
  };
  /** The least time of many rounds, ms: the other work of a busy machine only ever adds. */
  const leastMs = () => {
    const requests = Array.from({ length: 10 }, (_, user) => requestOf(`user-${user}`));
    let least = Number.POSITIVE_INFINITY;
    for (let round = 0; round < 300; round += 1) {
      const began = performance.now();
      for (const request of requests) if (rig.recall(request) === undefined) throw new Error("not a hit");
      least = Math.min(least, performance.now() - began);
    }
    return least;
  };
  await fill(0, 10);
  const amongTen = leastMs();
  await fill(10, 10_000);
  expect(rig.cached.entries()).toBe(10_000);
  // A search through all of them would take a thousand times as long.
  expect(leastMs()).toBeLessThan(amongTen * 20);
});
