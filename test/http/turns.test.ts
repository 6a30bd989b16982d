/** A server that many connections flood serves a known user ahead of what is left. */

import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setImmediate as nextTurn } from "node:timers/promises";
import { afterEach, describe, expect, test } from "@jest/globals";
import { type Listening, listen } from "../../src/http/server.ts";
import { CONNECTION_LIMITS } from "./connection-limits.ts";

describe("a server that many connections flood", () => {
  const open: Listening[] = [];
  const sockets: Socket[] = [];
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    await Promise.all(open.splice(0).map((server) => server.drain(0)));
  });

  /** Each request keeps the event loop busy for 2 ms. The user is in the path, where one is known. */
  async function start() {
    const order: string[] = [];
    const server = await listen(
      (request, response) => {
        order.push(request.url ?? "");
        for (const end = performance.now() + 2; performance.now() < end; );
        response.end();
      },
      {
        host: "127.0.0.1",
        port: 0,
        setting: "PORT",
        connections: CONNECTION_LIMITS,
        refuse: (_request, response) => void response.writeHead(503).end(),
        recognize: ({ url }) => (url?.startsWith("/stranger") ? undefined : url),
      },
    );
    open.push(server);
    const dial = async () => {
      const socket = connect(server.port, "127.0.0.1").on("error", () => {});
      sockets.push(socket);
      await once(socket, "connect");
      return socket;
    };
    return { order, dial };
  }
  const get = (path: string, times = 1) => `GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`.repeat(times);

  test.each([
    ["of one user who pipelines", "/mallory", 8],
    ["of callers with tokens that are not known", "/stranger", 8],
  ])(
    "serves a known user ahead of what is left %s",
    async (_of, path, times) => {
      const { order, dial } = await start();
      const flood = await Promise.all(Array.from({ length: 50 }, dial));
      const ada = await dial();
      while (order.length === 0) {
        for (const socket of flood) socket.write(get(path, times));
        await nextTurn();
      }
      ada.write(get("/ada"));
      await once(ada, "data");
      // Of 400 requests, about as many as fit into a few turns of the event loop.
      expect(order.indexOf("/ada")).toBeLessThan(150);
    },
    20_000,
  );

  test("serves a known user on a new connection, while connections and requests pour in", async () => {
    const { order, dial } = await start();
    const flooding = Array.from({ length: 100 }, async () => void (await dial()).write(get("/mallory", 8)));
    await Promise.all(flooding.slice(0, 20));
    const ada = await dial();
    ada.write(get("/ada"));
    await once(ada, "data");
    expect(order.indexOf("/ada")).toBeLessThan(400);
    expect(order.length).toBeLessThan(800);
  }, 20_000);
});
