/** Who a downstream API is told is calling, behind proxies that may be believed and others. */

import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { startTestGateway, TEST_YAML, type TestGateway } from "../support/gateway.ts";

const yaml = (http: string) =>
  TEST_YAML.replace(
    "    maxRequestBytes",
    "    headers: { sendForwarded: true }\n    maxRequestBytes",
  ).replace("\nhttp:", `\nhttp:\n  ${http}`);

let emulator: Emulator;
let trusting: TestGateway;
let wary: TestGateway;
beforeAll(async () => {
  emulator = await startEmulator();
  trusting = await startTestGateway({ emulator, yaml: yaml('trustedProxies: ["127.0.0.0/8", "::1"]') });
  wary = await startTestGateway({ emulator, yaml: yaml("trustedProxies: []") });
});
afterAll(async () => {
  await trusting.stop();
  await wary.stop();
  await emulator.close();
});

test.each([
  ["a trusted proxy is believed", () => trusting, "203.0.113.7", "https"],
  ["another one is not", () => wary, "127.0.0.1", "http"],
])("%s", async (_, gateway, address, proto) => {
  await gateway()
    .get("/graph/me", emulator.mintUserToken({ user: "ada" }))
    .set("x-forwarded-for", "198.51.100.1, 203.0.113.7")
    .set("x-forwarded-proto", "https")
    .set("forwarded", "for=198.51.100.1")
    .expect(200);
  const headers = emulator.requests.graph.at(-1)?.headers;
  expect(headers).toMatchObject({ "x-forwarded-for": address, "x-forwarded-proto": proto });
  expect(headers?.forwarded).toMatch(new RegExp(`^for=${address};proto=${proto}`));
});
