/** The second user's clock: what a stall delays must show, and only whole right answers count. */

import { once } from "node:events";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "@jest/globals";
import { HONEST_BODY } from "../../attack/honest-answer.ts";
import { type SecondUser, startSecondUser } from "../../attack/second-user.ts";

let server: Server | undefined;
let user: SecondUser | undefined;
afterEach(async () => {
  await user?.stop();
  server?.close();
  server?.closeAllConnections();
});

async function start(answer: RequestListener, newcomersPerSecond = 0, count = 50): Promise<SecondUser> {
  server = createServer(answer).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const newcomers = Array.from({ length: count }, (_, index) => `newcomer-${index}`);
  user = startSecondUser({ port, token: "second", perSecond: 100, newcomersPerSecond, newcomers });
  return user;
}

test("a right answer is served, and requests come at the rate that was asked for", async () => {
  const second = await start((_request, response) => void response.end(HONEST_BODY));
  const { requests, served } = await second.during(() => sleep(300));
  expect(requests).toBeGreaterThanOrEqual(28);
  expect(served).toBe(requests);
});

test.each<[string, RequestListener]>([
  ["a refusal", (_request, response) => void response.writeHead(503).end(HONEST_BODY)],
  ["another body", (_request, response) => void response.end("{}")],
  [
    "an answer that is cut",
    (_request, response) => {
      response.writeHead(200, { "content-length": HONEST_BODY.length }).write(HONEST_BODY.slice(1));
      setImmediate(() => response.destroy());
    },
  ],
  ["a closed connection", (request) => request.socket.destroy()],
])("%s is not served", async (_sentence, answer) => {
  const second = await start(answer);
  const { requests, served } = await second.during(() => sleep(150));
  expect(requests).toBeGreaterThan(5);
  expect(served).toBe(0);
});

test("a stall does not keep the requests back that it delays, and each shows the time that it waited", async () => {
  let stalledUntil = 0;
  const second = await start((_request, response) => {
    setTimeout(() => response.end(HONEST_BODY), Math.max(0, stalledUntil - performance.now()));
  });
  await second.during(() => sleep(100));
  stalledUntil = performance.now() + 400;
  const { requests, p99, longest } = await second.during(() => sleep(400));
  // None of them waited for the one before.
  expect(requests).toBeGreaterThan(30);
  expect(p99).toBeGreaterThan(300);
  expect(longest).toBeGreaterThanOrEqual(p99);
});

test("newcomers come one after the other, each with a token of its own, at their rate", async () => {
  const seen: string[] = [];
  const second = await start((request, response) => {
    seen.push(request.headers.authorization ?? "");
    response.end(HONEST_BODY);
  }, 20);
  await second.during(() => sleep(500));
  const newcomers = seen.filter((field) => field !== "Bearer second");
  expect(new Set(newcomers).size).toBe(newcomers.length);
  expect(newcomers.length).toBeGreaterThanOrEqual(seen.length / 5 - 2);
  expect(newcomers.length).toBeLessThanOrEqual(seen.length / 5 + 2);
});

test("newcomers who wait are measured apart from the steady user", async () => {
  const second = await start((request, response) => {
    const isSteady = request.headers.authorization === "Bearer second";
    setTimeout(() => response.end(HONEST_BODY), isSteady ? 0 : 500);
  }, 20);
  const { requests, served, p99, newcomers } = await second.during(() => sleep(500));
  expect(served).toBe(requests);
  expect(p99).toBeLessThan(400);
  expect(newcomers?.served).toBe(newcomers?.requests);
  expect(newcomers?.requests).toBeGreaterThanOrEqual(8);
  expect(newcomers?.median).toBeGreaterThanOrEqual(500);
});

test("turns of newcomers who are used up are turns of the steady user", async () => {
  const second = await start((_request, response) => void response.end(HONEST_BODY), 20, 3);
  const { requests, newcomers } = await second.during(() => sleep(500));
  expect(newcomers?.requests).toBe(3);
  expect(requests).toBeGreaterThanOrEqual(40);
});

test("some requests open a connection of their own, for a full gateway turns away new ones only", async () => {
  let connections = 0;
  const second = await start((_request, response) => void response.end(HONEST_BODY));
  server?.on("connection", () => connections++);
  await second.during(() => sleep(500));
  expect(connections).toBeGreaterThanOrEqual(5);
});
