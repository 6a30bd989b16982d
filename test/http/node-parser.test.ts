/** What the gateway reads of node:http's insides, on the Node that runs the tests: a release that changes it fails here. */

import { once } from "node:events";
import { createServer, type RequestListener, type Server } from "node:http";
import { type AddressInfo, connect, Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "@jest/globals";
import {
  stopParsing,
  type TakenReads,
  takeReads,
  waitsForAnswersToBeTaken,
} from "../../src/http/node-parser.ts";
import { until } from "../support/until.ts";
import { isReadByNode } from "./reading.ts";

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close().closeAllConnections();
});

const GET = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

async function dial(listener: RequestListener) {
  const server = createServer(listener).listen(0, "127.0.0.1");
  servers.push(server);
  await once(server, "listening");
  const accepted = once(server, "connection") as Promise<[Socket]>;
  const caller = connect((server.address() as AddressInfo).port, "127.0.0.1").on("error", () => {});
  const [socket] = await accepted;
  return { caller, socket };
}

test("a connection waits for its answers to be taken while the caller of a pipeline reads nothing", async () => {
  const { caller, socket } = await dial((_request, response) => void response.end(Buffer.alloc(1_000_000)));
  expect(waitsForAnswersToBeTaken(socket)).toBe(false);
  caller.pause();
  const feeding = setInterval(() => caller.write(GET), 1);
  await until(() => waitsForAnswersToBeTaken(socket));
  clearInterval(feeding);
  expect(socket.isPaused()).toBe(true);
  caller.resume();
  await until(() => !waitsForAnswersToBeTaken(socket));
  caller.destroy();
});

test("nothing of a read is parsed behind the message at which it was stopped", async () => {
  let heads = 0;
  const { caller } = await dial((request) => {
    heads += 1;
    if (heads === 3) stopParsing(request.socket);
  });
  caller.write(GET.repeat(50));
  await until(() => heads >= 3);
  await sleep(20);
  // The one that is answered with the stop is not announced.
  expect(heads).toBe(3);
  caller.destroy();
});

test("a connection that node:http keeps nothing on is neither stopped nor waits", () => {
  const socket = new Socket();
  expect(() => stopParsing(socket)).not.toThrow();
  expect(waitsForAnswersToBeTaken(socket)).toBe(false);
});

test("reads that were taken over pass through here, and go from the system to the parser again once they are given back", async () => {
  const { caller, socket } = await dial((_request, response) => void response.end("x"));
  const answers = once(caller, "data");
  let passed = 0;
  const reads: TakenReads | undefined = takeReads(socket, (chunk) => {
    passed += chunk.length;
    reads?.parse(chunk);
  });
  caller.write(GET);
  await answers;
  expect([passed, isReadByNode(socket)]).toEqual([GET.length, false]);
  expect(reads?.giveBack()).toBe(true);
  expect(isReadByNode(socket)).toBe(true);
  const later = once(caller, "data");
  caller.write(GET);
  await later;
  expect(passed).toBe(GET.length);
  caller.destroy();
});

test("a caller of a pipeline who reads nothing is waited for after the reads were given back", async () => {
  let answered = 0;
  const { caller, socket } = await dial((_request, response) => {
    answered += 1;
    response.end(Buffer.alloc(1_000_000));
  });
  const reads = takeReads(socket, (chunk) => reads?.parse(chunk));
  reads?.giveBack();
  caller.pause();
  caller.write(GET.repeat(20));
  await until(() => waitsForAnswersToBeTaken(socket));
  caller.resume();
  let received = 0;
  caller.on("data", (chunk: Buffer) => {
    received += chunk.length;
  });
  await until(() => received > 20_000_000);
  caller.write(GET);
  await until(() => answered === 21);
  caller.destroy();
});

test("reads of a connection that Node did not hand to the parser directly are not given back", async () => {
  const { caller, socket } = await dial((_request, response) => void response.end("x"));
  expect(takeReads(new Socket(), () => {})).toBeUndefined();
  const first = takeReads(socket, () => {});
  expect(takeReads(socket, () => {})?.giveBack()).toBe(false);
  expect(first).toBeDefined();
  caller.destroy();
});
