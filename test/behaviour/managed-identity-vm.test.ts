/** A managed identity of a virtual machine. MSAL keeps the platform it has found, so each one has its own file. */

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { startTestGateway, type TestGateway } from "../support/gateway.ts";
import { createPlatform, type FakePlatform, MANAGED_IDENTITY_YAML } from "../support/managed-identity.ts";

const MINUTE_MS = 60_000;

let aheadMs = 0;
const now = () => Date.now() + aheadMs;
let emulator: Emulator;
let platform: FakePlatform;
let gateway: TestGateway | undefined;

const start = async () => {
  gateway = await startTestGateway({
    emulator,
    credential: "none",
    yaml: MANAGED_IDENTITY_YAML,
    platform: platform.fetch,
    now,
  });
  return gateway;
};

beforeAll(async () => {
  emulator = await startEmulator({ now });
  platform = createPlatform(
    emulator,
    "http://169.254.169.254/metadata/identity/oauth2/token",
    (headers, query) => headers.get("metadata") === "true" && query.get("api-version") === "2018-02-01",
  );
});
afterAll(async () => {
  await gateway?.stop();
  await emulator.close();
});

describe("a user-assigned identity of a virtual machine", () => {
  test("that is not there is a fault that says what to check", async () => {
    platform.outage = 400;
    await expect(start()).rejects.toThrow(
      "credential.managedIdentityClientId: the managed identity gave no token (status 400); is it assigned",
    );
    platform.outage = undefined;
  });

  test("proves the gateway, with one token for all exchanges, renewed before its end", async () => {
    const { get, admin } = await start();
    const call = () => get("/graph/me", emulator.mintUserToken()).expect(200);
    await call();
    await call();
    expect(platform.issued).toBe(1);
    expect(emulator.requests.token.at(-1)).toMatchObject({ credential: "federated", aadsts: 0 });

    // Ten minutes before the end a new one is fetched, while the old one serves; an outage meanwhile is harmless.
    aheadMs += 24 * 60 * MINUTE_MS - 9 * MINUTE_MS;
    platform.outage = 500;
    await call();
    platform.outage = undefined;
    aheadMs += MINUTE_MS;
    await call();
    while (platform.issued < 2) await new Promise(setImmediate);
    aheadMs += 10 * MINUTE_MS;
    await call();
    const { body } = await admin("/readyz").expect(200);
    expect(body.checks).toContainEqual({
      name: "credential",
      ready: true,
      detail: {
        serving: "managed-identity",
        sources: [expect.objectContaining({ source: "managed-identity", generation: 2 })],
      },
    });
  });
});
