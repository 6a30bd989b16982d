/** RSA public keys that are valid in form and weak in substance: what no signature should be believed by. */

import { createPublicKey, type KeyObject } from "node:crypto";

/** NIST SP 800-131A: shorter RSA keys are not acceptable. Entra's are 2048. */
const LEAST_MODULUS_BITS = 2048;

/** The time of one check grows with the square of the length; no authority publishes longer ones. */
const MOST_MODULUS_BITS = 8192;

/** FIPS 186-5 §5.1: the exponent is odd, above 2^16 and below 2^256. */
const LEAST_EXPONENT = 2n ** 16n;
const MOST_EXPONENT = 2n ** 256n;

/** NIST SP 800-89 §5.3.3 asks that the modulus has no small factor; 752 is its bound. */
const SMALL_PRIMES = primesBelow(752);

/**
 * Nemec et al., "The Return of Coppersmith's Attack" (CVE-2017-15361): primes of the faulty library are congruent to a
 * power of 65537 modulo each small prime, so their product is too. Modulo all of these primes at once a random modulus
 * is so by chance in fewer than one of 2^100 cases.
 */
const ROCA_GENERATOR = 65_537;
const ROCA_RESIDUES = SMALL_PRIMES.filter((prime) => prime > 2 && prime <= 167).map((prime) => ({
  prime: BigInt(prime),
  residues: powersModulo(ROCA_GENERATOR, prime),
}));

export type RsaWeakness = "type" | "modulus_length" | "exponent" | "small_factor" | "roca";

/** Why an RSA key must not be used, or undefined. Takes a public or a private key. */
export function rsaWeakness(key: KeyObject): RsaWeakness | undefined {
  const { n, e } = publicPart(key).export({ format: "jwk" });
  if (key.asymmetricKeyType !== "rsa" || n === undefined || e === undefined) return "type";
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (bits < LEAST_MODULUS_BITS || bits > MOST_MODULUS_BITS) return "modulus_length";
  const exponent = toInteger(e);
  if (exponent % 2n === 0n || exponent <= LEAST_EXPONENT || exponent >= MOST_EXPONENT) return "exponent";
  const modulus = toInteger(n);
  if (SMALL_PRIMES.some((prime) => modulus % BigInt(prime) === 0n)) return "small_factor";
  const isRoca = ROCA_RESIDUES.every(({ prime, residues }) => residues.has(Number(modulus % prime)));
  return isRoca ? "roca" : undefined;
}

function publicPart(key: KeyObject): KeyObject {
  return key.type === "private" ? createPublicKey(key) : key;
}

function toInteger(base64url: string): bigint {
  return BigInt(`0x${Buffer.from(base64url, "base64url").toString("hex") || "0"}`);
}

function powersModulo(base: number, prime: number): ReadonlySet<number> {
  const powers = new Set<number>();
  for (let power = 1; !powers.has(power); power = (power * (base % prime)) % prime) powers.add(power);
  return powers;
}

function primesBelow(limit: number): number[] {
  const primes: number[] = [];
  for (let candidate = 2; candidate < limit; candidate += 1)
    if (primes.every((prime) => candidate % prime !== 0)) primes.push(candidate);
  return primes;
}
