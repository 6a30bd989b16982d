/** Waits for what happens in the background. */

import { setTimeout as sleep } from "node:timers/promises";

/** Less than a test may take, so that its failure names what did not happen, ms. */
const LIMIT_MS = 50_000;
const EVERY_MS = 2;

/** @throws when the condition does not become true in 50 seconds. */
export async function until(condition: () => unknown, what = `${condition}`): Promise<void> {
  const end = performance.now() + LIMIT_MS;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`waited in vain until ${what}`);
    await sleep(EVERY_MS);
  }
}
