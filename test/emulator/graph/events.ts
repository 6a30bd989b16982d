/** Server-sent events. Graph has none of its own; other Entra-protected APIs do, and a gateway must not hold them back. */

import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { GraphAnswer, GraphCall } from "./answer.ts";

/** `count` events (default 3), `everyMs` apart (default 0). */
export function eventsAnswer({ query }: GraphCall): GraphAnswer {
  const count = Math.min(Number(query.get("count") ?? 3), 1_000);
  const everyMs = Math.min(Number(query.get("everyMs") ?? 0), 10_000);
  return {
    status: 200,
    headers: { "Content-Type": "text/event-stream", "X-Accel-Buffering": "no" },
    body: Readable.from(events(count, everyMs), { objectMode: false }),
  };
}

async function* events(count: number, everyMs: number): AsyncGenerator<Buffer> {
  for (let id = 1; id <= count; id += 1) {
    if (id > 1 && everyMs > 0) await sleep(everyMs);
    yield Buffer.from(`id: ${id}\ndata: {"count":${id}}\n\n`);
  }
}
