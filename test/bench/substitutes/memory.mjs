/** Tells its parent, when asked, how many bytes are in use after a full collection. Needs --expose-gc. */

process.on("message", (message) => {
  if (message !== "memory") return;
  globalThis.gc();
  const { heapUsed, external } = process.memoryUsage();
  process.send(heapUsed + external);
});
