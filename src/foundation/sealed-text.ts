/** AES-256-GCM over a text: the nonce, the tag and the ciphertext in one value (NIST SP 800-38D). */

import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";

/** The length for which GCM needs no further hashing (§5.2.1.1). */
export const NONCE_BYTES = 12;
const TAG_BYTES = 16;
/** Bytes that a sealed text has besides the text. */
export const SEAL_BYTES = NONCE_BYTES + TAG_BYTES;

/**
 * @param key 32 bytes.
 * @param associated Not part of the value; opening needs the same.
 * @param nonce Never the same for two texts under one key. Default: random, which is safe for far fewer than 2^32 texts
 * (§8.3).
 */
export function sealText(
  key: Buffer,
  associated: Buffer,
  text: string,
  nonce: Buffer = randomBytes(NONCE_BYTES),
): Buffer {
  const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(associated);
  const body = Buffer.concat([cipher.update(text, "utf8"), cipher.final()]);
  return Buffer.concat([nonce, cipher.getAuthTag(), body]);
}

/** Undefined for a value that was sealed under another key or for another purpose, or was changed since. */
export function openText(key: Buffer, associated: Buffer, sealed: Buffer): string | undefined {
  if (sealed.length < SEAL_BYTES) return undefined;
  const decipher = createDecipheriv("aes-256-gcm", key, sealed.subarray(0, NONCE_BYTES), {
    authTagLength: TAG_BYTES,
  })
    .setAAD(associated)
    .setAuthTag(sealed.subarray(NONCE_BYTES, SEAL_BYTES));
  try {
    return Buffer.concat([decipher.update(sealed.subarray(SEAL_BYTES)), decipher.final()]).toString();
  } catch {
    // The tag does not fit. GCM does not say why.
    return undefined;
  }
}
