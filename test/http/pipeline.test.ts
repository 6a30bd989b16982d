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

test.each([
  ["is forwarded", "/graph/me"],
  ["runs a handler", "/api/profile"],
])(
  "a request that waited for its exchange and %s goes on in the turn of its user where this one has no time left",
  async (_, path) => {
    const token = emulator.mintUserToken({ user: emulator.addUser() });
    const pauses = watchPauses();
    jest.spyOn(loopTurns, "isFree").mockReturnValue(false);
    expect((await gateway.get(path, token)).status).toBe(200);
    const first = pauses.splice(0);
    expect(first).toContainEqual(expect.stringContaining(emulator.tenantId));
    expect((await gateway.get(path, token)).status).toBe(200);
    // A handler may call twice at once: then one call leads the exchange that both wait for.
    expect(first.length - pauses.length).toBeGreaterThan(0);
  },
);

test("a request that waited for its exchange goes on at once where this turn has time left", async () => {
  const pauses = watchPauses();
  jest.spyOn(loopTurns, "isFree").mockReturnValue(true);
  const token = emulator.mintUserToken({ user: emulator.addUser() });
  expect((await gateway.get("/graph/me", token)).status).toBe(200);
  expect(pauses).toEqual([]);
});
