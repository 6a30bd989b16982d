/** A roll-out with a credential that Entra refuses does not become ready, so it does not replace working pods. */

import { setTimeout } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { startTestGateway, type TestGateway } from "../support/gateway.ts";

let emulator: Emulator;
let gateway: TestGateway | undefined;
beforeAll(async () => {
  emulator = await startEmulator();
});
afterAll(() => emulator.close());
afterEach(async () => {
  await gateway?.stop();
  gateway = undefined;
});

interface CredentialCheck {
  readonly ready: boolean;
  readonly detail: { readonly firstTrial?: { readonly state: string; readonly problem?: string } };
}

/** The credential's part of `/readyz` once the first trial has ended; the test's own time limit ends a wait for nothing. */
async function trialOf({ admin }: TestGateway): Promise<CredentialCheck & { readonly status: number }> {
  for (;;) {
    const { body, status } = await admin("/readyz");
    const checks: { readonly name: string; readonly ready: boolean }[] = body.checks;
    const check = checks.find(({ name }) => name === "credential") as unknown as CredentialCheck;
    const hasKeys = checks.some(({ name, ready }) => name === "signing-keys" && ready);
    if (hasKeys && check.detail.firstTrial?.state !== "pending") return { ...check, status };
    await setTimeout(5);
  }
}

test.each<[string, Record<string, string>, string]>([
  ["a wrong secret", { AZURE_CLIENT_SECRET: "not-the-secret" }, "AADSTS7000215"],
  [
    "a client id that the tenant does not know",
    { AZURE_CLIENT_ID: "99999999-9999-4999-8999-999999999999", AZURE_CLIENT_SECRET: "any" },
    "AADSTS700016",
  ],
])("with %s the gateway stays unready and says why", async (_, env, number) => {
  gateway = await startTestGateway({ emulator, credential: "none", env });
  const { ready, detail, status } = await trialOf(gateway);
  expect({ ready, status }).toEqual({ ready: false, status: 503 });
  expect(detail.firstTrial).toMatchObject({ state: "refused", problem: expect.stringContaining(number) });
  const line = gateway.logs.find(({ event }) => event === "trial_failed");
  expect(line).toMatchObject({ level: "warn", msg: expect.stringContaining(number) });
});

test("with a credential that Entra accepts the gateway becomes ready", async () => {
  gateway = await startTestGateway({ emulator, credential: "workload-identity" });
  expect(await trialOf(gateway)).toMatchObject({ ready: true, status: 200 });
});
