/** Which connections are parsed in pieces, and which are read by Node alone: pieces add 15 µs to a request. */

import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterEach, describe, expect, jest, test } from "@jest/globals";
import { type Listening, listen } from "../../src/http/server.ts";
import { CONNECTION_LIMITS } from "./connection-limits.ts";
import { isReadByNode } from "./reading.ts";

const open: Listening[] = [];
const callers: Socket[] = [];
afterEach(async () => {
  jest.restoreAllMocks();
  for (const caller of callers.splice(0)) caller.destroy();
  await Promise.all(open.splice(0).map((server) => server.drain(0)));
});

const GET = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const post = (body: string) =>
  `POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n${body}0\r\n\r\n`;

/** Answers each request when its body is here, and notes how its connection is read then. */
async function start() {
  const byNode: boolean[] = [];
  const server = await listen(
    (request, response) => {
      byNode.push(isReadByNode(request.socket));
      request.resume().on("end", () => response.end("x"));
    },
    {
      host: "127.0.0.1",
      port: 0,
      setting: "PORT",
      connections: CONNECTION_LIMITS,
      refuse: (_request, response) => void response.writeHead(503).end(),
    },
  );
  open.push(server);
  const dial = () => {
    const caller = connect(server.port, "127.0.0.1").on("error", () => {});
    callers.push(caller);
    return caller;
  };
  /** Sends what `times` answers are due to, and waits for these. */
  const ask = async (caller: Socket, text: string, times = 1) => {
    caller.write(text);
    for (let answers = 0; answers < times; ) {
      const [data] = (await once(caller, "data")) as [Buffer];
      answers += data.toString("latin1").split("HTTP/1.1 200").length - 1;
    }
  };
  return { byNode, dial, ask };
}

describe("a connection is read by Node again", () => {
  test("that came with many others, when its first request is answered", async () => {
    const { byNode, dial, ask } = await start();
    const crowd = Array.from({ length: 40 }, dial);
    await Promise.all(crowd.map((caller) => ask(caller, GET)));
    expect(byNode).toContain(false);
    byNode.length = 0;
    for (const caller of crowd) await ask(caller, GET);
    expect(byNode).toEqual(Array(40).fill(true));
  });

  test("that has sent a long body, when that is answered", async () => {
    const { byNode, dial, ask } = await start();
    const caller = dial();
    await ask(caller, post(`${(200_000).toString(16)}\r\n${"a".repeat(200_000)}\r\n`));
    await ask(caller, GET);
    await ask(caller, post(`${(200_000).toString(16)}\r\n${"a".repeat(200_000)}\r\n`));
    await ask(caller, GET);
    expect(byNode).toEqual([false, true, false, true]);
  });

  test("when no connection has sent a flood of tiny chunks for ten seconds", async () => {
    const { byNode, dial, ask } = await start();
    const [other, flood] = [dial(), dial()];
    await ask(other, GET);
    await ask(flood, post("1\r\na\r\n".repeat(10_000)));
    byNode.length = 0;
    await ask(other, GET);
    const now = performance.now();
    jest.spyOn(performance, "now").mockImplementation(() => now + 10_001);
    await ask(other, GET);
    await ask(other, GET);
    expect(byNode).toEqual([false, false, true]);
  });
});

describe("a connection stays in pieces", () => {
  test("that has pipelined", async () => {
    const { byNode, dial, ask } = await start();
    const caller = dial();
    await ask(caller, GET.repeat(3), 3);
    byNode.length = 0;
    await ask(caller, GET);
    await ask(caller, GET);
    expect(byNode).toEqual([false, false]);
  });

  test("that has sent many tiny chunks", async () => {
    const { byNode, dial, ask } = await start();
    const caller = dial();
    await ask(caller, post("1\r\na\r\n".repeat(100)));
    await ask(caller, GET);
    expect(byNode).toEqual([false, false]);
  });
});
