/** What a shipped handler declares that it calls, beside what it does call. */

import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { shippedHandlers } from "../../src/handlers/mount.ts";
import { startEmulator } from "../emulator/emulator.ts";
import type { Emulator } from "../emulator/handle.ts";
import { startTestGateway, type TestGateway } from "../support/gateway.ts";

let emulator: Emulator;
let gateway: TestGateway;
beforeAll(async () => {
  emulator = await startEmulator();
  emulator.grantConsent({ scopes: ["User.Read", "User.Read.All", "Mail.ReadBasic", "Files.Read"] });
  gateway = await startTestGateway({ emulator });
});
afterAll(async () => {
  await gateway.stop();
  await emulator.close();
});

/** A request to each shipped handler. One that is added has to be listed here. */
const REQUESTS: Readonly<Record<string, string>> = {
  profile: "/api/profile",
  inbox: "/api/inbox",
  files: "/api/files/invented-id",
};

test("every shipped handler declares its needs and has a request here", () => {
  expect(Object.keys(REQUESTS).toSorted()).toEqual(
    Object.keys(shippedHandlers)
      .filter((name) => (shippedHandlers[name]?.uses ?? []).length > 0)
      .toSorted(),
  );
  expect(
    Object.values(shippedHandlers).filter(({ uses, needs }) => uses.length > 0 && !needs?.length),
  ).toEqual([]);
});

test.each(Object.entries(REQUESTS))(
  "the handler %s makes the calls that it declares, and no others",
  async (name, path) => {
    emulator.requests.clear();
    await gateway.get(path, emulator.mintUserToken({ user: "ada" }));
    const made = emulator.requests.graph.map(
      ({ method, path: called }) => `${method} ${called.replace(/^\/v1\.0/, "").replace(/\?.*$/, "")}`,
    );
    const declared = (shippedHandlers[name]?.needs ?? []).map((need) =>
      need.replaceAll(/\{[^}]*\}/g, "invented-id"),
    );
    expect([...new Set(made)].sort()).toEqual([...declared].sort());
  },
);
