/** The graceful end of a listener: requests in flight finish, late ones are refused, and none is begun only to be lost. */

import type { Server, ServerResponse } from "node:http";
import { Server as NetServer, type Socket } from "node:net";
import { connectionOf } from "./connection.ts";
import type { Connections } from "./connections.ts";
import { createMembers } from "./members.ts";

export interface Drain {
  /**
   * Takes note of a request's response. One that is not admitted must be left alone: an earlier answer has said that
   * nothing after it would be processed (RFC 9112 §9.6), so its caller may repeat it.
   */
  admit(response: ServerResponse): boolean;
  /** Takes note that an admitted response is closed. */
  left(response: ServerResponse): void;
  /** Whether the time for new work is over, so that a request which begins now is refused. */
  isRefusing(): boolean;
  /** See `Listening`. */
  drain(server: Server, connections: Connections, graceMs: number): Promise<void>;
}

/** Longest time that balancers get to turn away, ms. */
const TURN_AWAY_LIMIT_MS = 2_500;

export function createDrain(): Drain {
  const inFlight = createMembers<ServerResponse>();
  /** The response on each connection that says it is the last. */
  const last = new WeakMap<Socket, ServerResponse>();
  let phase: "serving" | "draining" | "refusing" = "serving";
  let wasEmptied = () => {};

  function makeLast(response: ServerResponse, socket: Socket): void {
    // Of requests in a pipeline, all of which are under way already, only the last may say so.
    last.get(socket)?.removeHeader("connection");
    response.setHeader("connection", "close");
    last.set(socket, response);
  }

  return {
    admit(response) {
      const { socket } = response.req;
      if (phase !== "serving" && last.get(socket)?.headersSent === true) return false;
      inFlight.add(response);
      if (phase !== "serving") makeLast(response, socket);
      return true;
    },
    left(response) {
      inFlight.delete(response);
      if (phase !== "serving" && inFlight.size === 0) wasEmptied();
    },
    isRefusing: () => phase === "refusing",
    async drain(server, connections, graceMs) {
      const turnAwayMs = Math.min(graceMs / 10, TURN_AWAY_LIMIT_MS);
      phase = "draining";
      for (const response of inFlight) {
        const { socket } = response.req;
        // An answer that says it is the last would take those behind it along.
        if (connectionOf(socket)?.newest() === response && !response.headersSent) makeLast(response, socket);
      }
      const late = setTimeout(() => {
        phase = "refusing";
      }, graceMs / 2);
      let isOver = graceMs === 0;
      const over = new Promise<void>((resolve) => {
        setTimeout(() => {
          isOver = true;
          resolve();
        }, graceMs).unref();
      });

      // An idle connection may have a request on its way, and a balancer may be about to open one.
      await Promise.race([pause(turnAwayMs), over]);
      // Not `Server.close` of node:http: it takes a connection for idle whose answer is written, but not sent yet.
      const closed = new Promise<void>((resolve) => NetServer.prototype.close.call(server, () => resolve()));
      const closeIdle = () => {
        if (!connections.hasUnread()) server.closeIdleConnections();
      };
      closeIdle();
      while (!isOver) {
        if (inFlight.size > 0)
          await Promise.race([
            new Promise<void>((resolve) => {
              wasEmptied = resolve;
            }),
            over,
          ]);
        closeIdle();
        // A connection that is still open was not announced to close: it carries a stream, or sends its first head.
        await Promise.race([closed, pause(turnAwayMs), over]);
        if (inFlight.size === 0) break;
      }
      clearTimeout(late);
      server.closeAllConnections();
      // Stops what node:http does at intervals.
      server.close();
      await closed;
    },
  };
}

function pause(ms: number): Promise<void> {
  // Open connections, or the listener itself, hold the process while it matters.
  return new Promise((resolve) => void setTimeout(resolve, ms).unref());
}
