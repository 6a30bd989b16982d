/** What a request waits for on its way through the composed gateway. */

import { afterAll, afterEach, beforeAll, expect, jest, test } from "@jest/globals";
import { loopTurns } from "../../src/foundation/turns.ts";
import { type Emulator, startEmulator } from "../emulator/emulator.ts";
import { startTestGateway, type TestGateway } from "../support/gateway.ts";

let emulator: Emulator;
let gateway: TestGateway;
beforeAll(async () => {
  emulator = await startEmulator();
  gateway = await startTestGateway({ emulator });
});
afterAll(async () => {
  await gateway.stop();
  await emulator.close();
});
afterEach(() => void jest.restoreAllMocks());

/** Notes for whom the gateway lets others go first. */
function watchPauses(): (string | undefined)[] {
  const pauses: (string | undefined)[] = [];
  const { pause } = loopTurns;
  jest.spyOn(loopTurns, "pause").mockImplementation((owner) => {
    pauses.push(owner);
    return pause(owner);
  });
  return pauses;
}

test("a request that waited for its exchange goes on in the turn of its user where this one has no time left", async () => {
  const token = emulator.mintUserToken({ user: emulator.addUser() });
  const pauses = watchPauses();
  jest.spyOn(loopTurns, "isFree").mockReturnValue(false);
  expect((await gateway.get("/graph/me", token)).status).toBe(200);
  expect(pauses).toEqual([expect.stringContaining(emulator.tenantId)]);
  expect((await gateway.get("/graph/me", token)).status).toBe(200);
  expect(pauses).toHaveLength(1);
});

test("a request that waited for its exchange goes on at once where this turn has time left", async () => {
  const pauses = watchPauses();
  jest.spyOn(loopTurns, "isFree").mockReturnValue(true);
  const token = emulator.mintUserToken({ user: emulator.addUser() });
  expect((await gateway.get("/graph/me", token)).status).toBe(200);
  expect(pauses).toEqual([]);
});
