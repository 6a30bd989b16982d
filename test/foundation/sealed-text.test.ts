/** A sealed text opens whole and unchanged, under its own key and for its own purpose, or not at all. */

import { randomBytes } from "node:crypto";
import { expect, test } from "@jest/globals";
import { NONCE_BYTES, openText, SEAL_BYTES, sealText } from "../../src/foundation/sealed-text.ts";

const key = randomBytes(32);
const purpose = Buffer.from("a purpose");

test.each(["", "a text", "größer als ASCII: 鍵"])("%j opens as it was sealed", (text) => {
  expect(openText(key, purpose, sealText(key, purpose, text))).toBe(text);
});

test("the same text is sealed to another value each time, unless its nonce is given", () => {
  expect(sealText(key, purpose, "text")).not.toEqual(sealText(key, purpose, "text"));
  const nonce = randomBytes(NONCE_BYTES);
  expect(sealText(key, purpose, "text", nonce)).toEqual(sealText(key, purpose, "text", nonce));
});

test("a value opens neither under another key, nor for another purpose", () => {
  const sealed = sealText(key, purpose, "text");
  expect(openText(randomBytes(32), purpose, sealed)).toBeUndefined();
  expect(openText(key, Buffer.from("another purpose"), sealed)).toBeUndefined();
});

test("a value opens with none of its bytes changed, left out or added", () => {
  const sealed = sealText(key, purpose, "a text");
  for (let at = 0; at < sealed.length; at += 1) {
    const changed = Buffer.from(sealed);
    changed.writeUInt8(sealed.readUInt8(at) ^ 1, at);
    expect(openText(key, purpose, changed)).toBeUndefined();
    expect(openText(key, purpose, sealed.subarray(0, at))).toBeUndefined();
  }
  expect(openText(key, purpose, Buffer.concat([sealed, Buffer.of(0)]))).toBeUndefined();
  expect(sealed).toHaveLength(SEAL_BYTES + "a text".length);
});
