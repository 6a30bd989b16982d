/** Callers that would hold up the end of the process, and those that are waited for. */

import { once } from "node:events";
import type { RequestListener } from "node:http";
import { connect, type Socket } from "node:net";
import { afterEach, expect, test } from "@jest/globals";
import type { Request } from "express";
import type { ConnectionEvent } from "../../../src/http/contract.ts";
import { openRecord } from "../../../src/http/pipeline.ts";
import { type Listening, listen } from "../../../src/http/server.ts";
import { CONNECTION_LIMITS } from "../../http/connection-limits.ts";

const GRACE_MS = 6_000;
const sockets: Socket[] = [];
let server: Listening;
let events: ConnectionEvent[];

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await server.drain(0);
});

/** The handler sees each request with its user, who is named by the path. */
async function start(handler: RequestListener): Promise<void> {
  events = [];
  server = await listen(
    (request, response) => {
      openRecord(request as Request).owner = { user: request.url ?? "", client: "spa" };
      handler(request, response);
    },
    {
      host: "127.0.0.1",
      port: 0,
      setting: "PORT",
      connections: CONNECTION_LIMITS,
      refuse: (_request, response) => void response.writeHead(503).end(),
      onConnection: (event) => void events.push(event),
    },
  );
}

async function send(text: string): Promise<Socket> {
  const socket = connect(server.port, "127.0.0.1").on("error", () => {});
  sockets.push(socket);
  await once(socket, "connect");
  socket.write(text);
  return socket;
}

const get = (user: string) => `GET /${user} HTTP/1.1\r\nhost: x\r\n\r\n`;

/** How long the end takes, ms. */
async function timeToEnd(): Promise<number> {
  const began = performance.now();
  await server.drain(GRACE_MS);
  return performance.now() - began;
}

function requestsHere(count: number): { readonly all: Promise<void>; readonly handler: RequestListener } {
  let here = 0;
  let arrived = () => {};
  const all = new Promise<void>((resolve) => {
    arrived = resolve;
  });
  return {
    all,
    handler() {
      here += 1;
      if (here === count) arrived();
    },
  };
}

test.each([
  ["nine requests of one user on one connection", 1, 9, 9],
  ["forty, most of which wait behind sixteen,", 1, 40, 16],
  ["nine on nine connections", 9, 1, 9],
])("%s do not hold up the end", async (_, connections, each, begun) => {
  const { all, handler } = requestsHere(begun);
  await start(handler);
  for (let count = 0; count < connections; count++) await send(get("mallory").repeat(each));
  await all;
  expect(await timeToEnd()).toBeLessThan(4_000);
  expect(events.filter((event) => event === "held_up")).toHaveLength(connections);
});

test("eight requests of one user, and nine of nine users, are waited for", async () => {
  const { all, handler } = requestsHere(17);
  const late: (() => void)[] = [];
  await start((request, response) => {
    late.push(() => void response.end("late"));
    handler(request, response);
  });
  const callers = [
    ...Array.from({ length: 8 }, () => get("alice")),
    ...Array.from({ length: 9 }, (_, index) => get(`user-${index}`)),
  ];
  const waiting: Promise<unknown[]>[] = [];
  for (const text of callers) waiting.push(once(await send(text), "data"));
  await all;
  const ended = timeToEnd();
  setTimeout(() => {
    for (const answer of late) answer();
  }, 2_750);
  expect(await ended).toBeGreaterThan(2_500);
  for (const [answer] of await Promise.all(waiting))
    expect(String(answer)).toMatch(/^HTTP\/1\.1 200 OK[\s\S]*late/);
  expect(events).not.toContain("held_up");
});

test("a body that does not come does not hold up the end, and one that is not asked for yet may", async () => {
  const { all, handler } = requestsHere(2);
  await start((request, response) => {
    if (request.url === "/awaited") request.resume();
    else setTimeout(() => void response.end("asked late"), 2_750);
    handler(request, response);
  });
  const head = (user: string) => `POST /${user} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n`;
  await send(`${head("awaited")}1`);
  const patient = await send(head("patient"));
  const answer = once(patient, "data") as Promise<[Buffer]>;
  await all;
  expect(await timeToEnd()).toBeGreaterThan(2_500);
  expect(String((await answer)[0])).toContain("asked late");
  expect(events.filter((event) => event === "held_up")).toHaveLength(1);
});
