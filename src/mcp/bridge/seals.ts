/** Seals for texts that clients carry for the gateway: only the gateway's keys open them, and each for its one purpose. */

import { createHmac, hkdfSync, randomBytes } from "node:crypto";
import { NONCE_BYTES, openText, sealText } from "../../foundation/sealed-text.ts";
import { Secret } from "../../foundation/secret.ts";

const KEY_BYTES = 32;

export interface Seal {
  /** Base64url. */
  seal(text: string): string;
  /** Undefined for anything else than what this seal made. */
  open(sealed: string): string | undefined;
}

export interface SealOptions {
  readonly purpose: "handle" | "sign-in" | "refresh token";
  /** Whether the same text is sealed to the same value each time. */
  readonly stable?: boolean;
}

interface Keys {
  readonly sealing: Buffer;
  readonly nonce: Buffer;
}

/**
 * @param masterKeys Base64 of 32 bytes each: the first one seals, all open; the same list until the keys change. With
 * none, a key is used that ends with the process.
 * @param binding The gateway for which texts are sealed: another one with the same keys opens none of them.
 */
export function createSeals(
  masterKeys: () => readonly Secret[],
  binding: string,
): (options: SealOptions) => Seal {
  const ownKey = new Secret(randomBytes(KEY_BYTES).toString("base64"));

  return ({ purpose, stable = false }) => {
    const associated = Buffer.from(JSON.stringify(["obo-gateway mcp", purpose, binding]));
    const keysOf = (master: Secret): Keys => ({
      sealing: derive(master, `obo-gateway mcp ${purpose} v1`),
      nonce: derive(master, `obo-gateway mcp ${purpose} nonce v1`),
    });
    let known: readonly Secret[] | undefined;
    let first = keysOf(ownKey);
    let all: readonly Keys[] = [first];
    const followKeys = () => {
      const latest = masterKeys();
      if (latest === known) return;
      known = latest;
      const [sealing = ownKey, ...others] = latest;
      first = keysOf(sealing);
      all = [first, ...others.map(keysOf)];
    };
    return {
      seal(text) {
        followKeys();
        // A nonce that follows from the text comes twice only with the same text, whose value is then the same.
        const nonce = stable
          ? createHmac("sha256", first.nonce).update(text).digest().subarray(0, NONCE_BYTES)
          : randomBytes(NONCE_BYTES);
        return sealText(first.sealing, associated, text, nonce).toString("base64url");
      },
      open(sealed) {
        // Buffer.from passes over letters that are none of base64url: two texts would be one value.
        if (!/^[A-Za-z0-9_-]+$/.test(sealed)) return undefined;
        const bytes = Buffer.from(sealed, "base64url");
        if (bytes.toString("base64url") !== sealed) return undefined;
        followKeys();
        for (const { sealing } of all) {
          const text = openText(sealing, associated, bytes);
          if (text !== undefined) return text;
        }
        return undefined;
      },
    };
  };
}

function derive(master: Secret, info: string): Buffer {
  const material = Buffer.from(master.reveal(), "base64");
  return Buffer.from(hkdfSync("sha256", material, Buffer.alloc(0), info, KEY_BYTES));
}
