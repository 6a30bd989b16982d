import { expect, test } from "@jest/globals";
import { loadAskedFor, needed, type OptionalModule } from "../../src/foundation/optional-modules.ts";

const gone = new Error("there is no such module");
const table = {
  one: [({ one }) => one, async () => ({ name: "one" })],
  other: [({ one }) => !one, () => Promise.reject(gone)],
} as const satisfies Readonly<Record<string, OptionalModule<{ readonly one: boolean }>>>;

test("a module that is asked for is loaded, and any other is not", async () => {
  expect(await loadAskedFor(table, { one: true })).toEqual({ one: { name: "one" }, other: undefined });
});

test("a module that is asked for and cannot be loaded is a fault of the start", async () => {
  await expect(loadAskedFor(table, { one: false })).rejects.toBe(gone);
});

test("a module that is used although no setting asked for it is a fault, and never passed over", async () => {
  const { one, other } = await loadAskedFor(table, { one: true });
  expect(needed(one).name).toBe("one");
  expect(() => needed(other)).toThrow("no setting asked for");
});
