/** RSA keys that are weak on purpose, made when a test asks for them. */

import { checkPrimeSync, createPrivateKey, createPublicKey, type KeyObject, randomBytes } from "node:crypto";
import { keyOfRun } from "../emulator/rsa-keys.ts";

export interface WeakPair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

/** A key whose primes have the form of CVE-2017-15361: k·M + (65537^a mod M). It signs like any other. */
export function generateRocaKey(): WeakPair {
  return keyOfRun("roca", () => pairOf(rocaPrime(), rocaPrime(), 65_537n).privateKey);
}

export function rocaPrime(): bigint {
  for (;;) {
    const power = modularPower(65_537n, randomInteger(64), ROCA_MODULUS);
    // A prime of exactly 1024 bits with its two highest bits set, so that the product has 2048.
    const least = (3n << 1022n) / ROCA_MODULUS + 1n;
    const most = (1n << 1024n) / ROCA_MODULUS - 1n;
    const candidate = (least + (randomInteger(64) % (most - least))) * ROCA_MODULUS + power;
    if (checkPrimeSync(candidate)) return candidate;
  }
}

export function pairOf(p: bigint, q: bigint, e: bigint): WeakPair {
  const d = inverse(e, (p - 1n) * (q - 1n));
  const key = {
    kty: "RSA",
    n: toBase64url(p * q),
    e: toBase64url(e),
    d: toBase64url(d),
    p: toBase64url(p),
    q: toBase64url(q),
    dp: toBase64url(d % (p - 1n)),
    dq: toBase64url(d % (q - 1n)),
    qi: toBase64url(inverse(q, p)),
  };
  const privateKey = createPrivateKey({ key, format: "jwk" });
  return { privateKey, publicKey: createPublicKey(privateKey) };
}

export function toBase64url(value: bigint): string {
  const hex = value.toString(16);
  return Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, "hex").toString("base64url");
}

/** The product of the first 126 primes: 971 bits, as the faulty library uses it for keys of 2048 bits. */
const ROCA_MODULUS = (() => {
  const primes: number[] = [];
  for (let candidate = 2; primes.length < 126; candidate += 1)
    if (primes.every((prime) => candidate % prime !== 0)) primes.push(candidate);
  return primes.reduce((product, prime) => product * BigInt(prime), 1n);
})();

function randomInteger(bits: number): bigint {
  return BigInt(`0x${randomBytes(bits / 8).toString("hex")}`);
}

function modularPower(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n;
  for (
    let square = base % modulus, left = exponent;
    left > 0n;
    left >>= 1n, square = (square * square) % modulus
  )
    if (left % 2n === 1n) result = (result * square) % modulus;
  return result;
}

function inverse(value: bigint, modulus: bigint): bigint {
  let [previous, current] = [modulus, value % modulus];
  let [before, factor] = [0n, 1n];
  while (current !== 0n) {
    const quotient = previous / current;
    [previous, current] = [current, previous - quotient * current];
    [before, factor] = [factor, before - quotient * factor];
  }
  return ((before % modulus) + modulus) % modulus;
}
