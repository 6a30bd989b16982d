import { createPublicKey, generateKeyPairSync } from "node:crypto";
import { describe, expect, test } from "@jest/globals";
import { rsaWeakness } from "../../src/foundation/rsa-strength.ts";
import { rocaPrime, toBase64url } from "../support/weak-keys.ts";

const jwk = (n: string, e: string) => createPublicKey({ key: { kty: "RSA", n, e }, format: "jwk" });
const genuine = generateKeyPairSync("rsa", { modulusLength: 2048 });
const { n = "", e = "" } = genuine.publicKey.export({ format: "jwk" });

describe("the strength of an RSA key", () => {
  test("is enough for what Node generates, public or private", () => {
    expect(rsaWeakness(genuine.publicKey)).toBeUndefined();
    expect(rsaWeakness(genuine.privateKey)).toBeUndefined();
    expect(rsaWeakness(jwk(n, e))).toBeUndefined();
    const long = generateKeyPairSync("rsa", { modulusLength: 3072 });
    expect(rsaWeakness(long.publicKey)).toBeUndefined();
  });

  test.each([
    ["1", "AQ"],
    ["2", "Ag"],
    ["3", "Aw"],
    ["65535", "__8"],
    ["65536", "AQAA"],
    ["65538, which is even", "AQAC"],
    ["past 2^256", Buffer.from(`01${"00".repeat(31)}01`, "hex").toString("base64url")],
  ])("is not enough with the exponent %s", (_, exponent) => {
    expect(rsaWeakness(jwk(n, exponent))).toBe("exponent");
  });

  test("is enough with the exponent 65537 and with the next odd one", () => {
    expect(rsaWeakness(jwk(n, "AQAB"))).toBeUndefined();
    expect(rsaWeakness(jwk(n, "AQAD"))).toBeUndefined();
  });

  test.each([1024, 2040])("is not enough with a modulus of %i bits", (modulusLength) => {
    const { publicKey } = generateKeyPairSync("rsa", { modulusLength });
    expect(rsaWeakness(publicKey)).toBe("modulus_length");
  });

  test("is not enough with a modulus so long that each check is a burden", () => {
    const modulus = (1n << 8199n) + 1n;
    expect(rsaWeakness(jwk(toBase64url(modulus), "AQAB"))).toBe("modulus_length");
  });

  test.each([2n, 3n, 751n])("is not enough with a modulus that %i divides", (factor) => {
    const rest = (1n << 2047n) / factor;
    expect(rsaWeakness(jwk(toBase64url((rest + 1n) * factor), "AQAB"))).toBe("small_factor");
  });

  test("is not enough with primes of the ROCA form, and is with one prime of it", () => {
    const [one, other] = [rocaPrime(), rocaPrime()];
    expect(rsaWeakness(jwk(toBase64url(one * other), "AQAB"))).toBe("roca");
    const { d: _, p = "" } = genuine.privateKey.export({ format: "jwk" });
    const random = BigInt(`0x${Buffer.from(p, "base64url").toString("hex")}`);
    expect(rsaWeakness(jwk(toBase64url(one * random), "AQAB"))).toBeUndefined();
  });

  test("is not that of an RSA key where the key is of another type", () => {
    const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    expect(rsaWeakness(publicKey)).toBe("type");
  });
});
