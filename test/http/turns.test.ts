/** A server that many connections flood serves a known user ahead of what is left. */

import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import type { RequestListener, ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import { getDefaultHighWaterMark } from "node:stream";
import { setImmediate as nextTurn } from "node:timers/promises";
import { afterEach, describe, expect, jest, test } from "@jest/globals";
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
  ])("serves a known user ahead of what is left %s", async (_of, path, times) => {
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
  });

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
  });

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
  });

  test("serves a known user on a new connection, while connections and requests pour in", async () => {
    const { order, dial } = await start();
    const flooding = Array.from({ length: 100 }, async () => void (await dial()).write(get("/mallory", 8)));
    await Promise.all(flooding.slice(0, 20));
    const ada = await dial();
    ada.write(get("/ada"));
    await once(ada, "data");
    expect(order.indexOf("/ada")).toBeLessThan(400);
    expect(order.length).toBeLessThan(800);
  });
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
  /**
   * Of 64 KiB each: one that is parsed, and those that come before the connection stands still, more of them where a stream reads
   * further ahead, as since Node 22. The system has 32.
   */
  const FEW_READS = (getDefaultHighWaterMark(false) > 16 * KIB ? 6 : 3) * 64 * KIB;

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
    "reads no more than a few times in a turn of %s, and stands still until its turn",
    async (_, consume) => {
      const { mostRead, pieces, stoodStill } = await sent(long, consume);
      expect(stoodStill).toBe(true);
      expect(mostRead).toBeLessThanOrEqual(FEW_READS);
      if (consume) expect(pieces.reduce((sum, length) => sum + length, 0)).toBe(4 * MIB);
    },
  );

  test("passes chunks of one byte on together, a few in each turn", async () => {
    const { mostPieces, pieces } = await sent(tiny(40_000), true);
    expect(pieces.reduce((sum, length) => sum + length, 0)).toBe(40_000);
    expect(mostPieces).toBeLessThanOrEqual(4);
    expect(pieces.length).toBeLessThan(400);
  });
});

describe("a server to which Node's parser would make much of single reads", () => {
  const open: Listening[] = [];
  const sockets: Socket[] = [];
  afterEach(async () => {
    jest.restoreAllMocks();
    for (const socket of sockets.splice(0)) socket.destroy();
    await Promise.all(open.splice(0).map((server) => server.drain(0)));
  });

  /** Connections that do not pour in, and have been served before: Node reads and parses by itself. */
  async function start(listener: RequestListener, connections: number, known: boolean) {
    const server = await listen(
      (request, response) => {
        if (request.url === "/before") response.end();
        else listener(request, response);
      },
      {
        host: "127.0.0.1",
        port: 0,
        setting: "PORT",
        connections: CONNECTION_LIMITS,
        refuse: (_request, response) => void response.writeHead(503).end(),
        recognize: () => (known ? "mallory" : undefined),
      },
    );
    open.push(server);
    for (let index = 0; index < connections; index++) {
      const socket = connect(server.port, "127.0.0.1").on("error", () => {});
      sockets.push(socket);
      await once(socket, "connect");
      socket.write("GET /before HTTP/1.1\r\nhost: x\r\n\r\n");
      await once(socket, "data");
    }
    return sockets;
  }

  /** The clock goes on by 1 ms with each look at it, so that a turn has time for a few pieces, however fast the machine. */
  function hurryClock() {
    let time = performance.now();
    jest.spyOn(performance, "now").mockImplementation(() => {
      time += 1;
      return time;
    });
  }

  const CHUNKS = 9_000;
  const tiny = `POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n${"1\r\na\r\n".repeat(CHUNKS)}0\r\n\r\n`;

  test("has it parse one read of tiny chunks at most, and takes those of all other connections in pieces", async () => {
    const largest: number[] = [];
    let ended = 0;
    const all = await start(
      (request, response) => {
        let most = 0;
        let total = 0;
        request.on("data", ({ length }: Buffer) => {
          most = Math.max(most, length);
          total += length;
        });
        request.on("end", () => {
          expect(total).toBe(CHUNKS);
          largest.push(most);
          ended += 1;
          response.end();
        });
      },
      6,
      false,
    );
    hurryClock();
    for (const socket of all) socket.write(tiny);
    while (ended < all.length) await nextTurn();
    // What one turn passes on is one piece.
    expect(largest.filter((length) => length > CHUNKS / 3).length).toBeLessThanOrEqual(1);
  });

  test("parses connections in pieces that it accepts behind such a read", async () => {
    const largest: number[] = [];
    const listener: RequestListener = (request, response) => {
      let most = 0;
      request.on("data", ({ length }: Buffer) => {
        most = Math.max(most, length);
      });
      request.on("end", () => {
        largest.push(most);
        response.end();
      });
    };
    const [first] = await start(listener, 1, false);
    hurryClock();
    first?.write(tiny);
    while (largest.length < 1) await nextTurn();
    const server = open[0] as Listening;
    const later = connect(server.port, "127.0.0.1").on("error", () => {});
    sockets.push(later);
    await once(later, "connect");
    later.write(tiny);
    while (largest.length < 2) await nextTurn();
    expect(largest[1]).toBeLessThan(CHUNKS / 3);
  });

  test("has it parse one pipeline of a known user at most", async () => {
    let parsed = 0;
    let parsedAtFirst = 0;
    const count = () => {
      parsed += 1;
    };
    subscribe("http.server.request.start", count);
    try {
      let served = 0;
      const all = await start(
        (_request, response) => {
          served += 1;
          // Behind the reads of this turn.
          if (served === 1) setImmediate(() => setImmediate(() => (parsedAtFirst = parsed)));
          response.end();
        },
        6,
        true,
      );
      parsed = 0;
      for (const socket of all) socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100));
      while (served < 600) await nextTurn();
      expect(parsedAtFirst).toBeGreaterThan(0);
      expect(parsedAtFirst).toBeLessThan(250);
    } finally {
      unsubscribe("http.server.request.start", count);
    }
  });

  test("reads what comes behind the last request of a connection a piece at a time", async () => {
    const MIB = 2 ** 20;
    let server: Socket | undefined;
    const answers: ServerResponse[] = [];
    const [socket] = await start(
      (request, response) => {
        server = request.socket;
        answers.push(response);
      },
      1,
      true,
    );
    // Sixteen run, more than 64 KiB wait behind them: nothing of that is processed.
    socket?.write(Buffer.alloc(8 * MIB, `GET / HTTP/1.1\r\nhost: x\r\nx: ${"a".repeat(2_000)}\r\n\r\n`));
    while (answers.length === 0) await nextTurn();
    let read = 0;
    let most = 0;
    while (read < 4 * MIB) {
      await nextTurn();
      const now = server?.bytesRead ?? 0;
      if (read > MIB) most = Math.max(most, now - read);
      read = now;
    }
    expect(most).toBeLessThanOrEqual(3 * 65_536);
  });
});
