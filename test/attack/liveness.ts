/** Asks `/livez` as a kubelet does, only more often: its slowest answer is how long the process seemed dead. */

import { get } from "node:http";

const EVERY_MS = 200;
/** `timeoutSeconds` of the deployment's liveness probe. */
const LIMIT_MS = 5_000;

export interface Liveness {
  /** Slowest answer, ms, one still awaited included; and answers that did not come within the kubelet's time, or at all. */
  stop(): { readonly longest: number; readonly missed: number };
}

export function probeLiveness(adminPort: number): Liveness {
  let longest = 0;
  let missed = 0;
  const waiting = new Set<number>();
  const timer = setInterval(() => {
    const askedAt = performance.now();
    waiting.add(askedAt);
    let isOver = false;
    const settle = (isAlive: boolean) => {
      if (isOver) return;
      isOver = true;
      waiting.delete(askedAt);
      longest = Math.max(longest, performance.now() - askedAt);
      if (!isAlive) missed++;
    };
    // A connection for each, as the kubelet does it.
    const asked = get({
      port: adminPort,
      host: "127.0.0.1",
      path: "/livez",
      agent: false,
      timeout: LIMIT_MS,
    });
    asked.on("timeout", () => asked.destroy());
    asked.on("response", (response) => {
      response.resume();
      response.once("end", () => settle(response.statusCode === 200));
    });
    asked.on("error", () => settle(false));
    asked.on("close", () => settle(false));
  }, EVERY_MS);
  return {
    stop() {
      clearInterval(timer);
      const now = performance.now();
      for (const askedAt of waiting) longest = Math.max(longest, now - askedAt);
      return { longest, missed };
    },
  };
}
