/** A server that many connections flood serves a known user ahead of what is left. */

import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setImmediate as nextTurn } from "node:timers/promises";
import { afterEach, describe, expect, test } from "@jest/globals";
import { loopTurns } from "../../src/foundation/turns.ts";
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
        claimedUser: ({ url }) => url,
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

  test("serves the first request of a caller who is not known ahead of what is left of another's", async () => {
    const { order, dial } = await start();
    const flood = await Promise.all(Array.from({ length: 50 }, dial));
    const grace = await dial();
    while (order.length === 0) {
      for (const socket of flood) socket.write(get("/stranger/mallory", 2));
      await nextTurn();
    }
    const before = order.length;
    grace.write(get("/stranger/grace"));
    await once(grace, "data");
    // In one line, all of the hundred would come first.
    expect(order.indexOf("/stranger/grace") - before).toBeLessThan(30);
  }, 20_000);

  test("makes requests of no more than the first heads of what connections that pour in have sent", async () => {
    let parsed = 0;
    const count = () => {
      parsed += 1;
    };
    subscribe("http.server.request.start", count);
    try {
      const { dial } = await start();
      await Promise.all(Array.from({ length: 60 }, async () => (await dial()).write(get("/mallory", 100))));
      const ada = await dial();
      ada.write(get("/ada"));
      await once(ada, "data");
      // All hundred of each of the first nine, and of the others it would be 5100 more.
      expect(parsed).toBeLessThan(2_500);
    } finally {
      unsubscribe("http.server.request.start", count);
    }
  }, 20_000);

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

describe("a server to which much is sent at once, while other work waits", () => {
  const open: Listening[] = [];
  const sockets: Socket[] = [];
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    await Promise.all(open.splice(0).map((server) => server.drain(0)));
  });

  const MIB = 2 ** 20;
  const KIB = 1024;
  /** Of 64 KiB each: one that is parsed, and those that come before the connection stands still. The system has 32. */
  const THREE_READS = 192 * KIB;

  /** Sends the bytes on one connection, and says how many were read and how many pieces were passed on in each turn. */
  async function sent(bytes: Buffer, consume: boolean) {
    const pieces: number[] = [];
    let server: Socket | undefined;
    let isOver = false;
    const listening = await listen(
      (request, response) => {
        server = request.socket;
        request.once("end", () => {
          isOver = true;
        });
        if (consume) request.on("data", (piece: Buffer) => pieces.push(piece.length));
        else response.writeHead(401).end();
      },
      {
        host: "127.0.0.1",
        port: 0,
        setting: "PORT",
        connections: CONNECTION_LIMITS,
        refuse: (_request, response) => void response.writeHead(503).end(),
      },
    );
    open.push(listening);
    const socket = connect(listening.port, "127.0.0.1").on("error", () => {});
    sockets.push(socket);
    await once(socket, "connect");
    const perTurn: { read: number; pieces: number }[] = [];
    let seen = { read: 0, pieces: 0 };
    let stoodStill = false;
    const finished = new Promise<void>((resolve) => {
      const work = () => {
        const now = { read: server?.bytesRead ?? 0, pieces: pieces.length };
        perTurn.push({ read: now.read - seen.read, pieces: now.pieces - seen.pieces });
        seen = now;
        stoodStill ||= server?.isPaused() === true;
        for (const end = performance.now() + 4; performance.now() < end; );
        if (isOver || (!consume && now.read >= bytes.length)) resolve();
        else loopTurns.wait("ada", work);
      };
      loopTurns.wait("ada", work);
    });
    socket.write(bytes);
    await finished;
    return {
      mostRead: Math.max(...perTurn.map(({ read }) => read)),
      mostPieces: Math.max(...perTurn.map((turn) => turn.pieces)),
      pieces,
      stoodStill,
    };
  }

  const post = (fields: string, body: Buffer) =>
    Buffer.concat([Buffer.from(`POST / HTTP/1.1\r\nhost: x\r\n${fields}\r\n\r\n`), body]);
  const long = post(`content-length: ${4 * MIB}`, Buffer.alloc(4 * MIB, "a"));
  const tiny = (chunks: number) =>
    post(
      "transfer-encoding: chunked",
      Buffer.concat([Buffer.alloc(6 * chunks, "1\r\na\r\n"), Buffer.from("0\r\n\r\n")]),
    );

  test.each([
    ["a body that is read", true],
    ["a body that is thrown away behind a refusal", false],
  ])(
    "reads no more than three times in a turn of %s, and stands still until its turn",
    async (_, consume) => {
      const { mostRead, pieces, stoodStill } = await sent(long, consume);
      expect(stoodStill).toBe(true);
      expect(mostRead).toBeLessThanOrEqual(THREE_READS);
      if (consume) expect(pieces.reduce((sum, length) => sum + length, 0)).toBe(4 * MIB);
    },
    30_000,
  );

  test("passes chunks of one byte on together, a few in each turn", async () => {
    const { mostPieces, pieces } = await sent(tiny(40_000), true);
    expect(pieces.reduce((sum, length) => sum + length, 0)).toBe(40_000);
    expect(mostPieces).toBeLessThanOrEqual(4);
    expect(pieces.length).toBeLessThan(400);
  }, 30_000);
});
