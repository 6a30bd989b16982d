/** What a scrape tells of the rooms and of APIs that throttle, queue, or cannot be had. */

import { once } from "node:events";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "@jest/globals";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { startTestGateway, type TestGateway } from "../support/gateway.ts";
import { yamlOf } from "../support/yaml.ts";

const YAML = yamlOf({
  apis: { api: ["API_URL", "kind: graph", "timeoutMs: 5000", "maxConcurrent: 1", "maxThrottleWaitMs: 2000"] },
  routes: ['{ path: /api, downstreamApi: api, allow: ["/**"] }'],
  sections: ["http: { shutdownGraceSeconds: 2 }"],
});

let emulator: Emulator;
let server: Server;
let answer: RequestListener;
let gateway: TestGateway;
let token: string;
beforeAll(async () => {
  emulator = await startEmulator();
  server = createServer((request, response) => answer(request, response)).listen(0, "127.0.0.1");
  await once(server, "listening");
});
afterAll(async () => {
  server.close();
  await emulator.close();
});
beforeEach(async () => {
  answer = (_request, response) => response.end("{}");
  const { port } = server.address() as AddressInfo;
  gateway = await startTestGateway({ emulator, yaml: YAML, env: { API_URL: `http://127.0.0.1:${port}` } });
  token = emulator.mintUserToken({ user: emulator.addUser() });
});
afterEach(() => gateway.stop());

/** The value of a line of the exposition, by its name and labels as they stand there. */
async function value(line: string): Promise<number | undefined> {
  const { text } = await gateway.admin("/metrics");
  const found = text.split("\n").find((one) => one.startsWith(`${line} `));
  return found === undefined ? undefined : Number(found.slice(line.length + 1));
}

test("each room has a histogram, with as many entries as requests that came to it", async () => {
  await gateway.get("/api/things").expect(401);
  for (let repeat = 0; repeat < 3; repeat++) await gateway.get("/api/things", token).expect(200);
  expect(await value('obo_gateway_verify_duration_seconds_count{verdict="refused"}')).toBe(1);
  expect(await value('obo_gateway_verify_duration_seconds_count{verdict="verified"}')).toBe(3);
  expect(await value('obo_gateway_token_duration_seconds_count{origin="authority"}')).toBe(1);
  expect(await value('obo_gateway_token_duration_seconds_count{origin="cache"}')).toBe(2);
  expect(await value('obo_gateway_downstream_duration_seconds_count{api="api",outcome="2xx"}')).toBe(3);
  expect(await value('obo_gateway_downstream_wait_seconds_count{api="api"}')).toBe(3);
});

test("a pause that the API asks for is counted, timed and in the log, and so is each answer with 429", async () => {
  let asked = 0;
  answer = (_request, response) => {
    asked += 1;
    response.writeHead(asked === 1 ? 429 : 200, asked === 1 ? { "retry-after": "1" } : {}).end("{}");
  };
  const { headers } = await gateway.get("/api/things", token).expect(200);
  expect(await value('obo_gateway_downstream_throttled_total{api="api",status="429"}')).toBe(1);
  expect(await value('obo_gateway_throttle_waits_total{route="/api"}')).toBe(1);
  expect(await value('obo_gateway_throttle_wait_seconds_total{route="/api"}')).toBe(1);
  expect(await gateway.line(headers["x-correlation-id"] as string)).toMatchObject({ throttleMs: 1000 });
});

test("a request in line for the only connection is waiting, and is not any more when it is given up", async () => {
  const held: (() => void)[] = [];
  answer = (_request, response) => held.push(() => response.end("{}"));
  // Supertest's requests begin when somebody waits for them.
  const first = gateway.get("/api/things", token).then(({ status }) => status);
  while (held.length === 0) await tick();
  const leaving = new AbortController();
  const second = fetch(`${gateway.url}/api/things`, {
    headers: { authorization: `Bearer ${token}` },
    signal: leaving.signal,
  }).catch(() => "left");
  const waiting = 'obo_gateway_downstream_requests_waiting{api="api"}';
  while ((await value(waiting)) !== 1) await tick();
  leaving.abort();
  expect(await second).toBe("left");
  while ((await value(waiting)) !== 0) await tick();
  expect(await value('obo_gateway_downstream_duration_seconds_count{api="api",outcome="abandoned"}')).toBe(1);
  for (const release of held) release();
  expect(await first).toBe(200);
  expect(await value(waiting)).toBe(0);
});

test("an answer's request-id that is none does not come into the log", async () => {
  answer = (_request, response) => response.writeHead(200, { "request-id": "a b, <c>" }).end("{}");
  const { headers } = await gateway.get("/api/things", token).expect(200);
  expect(await gateway.line(headers["x-correlation-id"] as string)).not.toHaveProperty("downstreamRequestId");
});

test("a gateway that others can reach says at its start that paging links will lead past it", async () => {
  const warned = (one: TestGateway) => one.logs.filter(({ msg }) => String(msg).startsWith("http.publicUrl"));
  const env = { API_URL: "http://127.0.0.1:1" };
  const open = await startTestGateway({ emulator, yaml: YAML, env: { ...env, HOST: "0.0.0.0" } });
  await open.stop();
  expect(warned(open)).toMatchObject([{ level: "warn", routes: ["/api"] }]);
  const named = YAML.replace("http: {", "http: { publicUrl: 'https://gateway.example',");
  const known = await startTestGateway({ emulator, yaml: named, env: { ...env, HOST: "0.0.0.0" } });
  await known.stop();
  expect([...warned(known), ...warned(gateway)]).toEqual([]);
});

const tick = () => new Promise((resolve) => setTimeout(resolve, 5));
