/** The two ends of a benchmark, as thin as TCP allows: what they cost is taken from nobody's share but their own core. */

import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { connect, createServer, type Server, type Socket } from "node:net";

const END_OF_HEAD = Buffer.from("\r\n\r\n");

/** A downstream API that answers every request with the same bytes at once. Requests without a body only. */
export async function startFixedApi(bodyBytes: number): Promise<{ readonly url: string; close(): void }> {
  const answer = Buffer.concat([
    Buffer.from(`HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${bodyBytes}\r\n\r\n`),
    Buffer.alloc(bodyBytes, "a"),
  ]);
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket.setNoDelay(true));
    socket.on("close", () => sockets.delete(socket)).on("error", () => socket.destroy());
    let unfinished = false;
    socket.on("data", (chunk) => {
      // Callers here have one request under way per connection; its head may still come in two pieces.
      unfinished = !chunk.subarray(-4).equals(END_OF_HEAD);
      if (!unfinished) socket.write(answer);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

export interface LoadOptions {
  readonly port: number;
  readonly path: string;
  /** One is taken after the other, so that a server's caches see many users. */
  readonly tokens: readonly string[];
  readonly connections: number;
  readonly durationMs: number;
}

export interface LoadResult {
  readonly requests: number;
  /** Answers with another status than 200. */
  readonly refused: number;
  readonly perSecond: number;
  /** Latency in ms. */
  readonly p50: number;
  readonly p99: number;
}

/** Keeps one request under way on each connection for so long, and counts. */
export async function load(options: LoadOptions): Promise<LoadResult> {
  const { port, path, tokens, connections, durationMs } = options;
  const requests = tokens.map((token) =>
    Buffer.from(`GET ${path} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\nauthorization: Bearer ${token}\r\n\r\n`),
  );
  const latencies: number[] = [];
  let refused = 0;
  let next = 0;
  const startedAt = performance.now();
  const endsAt = startedAt + durationMs;

  async function connection(): Promise<void> {
    const socket = connect(port, "127.0.0.1").setNoDelay(true);
    await once(socket, "connect");
    await new Promise<void>((resolve, reject) => {
      let sentAt = 0;
      let awaited = 0;
      let received: Buffer = Buffer.alloc(0);
      const send = () => {
        sentAt = performance.now();
        if (sentAt >= endsAt) {
          socket.destroy();
          resolve();
          return;
        }
        awaited = 0;
        socket.write(requests[next++ % requests.length] as Buffer);
      };
      socket.on("error", reject).on("close", () => resolve());
      socket.on("data", (chunk: Buffer) => {
        if (awaited === 0) {
          received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
          const head = received.indexOf(END_OF_HEAD);
          if (head === -1) return;
          const text = received.toString("latin1", 0, head);
          if (!text.startsWith("HTTP/1.1 200")) refused++;
          awaited = bodyEnd(text, head + 4, received);
          if (received.length < awaited) {
            awaited -= received.length;
            received = Buffer.alloc(0);
            return;
          }
        } else {
          awaited -= chunk.length;
          if (awaited > 0) return;
        }
        received = Buffer.alloc(0);
        latencies.push(performance.now() - sentAt);
        send();
      });
      send();
    });
  }

  await Promise.all(Array.from({ length: connections }, connection));
  const seconds = (performance.now() - startedAt) / 1000;
  latencies.sort((one, other) => one - other);
  const at = (share: number) => latencies[Math.floor(latencies.length * share)] ?? Number.NaN;
  return {
    requests: latencies.length,
    refused,
    perSecond: latencies.length / seconds,
    p50: at(0.5),
    p99: at(0.99),
  };
}

/** Where the answer ends, counted from its first byte. Every server here states a length for a 200. */
function bodyEnd(head: string, headEnd: number, received: Buffer): number {
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
  if (length !== undefined) return headEnd + Number(length);
  // Chunked and small: it ended with this read, or the run is wrong and the count will show it.
  if (received.subarray(-5).equals(Buffer.from("0\r\n\r\n"))) return received.length;
  throw new Error(`an answer without a length: ${head.slice(0, 60)}`);
}
