/** Requests that arrive together take turns: by user, a few milliseconds at a time, one after a new connection. */

import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setImmediate as nextTurn } from "node:timers/promises";
import { afterEach, describe, expect, test } from "@jest/globals";
import { type Listening, listen } from "../../src/http/server.ts";
import { createTurns } from "../../src/http/turns.ts";
import { CONNECTION_LIMITS } from "./connection-limits.ts";

/** Time stands still but for what a request is said to cost, ms. */
function setUp() {
  let time = 0;
  const begun: string[] = [];
  const turns = createTurns(() => time);
  return {
    turns,
    begun,
    pass(ms: number) {
      time += ms;
    },
    join(name: string, owner: string | undefined, cost = 0) {
      turns.wait(owner, () => {
        begun.push(name);
        time += cost;
      });
    },
  };
}

describe("requests that wait for their turn", () => {
  test("begin at once while none waits and the turn of the event loop has time left", async () => {
    const { turns, pass } = setUp();
    expect([turns.isFree(), turns.isFree()]).toEqual([true, true]);
    pass(4);
    expect(turns.isFree()).toBe(false);
    await nextTurn();
    expect(turns.isFree()).toBe(true);
  });

  test("are not overtaken by one that comes later", async () => {
    const { turns, join, begun } = setUp();
    join("first", "ada");
    expect(turns.isFree()).toBe(false);
    await nextTurn();
    expect(begun).toEqual(["first"]);
    expect(turns.isFree()).toBe(true);
  });

  test("begin one of each user in turn, in the order in which each user sent them", async () => {
    const { join, begun } = setUp();
    for (const name of ["m1", "m2", "m3"]) join(name, "mallory");
    join("a1", "ada");
    join("g1", "grace");
    join("a2", "ada");
    await nextTurn();
    expect(begun).toEqual(["m1", "a1", "g1", "m2", "a2", "m3"]);
  });

  test("of callers who are not known yet have every other turn, and all of them where no known user waits", async () => {
    const { join, begun } = setUp();
    for (const name of ["x1", "x2", "x3", "x4"]) join(name, undefined);
    join("a1", "ada");
    join("a2", "ada");
    await nextTurn();
    expect(begun).toEqual(["x1", "a1", "x2", "a2", "x3", "x4"]);
  });

  test("begin for four milliseconds, and the rest a turn of the event loop later", async () => {
    const { join, begun } = setUp();
    for (const name of ["1", "2", "3", "4", "5", "6"]) join(name, "ada", 2);
    await nextTurn();
    expect(begun).toEqual(["1", "2"]);
    await nextTurn();
    expect(begun).toEqual(["1", "2", "3", "4"]);
    await nextTurn();
    expect(begun).toHaveLength(6);
  });

  test("count what runs in microtasks of a request against the time of the turn", async () => {
    const { turns, begun, join, pass } = setUp();
    turns.wait("mallory", () => {
      begun.push("m1");
      void Promise.resolve()
        .then(() => undefined)
        .then(() => pass(4));
    });
    join("m2", "mallory");
    await nextTurn();
    expect(begun).toEqual(["m1"]);
    await nextTurn();
    expect(begun).toEqual(["m1", "m2"]);
  });

  test("begin one in each turn for ten milliseconds after a connection was accepted", async () => {
    const { turns, join, begun, pass } = setUp();
    turns.accepted();
    expect([turns.isFree(), turns.isFree()]).toEqual([true, false]);
    for (const name of ["1", "2", "3", "4"]) join(name, "ada");
    await nextTurn();
    expect(begun).toEqual(["1"]);
    await nextTurn();
    expect(begun).toEqual(["1", "2"]);
    pass(10);
    await nextTurn();
    expect(begun).toEqual(["1", "2", "3", "4"]);
  });

  test("hear how long they waited", async () => {
    const { turns, pass } = setUp();
    let waited: number | undefined;
    turns.wait(undefined, (ms) => {
      waited = ms;
    });
    pass(25);
    await nextTurn();
    expect(waited).toBe(25);
  });
});

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
