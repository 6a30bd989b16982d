/** Seals for texts that clients carry for the gateway: only the gateway's keys open them, and each for its one purpose. */

import { createHmac, hkdfSync, randomBytes } from "node:crypto";
import { NONCE_BYTES, openText, sealText } from "../../foundation/sealed-text.ts";
import type { Secret } from "../../foundation/secret.ts";

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

/**
 * @param masterKeys Base64 of 32 bytes each: the first one seals, all open. Without any, one is made that ends with the
 * process.
 * @param binding The gateway for which texts are sealed: another one with the same keys opens none of them.
 */
export function createSeals(masterKeys: readonly Secret[], binding: string): (options: SealOptions) => Seal {
  const masters =
    masterKeys.length === 0
      ? [randomBytes(KEY_BYTES)]
      : masterKeys.map((key) => Buffer.from(key.reveal(), "base64"));

  return ({ purpose, stable = false }) => {
    const associated = Buffer.from(JSON.stringify(["obo-gateway mcp", purpose, binding]));
    const keys = masters.map((master) => ({
      sealing: derive(master, `obo-gateway mcp ${purpose} v1`),
      nonce: derive(master, `obo-gateway mcp ${purpose} nonce v1`),
    }));
    return {
      seal(text) {
        const [first] = keys;
        if (first === undefined) throw new RangeError("there is no key to seal with");
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
        for (const { sealing } of keys) {
          const text = openText(sealing, associated, bytes);
          if (text !== undefined) return text;
        }
        return undefined;
      },
    };
  };
}

function derive(master: Buffer, info: string): Buffer {
  return Buffer.from(hkdfSync("sha256", master, Buffer.alloc(0), info, KEY_BYTES));
}
