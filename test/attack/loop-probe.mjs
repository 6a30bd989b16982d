/**
 * Loaded before a process whose event loop is watched: tells its parent, when asked, how late a timer was since the last
 * question, ms. Not `monitorEventLoopDelay`: after its `reset` it does not record the first interval.
 */

const EVERY_MS = 5;

let delays = [];
let dueAt = performance.now() + EVERY_MS;
setInterval(() => {
  const now = performance.now();
  delays.push(Math.max(0, now - dueAt));
  dueAt = now + EVERY_MS;
}, EVERY_MS).unref();

process.on("message", ({ ask }) => {
  if (ask !== "loop") return;
  const sorted = Float64Array.from(delays).sort();
  delays = [];
  const value = { p99: sorted[Math.ceil(sorted.length * 0.99) - 1], longest: sorted.at(-1) };
  process.send({ kind: "loop", value });
});
// The end of the process must not wait for its parent to let go.
process.channel.unref();
