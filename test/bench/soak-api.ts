/** A downstream API of every mood, as thin as TCP allows: the path says how it answers. */

import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";

/** How long `slow` takes, ms. */
const SLOW_MS = 50;

const ANSWERS: Readonly<Record<string, Buffer>> = {
  ok: answer(200, 1024),
  big: answer(200, 64 * 1024),
  broken: answer(500, 200),
  throttled: answer(429, 100, "retry-after: 1\r\n"),
  slow: answer(200, 100),
};

function answer(status: number, bytes: number, fields = ""): Buffer {
  return Buffer.from(
    `HTTP/1.1 ${status} Status\r\ncontent-type: application/json\r\n${fields}content-length: ${bytes}\r\n\r\n${"a".repeat(bytes)}`,
  );
}

/** Paths are `/me/` and a mood; another than these closes the connection without a word. */
export async function startMoodyApi(): Promise<{ readonly url: string; close(): void }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.setNoDelay(true));
    socket.on("close", () => sockets.delete(socket)).on("error", () => socket.destroy());
    let head = "";
    let bodyLeft = 0;
    socket.on("data", (chunk) => {
      if (bodyLeft > 0) {
        bodyLeft -= chunk.length;
      } else {
        head += chunk.toString("latin1");
        const end = head.indexOf("\r\n\r\n");
        if (end === -1) return;
        const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0;
        bodyLeft = Number(length) - (head.length - end - 4);
      }
      if (bodyLeft > 0) return;
      const mood = /^\S+ \/me\/(\w+)/.exec(head)?.[1] ?? "";
      head = "";
      if (mood === "slow") setTimeout(() => socket.write(ANSWERS.slow ?? ""), SLOW_MS);
      else if (ANSWERS[mood] === undefined) socket.destroy();
      else socket.write(ANSWERS[mood]);
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
