/** Event streams at their two ends, as thin as TCP allows: an API that says one event and falls silent, and callers who wait. */

import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

const HEAD = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const OPEN_LIMIT_MS = 10_000;
/** Streams opened at the same time: more would wait for each other. */
const AT_ONCE = 64;

export interface EventApi {
  readonly url: string;
  /** Sends one more event on every stream. */
  say(text: string): void;
  /** Streams that are open. */
  streams(): number;
  close(): void;
}

export async function startEventApi(): Promise<EventApi> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.setNoDelay(true));
    socket.on("close", () => sockets.delete(socket)).on("error", () => socket.destroy());
    // Callers here ask once on each connection, and read nothing but the stream from then on.
    socket.once("data", () => socket.write(HEAD + chunk("first")));
  });
  server.listen(0, "127.0.0.1", 4_096);
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    say(text) {
      for (const socket of sockets) socket.write(chunk(text));
    },
    streams: () => sockets.size,
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

function chunk(text: string): string {
  const event = `data: ${text}\n\n`;
  return `${event.length.toString(16)}\r\n${event}\r\n`;
}

export interface Listener {
  /** From the request to the first event, ms. */
  readonly firstMs: number;
  /** Everything received so far. */
  heard(): string;
  close(): void;
}

/** @throws when the first event does not come. */
export async function listen(port: number, token: string): Promise<Listener> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  let heard = "";
  await once(socket, "connect");
  const began = performance.now();
  const firstMs = await new Promise<number>((resolve, reject) => {
    const limit = setTimeout(() => reject(new Error(`no event: ${heard.slice(0, 300)}`)), OPEN_LIMIT_MS);
    socket.on("error", reject).on("close", () => reject(new Error(`closed: ${heard.slice(0, 300)}`)));
    socket.on("data", (bytes) => {
      heard += bytes.toString("latin1");
      if (!heard.includes("data: first\n\n")) return;
      clearTimeout(limit);
      resolve(performance.now() - began);
    });
    socket.write(`GET /graph/me HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${token}\r\n\r\n`);
  });
  return { firstMs, heard: () => heard, close: () => socket.destroy() };
}

/** Opens so many streams, of all these users in turn. */
export async function listenOften(
  port: number,
  tokens: readonly string[],
  number: number,
): Promise<Listener[]> {
  const open: Listener[] = [];
  while (open.length < number) {
    const batch = Array.from({ length: Math.min(AT_ONCE, number - open.length) }, (_, index) =>
      listen(port, tokens[(open.length + index) % tokens.length] ?? ""),
    );
    open.push(...(await Promise.all(batch)));
  }
  return open;
}
