/** Tells its parent, when asked, how many bytes are in use after a full collection, or how long collections have taken. Needs --expose-gc. */

import { PerformanceObserver } from "node:perf_hooks";

let collectorMs = 0;

const ANSWERS = {
  memory() {
    globalThis.gc();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  },
  "watch collector"() {
    new PerformanceObserver((list) => {
      for (const { duration } of list.getEntries()) collectorMs += duration;
    }).observe({ entryTypes: ["gc"] });
    return true;
  },
  collector: () => collectorMs,
};

process.on("message", (message) => {
  const answer = ANSWERS[message];
  if (answer !== undefined) process.send(answer());
});
