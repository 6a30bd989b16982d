/** A managed identity of App Service or Container Apps. MSAL keeps the platform it has found, hence a file of its own. */

import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { startTestGateway, type TestGateway } from "../support/gateway.ts";
import { createPlatform, MANAGED_IDENTITY_YAML } from "../support/managed-identity.ts";

const ENDPOINT = "http://127.0.0.1:41741/msi/token";
const HEADER = "853b9a84-5bfa-4b22-a3f3-0b9a43d9ad8a";

let emulator: Emulator;
let gateway: TestGateway | undefined;
beforeAll(async () => {
  process.env.IDENTITY_ENDPOINT = ENDPOINT;
  process.env.IDENTITY_HEADER = HEADER;
  emulator = await startEmulator();
});
afterAll(async () => {
  delete process.env.IDENTITY_ENDPOINT;
  delete process.env.IDENTITY_HEADER;
  await gateway?.stop();
  await emulator.close();
});

test("a user-assigned identity of App Service proves the gateway", async () => {
  const platform = createPlatform(
    emulator,
    ENDPOINT,
    (headers, query) =>
      headers.get("x-identity-header") === HEADER && query.get("api-version") === "2019-08-01",
  );
  gateway = await startTestGateway({
    emulator,
    credential: "none",
    yaml: MANAGED_IDENTITY_YAML,
    platform: platform.fetch,
  });
  await gateway.get("/graph/me", emulator.mintUserToken()).expect(200);
  expect(platform.issued).toBe(1);
  expect(emulator.requests.token.at(-1)).toMatchObject({ credential: "federated", aadsts: 0 });
});
