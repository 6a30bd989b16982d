/** Texts that a client carries for the authority and cannot read: codes, refresh tokens, sessions, steps of a sign-in. */

import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { isObject } from "../jws.ts";

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

export type SealPurpose = "authorization-code" | "refresh-token" | "browser-session" | "sign-in-step";

/** One key for each emulator: what another instance sealed does not open, and nothing has to be stored or bounded. */
export interface Seals {
  seal(purpose: SealPurpose, value: object): string;
  /** Undefined for a text that this emulator did not seal for this purpose. */
  open<Value extends object>(purpose: SealPurpose, text: string): Value | undefined;
}

export function createSeals(): Seals {
  const key = randomBytes(32);
  return {
    seal(purpose, value) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(Buffer.from(purpose));
      const sealed = Buffer.concat([cipher.update(JSON.stringify(value)), cipher.final()]);
      // Entra's codes and refresh tokens begin with a version, too.
      return `1.${Buffer.concat([nonce, sealed, cipher.getAuthTag()]).toString("base64url")}`;
    },
    open<Value extends object>(purpose: SealPurpose, text: string) {
      const bytes = Buffer.from(text.replace(/^1\./, ""), "base64url");
      if (!text.startsWith("1.") || bytes.length <= NONCE_BYTES + TAG_BYTES) return undefined;
      const decipher = createDecipheriv("aes-256-gcm", key, bytes.subarray(0, NONCE_BYTES))
        .setAAD(Buffer.from(purpose))
        .setAuthTag(bytes.subarray(-TAG_BYTES));
      try {
        const opened = decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES));
        const value: unknown = JSON.parse(Buffer.concat([opened, decipher.final()]).toString("utf8"));
        return isObject(value) ? (value as Value) : undefined;
      } catch {
        return undefined;
      }
    },
  };
}
