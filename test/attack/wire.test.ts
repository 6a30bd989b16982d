/** What the attacker counts must be what came over the wire. */

import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test } from "@jest/globals";
import { until } from "../support/until.ts";
import {
  type Attacker,
  countEnded,
  createAttacker,
  createStatusScanner,
  leave,
  repeated,
  requestOf,
} from "./wire.ts";

let server: Server | undefined;
let started: Attacker | undefined;
const sockets = new Set<Socket>();
afterEach(() => {
  started?.leave();
  started = undefined;
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  server?.close();
  server = undefined;
});

function attackerOf(port: number): Attacker {
  started = createAttacker(port);
  return started;
}

/** Runs `onSocket` for each connection. */
async function listen(onSocket: (socket: Socket) => void): Promise<number> {
  server = createServer((socket) => {
    sockets.add(socket.on("error", () => {}));
    onSocket(socket);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

describe("the status scanner", () => {
  const answers = Buffer.from(
    "HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 503 Service Unavailable\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
  );

  test.each(Array.from({ length: 40 }, (_, index) => index + 1))(
    "counts each status once in pieces of %d bytes",
    (size) => {
      const seen: string[] = [];
      const scan = createStatusScanner((status) => seen.push(status));
      for (let at = 0; at < answers.length; at += size) scan(answers.subarray(at, at + size));
      expect(seen).toEqual(["401", "503", "200"]);
    },
  );

  test("counts nothing of bytes that only begin like a status line", () => {
    const seen: string[] = [];
    createStatusScanner((status) => seen.push(status))(Buffer.from("HTTP/1.0 200 OK, HTTP/1.1 20"));
    expect(seen).toEqual([]);
  });
});

test("of the kernel's table only established connections of the named ports are alive", () => {
  const text = [
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
    "   0: 0100007F:1F90 0100007F:0001 01 00000000:00000000 00:00000000 00000000     0        0 1",
    "   1: 0100007F:1F91 0100007F:0001 08 00000000:00000000 00:00000000 00000000     0        0 2",
    "   2: 0100007F:1F92 0100007F:0001 0A 00000000:00000000 00:00000000 00000000     0        0 3",
  ].join("\n");
  expect(countEnded(text, [0x1f90])).toBe(0);
  expect(countEnded(text, [0x1f90, 0x1f91, 0x1f92, 0x1f93])).toBe(3);
});

test("a request has the length of its body and nothing that was not asked for", () => {
  expect(requestOf("/a", { x: "1" }, { method: "POST", body: "ä" }).toString()).toBe(
    "POST /a HTTP/1.1\r\nhost: gateway.test\r\nx: 1\r\ncontent-length: 2\r\n\r\nä",
  );
  expect(requestOf("/a", { host: "localhost" }).toString()).toBe(
    "GET /a HTTP/1.1\r\nhost: localhost\r\n\r\n",
  );
  expect(repeated(Buffer.from("ab"), 3).toString()).toBe("ababab");
});

describe("an attacker", () => {
  test("counts answers, ends by the other side, and refusals; not the connections that it gave up itself", async () => {
    const port = await listen((socket) => {
      socket.once("data", (chunk) => {
        socket.write("HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n");
        if (chunk.includes("close")) socket.end();
      });
    });
    const attacker = attackerOf(port);
    const [left] = await attacker.hold(2, "all", (index) => (index === 0 ? "stay" : "close"));
    await until(() => attacker.outcomes()["429"] === 2 && attacker.outcomes().closed === 1);
    expect(attacker.connections()).toEqual({ opened: 2, held: 1 });
    if (left !== undefined) leave(left);
    await until(() => attacker.connections().held === 0);
    server?.close();
    for (const socket of sockets) socket.destroy();
    await until(() => server?.listening === false);
    expect(await attacker.open("all")).toBeUndefined();
    expect(attacker.outcomes()).toEqual({ "429": 2, closed: 1, refused: 1 });
  });

  const onLinux = process.platform === "linux" ? test : test.skip;
  onLinux("counts a connection that was closed while nothing was read from it", async () => {
    const port = await listen((socket) => socket.once("data", () => socket.destroy()));
    const attacker = attackerOf(port);
    await attacker.hold(3, "nothing", () => "GET / HTTP/1.1\r\n\r\n");
    await until(() => attacker.connections().held === 0);
    expect(attacker.outcomes()).toEqual({ closed: 3 });
  });

  test("that reads nothing leaves the answer in the kernel", async () => {
    const port = await listen((socket) => socket.write("HTTP/1.1 200 OK\r\n\r\n"));
    const attacker = attackerOf(port);
    const [socket] = await attacker.hold(1, "nothing", () => "x");
    await until(() => (socket?.bytesWritten ?? 0) === 1);
    expect(socket?.bytesRead).toBe(0);
    expect(attacker.outcomes()).toEqual({});
    if (socket !== undefined) leave(socket);
  });

  test("keeps as many requests under way as it was asked to, and comes back when it is turned away", async () => {
    let connections = 0;
    let requests = 0;
    const port = await listen((socket) => {
      connections++;
      socket.on("data", (chunk) => {
        requests += chunk.length;
        // The first connection is answered once and closed.
        if (connections === 1) socket.end("HTTP/1.1 200 OK\r\n\r\n");
      });
    });
    const attacker = attackerOf(port);
    attacker.pump({ connections: 1, depth: 3, request: () => "r" });
    await until(() => connections === 2 && requests >= 6);
    expect(attacker.outcomes().closed).toBe(1);
  });

  test("that leaves gives up what it holds and what it pumps, and comes back no more", async () => {
    let connections = 0;
    const port = await listen((socket) => {
      connections++;
      socket.resume();
    });
    const attacker = attackerOf(port);
    await attacker.hold(2, "nothing", () => "x");
    attacker.pump({ connections: 2, depth: 1, request: () => "r" });
    await until(() => connections === 4);
    attacker.leave();
    await until(() => [...sockets].every(({ closed }) => closed));
    // Twice as long as it waits before it comes back.
    await sleep(100);
    expect(connections).toBe(4);
    expect(attacker.connections()).toEqual({ opened: 4, held: 0 });
    expect(attacker.outcomes()).toEqual({});
  });
});
