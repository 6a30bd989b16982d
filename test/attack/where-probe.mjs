/**
 * Loaded before the gateway where a run asks what slow requests waited for: notes when the second user's requests pass, by
 * their correlation ids, when connections are accepted, and what stopped the main thread. Times are of the clock that all processes of a machine share, ms.
 */

import { subscribe } from "node:diagnostics_channel";
import { PerformanceObserver } from "node:perf_hooks";

const ID = "second-user-";
const now = () => Number(process.hrtime.bigint()) / 1e6;
const accepted = new WeakMap();
const EVERY_MS = 5;
const LONG_MS = 15;
let accepts = [];
let passages = new Map();
let stops = [];

let dueAt = now() + EVERY_MS;
setInterval(() => {
  const at = now();
  if (at - dueAt >= LONG_MS) stops.push({ what: "turns", at: dueAt, ms: at - dueAt });
  dueAt = at + EVERY_MS;
}, EVERY_MS).unref();

const zero = now() - performance.now();
new PerformanceObserver((list) => {
  for (const { startTime, duration } of list.getEntries())
    if (duration >= EVERY_MS) stops.push({ what: "garbage collection", at: zero + startTime, ms: duration });
}).observe({ entryTypes: ["gc"] });

subscribe("net.server.socket", ({ socket }) => {
  const at = now();
  accepted.set(socket, at);
  accepts.push(at);
});
subscribe("http.server.request.start", ({ request, socket }) => {
  const id = request.headers["x-correlation-id"];
  if (id?.startsWith(ID)) passages.set(id, { accepted: accepted.get(socket), head: now() });
});
subscribe("http.server.response.finish", ({ request }) => {
  const passage = passages.get(request.headers["x-correlation-id"]);
  if (passage !== undefined) passage.written = now();
});
subscribe("undici:request:create", ({ request }) => note(request, "forwarded"));
subscribe("undici:request:headers", ({ request }) => note(request, "apiAnswered"));

function note({ headers }, step) {
  const place = headers.indexOf("x-correlation-id");
  const passage = place < 0 ? undefined : passages.get(headers[place + 1]);
  if (passage !== undefined) passage[step] = now();
}

process.on("message", ({ ask }) => {
  if (ask !== "where") return;
  process.send({ kind: "where", value: { accepts, passages: [...passages], stops } });
  accepts = [];
  passages = new Map();
  stops = [];
});
