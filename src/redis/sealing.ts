/** Seals delegated tokens so that only the holder of the gateway's key and of the very same user assertion opens them. */

import { createHash, createHmac, hkdfSync } from "node:crypto";
import { openText, sealText } from "../foundation/sealed-text.ts";
import type { Secret } from "../foundation/secret.ts";
import type { SealedPlace, Sealing } from "./contract.ts";

/** Largest sealed value that is kept and read back. Genuine tokens are a few kilobytes. */
export const MOST_SEALED_BYTES = 64 * 1024;

const VERSION = 1;
const KEY_BYTES = 32;

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
    // Each key serves one assertion, so random nonces are far fewer than they may be.
    seal: (text) => Buffer.concat([Buffer.of(VERSION), sealText(sealingKey, associated, text)]),
    open: (sealed) =>
      sealed[0] === VERSION ? openText(sealingKey, associated, sealed.subarray(1)) : undefined,
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
