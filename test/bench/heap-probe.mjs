/** Loaded before the gateway: tells its parent, when asked, what the heap holds once everything else is collected. */

process.on("message", () => {
  globalThis.gc();
  process.send({ heapUsed: process.memoryUsage().heapUsed });
});
// The gateway's end must not wait for its parent to let go.
process.channel.unref();
