import { describe, expect, test } from "@jest/globals";
import { Secret } from "../../src/foundation/secret.ts";
import { createSealing } from "../../src/redis/sealing.ts";
import { newMasterKey } from "../support/master-key.ts";

const KEY = newMasterKey();
const ASSERTION = new Secret("header.payload.signature");
const BINDING = '["https://login.microsoftonline.com/","client","tenant","scope"]';
const sealing = createSealing([KEY]);
const [place] = sealing.places(ASSERTION, BINDING);

describe("a sealed value", () => {
  test("opens for the same key, assertion and binding", () => {
    const [again] = createSealing([KEY]).places(ASSERTION, BINDING);
    expect(again.name).toBe(place.name);
    expect(again.open(place.seal("the token"))).toBe("the token");
  });

  test("is never the same twice, and shows nothing of what it holds", () => {
    const [one, other] = [place.seal("the token"), place.seal("the token")];
    expect(one.equals(other)).toBe(false);
    expect(one.includes("the token")).toBe(false);
  });

  test.each<[string, () => ReturnType<typeof sealing.places>[0]]>([
    ["another master key", () => createSealing([newMasterKey()]).places(ASSERTION, BINDING)[0]],
    ["another assertion", () => sealing.places(new Secret("header.payload.other"), BINDING)[0]],
    ["next to no assertion", () => sealing.places(new Secret("."), BINDING)[0]],
    ["another tenant", () => sealing.places(ASSERTION, BINDING.replace("tenant", "other"))[0]],
    ["another client", () => sealing.places(ASSERTION, BINDING.replace("client", "other"))[0]],
    ["other scopes", () => sealing.places(ASSERTION, BINDING.replace("scope", "other"))[0]],
    ["another authority", () => sealing.places(ASSERTION, BINDING.replace("microsoftonline", "other"))[0]],
  ])("neither is found nor opens with %s", (_, other) => {
    expect(other().name).not.toBe(place.name);
    expect(other().open(place.seal("the token"))).toBeUndefined();
  });

  test("does not open when any of its bytes was changed, or any is missing", () => {
    const sealed = place.seal("the token");
    for (let position = 0; position < sealed.length; position += 1) {
      const changed = Buffer.from(sealed);
      changed[position] = (changed[position] ?? 0) ^ 1;
      expect(place.open(changed)).toBeUndefined();
      expect(place.open(sealed.subarray(0, position))).toBeUndefined();
    }
  });
});

test("without an assertion nothing is sealed", () => {
  expect(() => sealing.places(new Secret(""), BINDING)).toThrow(RangeError);
});

test("a new key in front seals, and what older keys sealed still opens", () => {
  const newer = newMasterKey();
  const rotated = createSealing([newer, KEY]).places(ASSERTION, BINDING);
  const opened = rotated.filter(({ name }) => name === place.name).map((old) => old.open(place.seal("old")));
  expect(opened).toEqual(["old"]);
  expect(rotated[0].name).toBe(createSealing([newer]).places(ASSERTION, BINDING)[0].name);
});

test("a user's name differs between users and between keys", () => {
  const names = [
    ...sealing.userNames("ann"),
    ...sealing.userNames("bob"),
    ...createSealing([newMasterKey()]).userNames("ann"),
  ];
  expect(new Set(names).size).toBe(3);
});
