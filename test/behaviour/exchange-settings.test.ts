/** Settings of the exchange, as callers and operators see them. */

import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { startTestGateway, TEST_YAML, type TestGateway } from "../support/gateway.ts";

let emulator: Emulator;
let gateway: TestGateway;

beforeAll(async () => {
  emulator = await startEmulator();
  gateway = await startTestGateway({
    emulator,
    yaml: TEST_YAML.replace(
      "exchange:\n",
      `exchange:
  consent: { frontEndClientId: "${emulator.frontEndClientId}", appIdUri: "api://the-gateway" }
  cache: { redis: { url: "\${REDIS_URL:-}" } }
`,
    ),
    env: { REDIS_URL: "redis://127.0.0.1:1", TOKEN_CACHE_KEYS: Buffer.alloc(32, 7).toString("base64") },
  });
});
afterAll(async () => {
  await gateway.stop();
  await emulator.close();
});

test("consentUri asks for front end and gateway at once, where the front end is named", async () => {
  const user = emulator.addUser();
  emulator.refuse({ code: 65001, user });
  const answer = await gateway.get("/graph/me", emulator.mintUserToken({ user })).expect(403);
  const { searchParams } = new URL(answer.body.consentUri);
  expect(Object.fromEntries(searchParams)).toMatchObject({
    client_id: emulator.frontEndClientId,
    scope: "api://the-gateway/.default",
  });
});

test("a Redis that is not there holds up neither readiness nor requests, and metrics say so", async () => {
  await gateway.get("/graph/me", emulator.mintUserToken({ user: emulator.addUser() })).expect(200);
  await gateway.get("/graph/me", emulator.mintUserToken({ user: emulator.addUser() })).expect(200);
  await gateway.admin("/readyz").expect(200);
  const { text } = await gateway.admin("/metrics").expect(200);
  expect(text).toMatch(/^obo_gateway_shared_cache_available 0$/m);
  expect(text).toMatch(/^obo_gateway_token_cache_entries 2$/m);
  expect(text).toMatch(/^obo_gateway_token_cache_users 2$/m);
  expect(text).toMatch(/^obo_gateway_token_cache_bytes [1-9]\d{3,}$/m);
  expect(text).toMatch(/^obo_gateway_exchange_events_total\{event="shared_suspended"\} 1$/m);
});
