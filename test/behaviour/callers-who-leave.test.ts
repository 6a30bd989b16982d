/** What a request holds is given back when its caller leaves, however many requests the caller has sent ahead. */

import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { codeRoute } from "../../src/http/code-route.ts";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { startTestGateway, type TestGateway } from "../support/gateway.ts";
import { until } from "../support/until.ts";

const policy = { callers: "user", requiredScopes: [], requiredRoles: [], allowedClients: [] } as const;
/** How each wait of a handler ended. */
let ends: unknown[] = [];
const calling = codeRoute({
  method: "get",
  path: "/api/calling",
  policy,
  uses: ["graph"],
  async handler(_request, _response, { downstream, signal }) {
    signal.addEventListener("abort", () => void ends.push("signal"));
    await downstream.graph.get("/me").catch((error: Error) => void ends.push(error.name));
  },
});
let emulator: Emulator;
let api: Server;
let gateway: TestGateway;
let token: string;
/** Requests under way at the API, which answers none. */
let open = 0;
let begun = 0;

beforeAll(async () => {
  emulator = await startEmulator();
  api = createServer((request, response) => {
    begun += 1;
    if (request.url?.endsWith("/warm")) return void response.end("{}");
    open += 1;
    response.on("close", () => {
      open -= 1;
    });
  }).listen(0, "127.0.0.1");
  await once(api, "listening");
  const { port } = api.address() as AddressInfo;
  gateway = await startTestGateway({
    emulator,
    routes: [calling],
    env: {
      GRAPH_URL: `http://127.0.0.1:${port}/v1.0`,
      GRAPH_TIMEOUT_MS: "60000",
      EXCHANGE_TIMEOUT_MS: "60000",
    },
  });
  token = emulator.mintUserToken({ user: "ada" });
  await gateway.get("/graph/me/warm", token).expect(200);
});
afterAll(async () => {
  api.closeAllConnections();
  api.close();
  await gateway.stop();
  await emulator.close();
});
beforeEach(() => {
  ends = [];
  begun = 0;
});

async function asking(path: string, times: number): Promise<Socket> {
  const socket = connect(Number(new URL(gateway.url).port), "127.0.0.1").on("error", () => {});
  await once(socket, "connect");
  socket.write(`GET ${path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${token}\r\n\r\n`.repeat(times));
  return socket;
}

const LEAVE: readonly (readonly [string, (socket: Socket) => unknown])[] = [
  ["closes", (socket) => socket.end()],
  ["destroys", (socket) => socket.destroy()],
  ["resets", (socket) => socket.resetAndDestroy()],
];

describe("a caller who leaves", () => {
  test.each(LEAVE)("ends the request that is under way: %s", async (_, leave) => {
    const socket = await asking("/graph/me", 1);
    await until(() => open === 1);
    leave(socket);
    await until(() => open === 0);
  });

  test.each(LEAVE)("ends 16 requests, although 2000 more are behind them: %s", async (_, leave) => {
    const socket = await asking("/graph/me", 2_000);
    await until(() => open === 16);
    await sleep(100);
    leave(socket);
    await until(() => open === 0);
    await sleep(100);
    expect([open, begun]).toEqual([0, 16]);
  });

  test.each(LEAVE)("ends what a handler does for it: %s", async (_, leave) => {
    const socket = await asking("/api/calling", 1);
    await until(() => open === 1);
    leave(socket);
    await until(() => open === 0 && ends.length === 2);
    expect(ends[0]).toBe("signal");
  });
});
