/** Seals delegated tokens so that only the holder of the gateway's key and of the very same user assertion opens them. */

import { createCipheriv, createDecipheriv, createHash, createHmac, hkdfSync, randomBytes } from "node:crypto";
import type { Secret } from "../foundation/secret.ts";
import type { SealedPlace, Sealing } from "./contract.ts";

/** Largest sealed value that is kept and read back. Genuine tokens are a few kilobytes. */
export const MOST_SEALED_BYTES = 64 * 1024;

const VERSION = 1;
const KEY_BYTES = 32;
/** NIST SP 800-38D §8.2.2: random, and far fewer than 2^32 under one key, for each key serves one assertion. */
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const HEADER_BYTES = 1 + NONCE_BYTES + TAG_BYTES;

/** @param masterKeys Base64 of 32 bytes each; the first one seals, all open. */
export function createSealing(masterKeys: readonly [Secret, ...Secret[]]): Sealing {
  const masters = masterKeys.map((key) => {
    const master = Buffer.from(key.reveal(), "base64");
    if (master.length !== KEY_BYTES) throw new RangeError("a master key is not of 32 bytes");
    return { master, userKey: derive(Buffer.alloc(0), master, "obo-gateway user v1", KEY_BYTES) };
  });

  return {
    places(assertion, binding) {
      const secret = Buffer.from(assertion.reveal());
      if (secret.length === 0) throw new RangeError("there is no assertion to seal with");
      return onePerKey(masters.map(({ master }) => placeOf(master, secret, binding)));
    },
    userNames: (user) => onePerKey(masters.map(({ userKey }) => hmac(userKey, user))),
  };
}

/** Seals with keys that change: with those that `masterKeys` gives at the moment. */
export function createFollowingSealing(masterKeys: () => readonly [Secret, ...Secret[]]): Sealing {
  let keys = masterKeys();
  let sealing = createSealing(keys);
  const current = () => {
    const latest = masterKeys();
    if (latest !== keys) {
      keys = latest;
      sealing = createSealing(latest);
    }
    return sealing;
  };
  return {
    places: (assertion, binding) => current().places(assertion, binding),
    userNames: (user) => current().userNames(user),
  };
}

/**
 * RFC 5869 with the master key as salt and the assertion as keying material: without either, nothing follows. The
 * binding stands in the derivation and again as associated data, so that a token moved to another place never opens.
 */
function placeOf(master: Buffer, assertion: Buffer, binding: string): SealedPlace {
  // Node limits `info` to 1024 bytes, which many scopes may pass.
  const info = `obo-gateway token v1 ${createHash("sha256").update(binding).digest("base64url")}`;
  const derived = derive(assertion, master, info, 2 * KEY_BYTES);
  const sealingKey = derived.subarray(0, KEY_BYTES);
  const name = hmac(derived.subarray(KEY_BYTES), binding);
  const associated = Buffer.from(JSON.stringify([VERSION, name, binding]));

  return {
    name,
    seal(text) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv("aes-256-gcm", sealingKey, nonce).setAAD(associated);
      const body = Buffer.concat([cipher.update(text, "utf8"), cipher.final()]);
      return Buffer.concat([Buffer.of(VERSION), nonce, cipher.getAuthTag(), body]);
    },
    open(sealed) {
      if (sealed.length < HEADER_BYTES || sealed[0] !== VERSION) return undefined;
      const nonce = sealed.subarray(1, 1 + NONCE_BYTES);
      const decipher = createDecipheriv("aes-256-gcm", sealingKey, nonce, { authTagLength: TAG_BYTES })
        .setAAD(associated)
        .setAuthTag(sealed.subarray(1 + NONCE_BYTES, HEADER_BYTES));
      try {
        return Buffer.concat([decipher.update(sealed.subarray(HEADER_BYTES)), decipher.final()]).toString();
      } catch {
        // The tag does not fit, which says nothing about the reason; the caller counts it.
        return undefined;
      }
    },
  };
}

function derive(material: Buffer, salt: Buffer, info: string, length: number): Buffer {
  return Buffer.from(hkdfSync("sha256", material, salt, info, length));
}

function hmac(key: Buffer, text: string): string {
  return createHmac("sha256", key).update(text).digest("base64url");
}

function onePerKey<T>(values: readonly T[]): readonly [T, ...T[]] {
  const [first, ...others] = values;
  if (first === undefined) throw new RangeError("there is no master key");
  return [first, ...others];
}
