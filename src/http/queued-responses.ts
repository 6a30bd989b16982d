/** Responses of a pipeline that wait for their turn: node:http tells none of them that the connection has gone. */

import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";

const queues = new WeakMap<Socket, Set<ServerResponse>>();

/**
 * Lets a response that has no connection yet emit `close` when the connection goes before its turn comes, as the one
 * whose turn it is does. Code that counts, logs or gives up requests learns of the end by that event alone.
 */
export function closeWithConnection(response: ServerResponse): void {
  const { socket } = response.req;
  const queue = queues.get(socket) ?? new Set();
  if (!queues.has(socket)) {
    queues.set(socket, queue);
    socket.once("close", () => {
      for (const queued of queue) {
        // node:http notifies the one that has the connection by now.
        if (queued.socket !== null || queued.writableFinished) continue;
        queued.destroy();
        queued.emit("close");
      }
    });
  }
  queue.add(response);
  response.once("close", () => queue.delete(response));
}
