/** Seals of the bridge: by purpose, by gateway, and over a change of keys. */

import { expect, test } from "@jest/globals";
import type { Secret } from "../../../src/foundation/secret.ts";
import { createSeals as createSealsOf } from "../../../src/mcp/bridge/seals.ts";
import { newMasterKey } from "../../support/master-key.ts";

const createSeals = (keys: readonly Secret[], binding: string) => createSealsOf(() => keys, binding);

test("after a change of keys, what the old key sealed still opens, and the new key seals", () => {
  const [old, fresh] = [newMasterKey(), newMasterKey()];
  const before = createSeals([old], "gateway")({ purpose: "handle" });
  const during = createSeals([fresh, old], "gateway")({ purpose: "handle" });
  const after = createSeals([fresh], "gateway")({ purpose: "handle" });
  expect(during.open(before.seal("text"))).toBe("text");
  expect(after.open(during.seal("text"))).toBe("text");
  expect(after.open(before.seal("text"))).toBeUndefined();
});

test("a text that is sealed for one purpose, or one gateway, opens for no other", () => {
  const keys = [newMasterKey()];
  const sealed = createSeals(keys, "gateway")({ purpose: "handle" }).seal("text");
  for (const purpose of ["sign-in", "refresh token"] as const)
    expect(createSeals(keys, "gateway")({ purpose }).open(sealed)).toBeUndefined();
  expect(createSeals(keys, "another")({ purpose: "handle" }).open(sealed)).toBeUndefined();
});

test("without keys each process has one of its own", () => {
  const one = createSeals([], "gateway")({ purpose: "handle" });
  const other = createSeals([], "gateway")({ purpose: "handle" });
  expect(one.open(one.seal("text"))).toBe("text");
  expect(other.open(one.seal("text"))).toBeUndefined();
});

test("a stable seal gives one value for one text, in each process that has the keys; another seal does not", () => {
  const keys = [newMasterKey()];
  const stable = () => createSeals(keys, "gateway")({ purpose: "handle", stable: true });
  expect(stable().seal("text")).toBe(stable().seal("text"));
  expect(stable().seal("text").slice(0, 16)).not.toBe(stable().seal("texu").slice(0, 16));
  const fresh = createSeals(keys, "gateway")({ purpose: "refresh token" });
  expect(fresh.seal("text")).not.toBe(fresh.seal("text"));
});

test("one value has one spelling", () => {
  const seal = createSeals([newMasterKey()], "gateway")({ purpose: "handle" });
  const sealed = seal.seal("some text");
  for (const other of [`${sealed}=`, ` ${sealed}`, `${sealed}.`, sealed.replace(/.$/, "$&$&"), ""])
    expect(seal.open(other)).toBeUndefined();
});

test("keys that change while the process runs are followed", () => {
  let keys: readonly Secret[] = [newMasterKey()];
  const seal = createSealsOf(() => keys, "gateway")({ purpose: "handle" });
  const before = seal.seal("text");
  const fresh = newMasterKey();
  keys = [fresh, ...keys];
  expect(seal.open(before)).toBe("text");
  const after = seal.seal("text");
  keys = [fresh];
  expect(seal.open(before)).toBeUndefined();
  expect(seal.open(after)).toBe("text");
});
