/** A gateway that cannot keep up: what it turns away, and what it still answers. */

import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { startTestGateway, TEST_YAML, type TestGateway } from "../support/gateway.ts";

const ORIGIN = "https://app.example";
const YAML = TEST_YAML.replace(
  "http:\n",
  `http:\n  maxEventLoopLagMs: \${MAX_LAG:-500}\n  connections: { max: 2 }\n  cors: { origins: [${ORIGIN}] }\n`,
);

let emulator: Emulator;
let gateway: TestGateway;
let lag = 0;

async function start(env: Readonly<Record<string, string>> = {}): Promise<void> {
  emulator = await startEmulator();
  gateway = await startTestGateway({ emulator, yaml: YAML, env, sampleLag: () => lag });
}

/** From now on each window has that lag; the gateway's own windows decide when it begins or ends to turn away. */
async function lagUntil(ms: number, shedding: 0 | 1): Promise<void> {
  lag = ms;
  const state = new RegExp(`^obo_gateway_shedding ${shedding}$`, "m");
  while (!state.test((await gateway.admin("/metrics")).text)) await delay(20);
}

beforeEach(() => {
  lag = 0;
});
afterEach(async () => {
  await gateway.stop();
  await emulator.close();
});

const metric = async (line: RegExp) => expect((await gateway.admin("/metrics")).text).toMatch(line);

test("overloaded: while the event loop lags, requests are turned away before anything of them is looked at", async () => {
  await start();
  const ada = emulator.mintUserToken({ user: "ada" });
  await gateway.get("/graph/me", ada).expect(200);
  const verified = /^obo_gateway_tokens_verified_total\{origin="\w+"\} 1$/m;
  await metric(verified);

  await lagUntil(700, 1);
  const refused = await gateway.get("/graph/me", ada).set("origin", ORIGIN).expect(503);
  expect(refused.headers).toMatchObject({
    "content-type": "application/problem+json",
    "cache-control": "no-store",
    "retry-after": "1",
    "access-control-allow-origin": ORIGIN,
  });
  expect(JSON.parse(refused.text)).toEqual({
    type: "urn:obo-gateway:problem:overloaded",
    title: "The gateway is overloaded",
    status: 503,
    code: "overloaded",
    detail: expect.any(String),
    correlationId: refused.headers["x-correlation-id"],
  });
  await gateway.get("/nowhere").expect(503);
  await gateway.send("post", "/graph/me", ada).send("x".repeat(100_000)).expect(503);
  await metric(verified);
  await metric(/^obo_gateway_requests_shed_total 3$/m);
  await metric(/^obo_gateway_shedding 1$/m);
  await metric(/^obo_gateway_event_loop_lag_seconds 0.7$/m);
  await gateway.admin("/livez").expect(200);
  await gateway.admin("/readyz").expect(200);

  await lagUntil(10, 0);
  await gateway.get("/graph/me", ada).expect(200);
  await metric(/^obo_gateway_shedding 0$/m);
  const told = gateway.logs.filter(({ msg }) => msg !== "request").slice(-2);
  expect(told).toEqual([
    expect.objectContaining({ level: "warn", lagMs: 700, msg: expect.stringContaining("turned away") }),
    expect.objectContaining({ level: "info", lagMs: 10 }),
  ]);
  expect(gateway.logs.filter(({ code }) => code === "overloaded")).toEqual([]);
});

test("maxEventLoopLagMs: 0 turns nobody away", async () => {
  await start({ MAX_LAG: "0" });
  lag = 60_000;
  // Two windows of half a second would begin it.
  await delay(1_200);
  await gateway.get("/graph/me", emulator.mintUserToken({ user: "ada" })).expect(200);
});

test("connections past http.connections.max are closed, counted and logged, and the others served", async () => {
  await start();
  const port = Number(new URL(gateway.url).port);
  const ada = emulator.mintUserToken({ user: "ada" });
  const request = `GET /graph/me HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${ada}\r\n\r\n`;
  const held = [0, 1].map(() => connect(port, "127.0.0.1"));
  for (const socket of held) {
    socket.write(request);
    await once(socket, "data");
  }
  for (let time = 0; time < 2; time += 1) {
    const extra = connect(port, "127.0.0.1");
    extra.on("error", () => {}).resume();
    await once(extra, "close");
  }
  await metric(/^obo_gateway_connections 2$/m);
  await metric(/^obo_gateway_connections_dropped_total 2$/m);
  expect(gateway.logs.filter(({ msg }) => String(msg).includes("http.connections.max"))).toHaveLength(1);
  held[0]?.write(request);
  expect(String((await once(held[0] as (typeof held)[number], "data"))[0])).toMatch(/^HTTP\/1\.1 200 /);
  for (const socket of held) socket.destroy();
});
