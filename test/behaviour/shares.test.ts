/** One user's share of an API, in the whole gateway and without any setting. */

import { once } from "node:events";
import http, { type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import supertest from "supertest";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { startTestGateway, TEST_YAML, type TestGateway } from "../support/gateway.ts";
import { createTestGateway } from "../testing/gateway.ts";

let emulator: Emulator;
let gateway: TestGateway;
let api: http.Server;
/** Requests of paths below `/held` that the API has not answered. */
const held: http.ServerResponse[] = [];

beforeAll(async () => {
  api = http.createServer((request, response) => {
    if (request.url === "/me/held") held.push(response);
    else response.end("served");
  });
  api.listen(0, "127.0.0.1");
  await once(api, "listening");
  emulator = await startEmulator();
  const slow = `http://127.0.0.1:${(api.address() as AddressInfo).port}`;
  gateway = await startTestGateway({
    emulator,
    env: { DEAD_URL: slow },
    yaml: TEST_YAML.replace(
      '  nobody-listens:\n    baseUrl: "${DEAD_URL:-http://127.0.0.1:1}"',
      '  nobody-listens:\n    maxConcurrent: 16\n    maxWaiting: 16\n    baseUrl: "${DEAD_URL}"',
    ).replace(
      '  - path: /nobody-listens\n    downstreamApi: nobody-listens\n    allow: ["/me"]',
      '  - path: /nobody-listens\n    downstreamApi: nobody-listens\n    allow: ["/me", "/me/held"]',
    ),
  });
});
afterAll(async () => {
  for (const response of held) response.end();
  await gateway.stop();
  api.closeAllConnections();
  api.close();
  await emulator.close();
});

/** Requests that the API holds, as soon as they are this many. */
async function untilHeld(count: number): Promise<void> {
  while (held.length < count) await new Promise((resolve) => setTimeout(resolve, 10));
}

/** By the metric of those in line, which has to be true for this. */
async function untilWaiting(count: number): Promise<void> {
  const line = `obo_gateway_downstream_requests_waiting{api="nobody-listens"} ${count}\n`;
  for (let text = ""; !text.includes(line); ) {
    ({ text } = await gateway.admin("/metrics"));
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test("a user past an eighth of the places and of the line gets 429, others are served, and callers who leave free their places", async () => {
  const [greedy, other] = ["ada", "grace"].map((user) => emulator.mintUserToken({ user }));
  // The first request exchanges; those after it find the token.
  expect((await gateway.get("/nobody-listens/me", greedy)).status).toBe(200);
  const requests = Array.from({ length: 4 }, () =>
    http
      .get(`${gateway.url}/nobody-listens/me/held`, {
        agent: false,
        headers: { authorization: `Bearer ${greedy}` },
      })
      .on("error", () => {}),
  );
  await untilHeld(2);
  await untilWaiting(2);
  const refused = await gateway.get("/nobody-listens/me", greedy);
  expect([refused.status, refused.body.code, refused.headers["retry-after"]]).toEqual([
    429,
    "rate_limited",
    "1",
  ]);
  for (let round = 0; round < 5; round++) {
    expect((await gateway.get("/nobody-listens/me", other)).text).toBe("served");
  }
  for (const request of requests) request.destroy();
  await untilWaiting(0);
  const served = await gateway.get("/nobody-listens/me", greedy);
  expect(served.text).toBe("served");
});

test("requests that wait take turns by the user for whom their token was verified", async () => {
  const assembled = await createTestGateway({ emulator });
  try {
    const user = emulator.addUser();
    const authorization = `Bearer ${emulator.mintUserToken({ user })}`;
    const request = {
      rawHeaders: ["Host", "x", "AUTHORIZATION", authorization],
    } as unknown as IncomingMessage;
    expect(assembled.guard.recognize?.(request)).toBeUndefined();
    expect(assembled.guard.claimedUser?.(request)).toBe(`${emulator.tenantId} ${user.objectId}`);
    await supertest(assembled.app).get("/graph/me").set({ authorization }).expect(200);
    expect(assembled.guard.recognize?.(request)).toBe(`${emulator.tenantId} ${user.objectId}`);
  } finally {
    await assembled.close();
  }
});
